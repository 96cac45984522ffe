"""JSON as rows: one value a line, or one array, each read piece by piece."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saltlm.errors import DataError
from saltlm.files.bad_rows import BadRow
from saltlm.files.characters import LONGEST, Characters, too_long
from saltlm.files.json_object import parse_json
from saltlm.files.source import Source

_CHUNK = 1 << 16
_BETWEEN = re.compile(r"[\s,]*")

JsonRow = tuple[str, Any] | BadRow


def is_json_lines(head: str) -> bool:
    """Whether a file's first line with text is a JSON object."""
    first = head.lstrip().partition("\n")[0]
    return first.startswith("{") and isinstance(_parsed(first), dict)


def is_json_array(head: str) -> bool:
    """Whether a file begins as a JSON array of objects or of texts."""
    return re.match(r'\s*\[\s*[{"]', head) is not None and _begins_with_item(head)


def json_lines(characters: Characters) -> Iterator[JsonRow]:
    """Yield the value of each line."""
    if characters.head.lstrip().startswith("{") and not is_json_lines(characters.head):
        _refuse_one_object(characters.path, characters.head)
    for number, line in enumerate(characters.lines(), 1):
        if line and not line.isspace():
            value = _parsed(line)
            place = f"line {number}"
            yield BadRow(place, "not JSON") if value is None else (place, value)


def json_array(characters: Characters) -> Iterator[JsonRow]:
    """Yield the items of an array, no more than one of them in memory.

    Raises:
        DataError: it ends too early, or an item is not JSON.
    """
    with characters.text() as text:
        decoder, buffer, number = json.JSONDecoder(), "", 0
        at = 0
        while True:
            begin = _BETWEEN.match(buffer, at)
            at = begin.end() if begin else at
            if number == 0 and buffer[at : at + 1] == "[":
                number, at = 1, at + 1
                continue
            if buffer[at : at + 1] == "]":
                return
            try:
                item, at = decoder.raw_decode(buffer, at)
            except (ValueError, RecursionError) as error:
                more = text.read(max(_CHUNK, len(buffer) - at))  # doubled, so never quadratic
                if len(buffer) - at > LONGEST:
                    raise too_long(characters.path, "an item") from error
                if not more:
                    raise DataError(
                        f"{characters.path} is not a whole JSON array: it breaks at item {number}",
                        "fetch or make it again; if it is no JSON: "
                        f"{Source.parse(characters.path).with_options(layout='lines')}",
                    ) from error
                buffer, at = buffer[at:] + more, 0
                continue
            yield f"item {number}", item
            number += 1


def _parsed(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:  # also what is nested deeper than any row of text
        return None


def _begins_with_item(head: str) -> bool:
    """Whether what follows the bracket is JSON, as far as the head goes."""
    start = head.index("[") + 1
    try:
        json.JSONDecoder().raw_decode(head, start + len(head[start:]) - len(head[start:].lstrip()))
    except (ValueError, RecursionError) as error:
        is_cut = isinstance(error, json.JSONDecodeError) and (
            error.pos >= len(head) - 1 or error.msg.startswith("Unterminated")
        )
        return is_cut
    return True


def _refuse_one_object(path: Path, head: str) -> None:
    """Tell a single object over many lines from lines of which the first is broken."""
    try:
        found, _ = json.JSONDecoder().raw_decode(head.lstrip())
    except (ValueError, RecursionError):
        return
    lists = [name for name, value in found.items() if isinstance(value, list)]
    name, quoted = lists[0] if lists else "NAME", shlex.quote(str(path))
    raise DataError(
        f"{path} is one JSON object with {', '.join(found) or 'nothing in it'}, not rows of text",
        'write its rows as an array: python -c "import json, sys; print(json.dumps('
        f'json.load(open(sys.argv[1]))[{name!r}]))" {quoted} > {quoted}.json',
    )
