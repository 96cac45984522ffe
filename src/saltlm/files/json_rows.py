"""JSON as rows: one value a line, one behind the other, or an array, each read piece by piece."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saltlm.errors import DataError
from saltlm.files.bad_rows import NOT_JSON, BadRow
from saltlm.files.characters import LONGEST, Characters, too_long
from saltlm.files.json_object import parse_json
from saltlm.files.source import Source

WRITE_ROWS = 'write the text of each row as {"text": ...}, one a line, into a .jsonl file'
"""What to do with rows that hold no text under a name."""

LINES = "JSON, one value a line"
_CHUNK = 1 << 16
_BETWEEN = re.compile(r"[\s,]*")

JsonRow = tuple[str, Any] | BadRow


def json_rows(characters: Characters) -> tuple[str, Iterator[JsonRow]] | None:
    """Return how a file holds JSON, in words, and its rows; None if it holds none."""
    head = characters.head
    if _is_array(head):
        return "a JSON array", _items(characters, is_array=True)
    if _is_lines(head):
        return LINES, json_lines(characters)
    if _is_objects(head):
        return "JSON, one value behind the other", _items(characters, is_array=False)
    return None


def _is_lines(head: str) -> bool:
    """Whether a file's first line with text is a JSON object."""
    first = head.lstrip().partition("\n")[0]
    return first.startswith("{") and isinstance(_parsed(first), dict)


def _is_array(head: str) -> bool:
    """Whether a file begins as a JSON array of objects or of texts."""
    return re.match(r'\s*\[\s*[{"]', head) is not None and _begins_with_item(head)


def _is_objects(head: str) -> bool:
    """Whether a file begins with an object and, behind it, another one."""
    head = head.lstrip()
    try:
        found, end = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and head[end:].lstrip().startswith("{")


def json_lines(characters: Characters) -> Iterator[JsonRow]:
    """Yield the value of each line."""
    if characters.head.lstrip().startswith("{") and not _is_lines(characters.head):
        _refuse_one_object(characters.path, characters.head)
    for number, line in enumerate(characters.lines(), 1):
        if line and not line.isspace():
            value = _parsed(line)
            place = f"line {number}"
            yield BadRow(place, NOT_JSON) if value is None else (place, value)


def _items(characters: Characters, *, is_array: bool) -> Iterator[JsonRow]:
    """Yield the items of an array, or one value behind the other; one at a time is in memory.

    Raises:
        DataError: they end too early, or one is not JSON.
    """
    with characters.text() as text:
        decoder, buffer, number = json.JSONDecoder(), "", 0 if is_array else 1
        at = 0
        while True:
            begin = _BETWEEN.match(buffer, at)
            at = begin.end() if begin else at
            if number == 0 and buffer[at : at + 1] == "[":
                number, at = 1, at + 1
                continue
            if is_array and buffer[at : at + 1] == "]":
                return
            try:
                item, at = decoder.raw_decode(buffer, at)
            except (ValueError, RecursionError) as error:
                more = text.read(max(_CHUNK, len(buffer) - at))  # doubled, so never quadratic
                if len(buffer) - at > LONGEST:
                    raise too_long(characters.path, "an item") from error
                if not (more or is_array or buffer[at:]):
                    return
                if not more:
                    kind = "a whole JSON array" if is_array else "whole JSON"
                    raise DataError(
                        f"{characters.path} is not {kind}: it breaks at item {number}",
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
    rows = {name: "{}" for name, value in found.items() if isinstance(value, list)}
    rows |= {name: "[{}]" for name, value in found.items() if isinstance(value, str)}
    what = f"{path} is one JSON object with {', '.join(found) or 'nothing in it'}, not rows of text"
    if not rows:
        raise DataError(what, WRITE_ROWS)
    name, quoted = next(iter(rows)), shlex.quote(str(path))
    wanted = rows[name].format(f"json.load(open(sys.argv[1], encoding='utf-8'))[{name!r}]")
    raise DataError(
        what,
        f'write its rows as an array: python -c "import json, sys; print(json.dumps({wanted}))"'
        f" {quoted} > {quoted}.json",
    )
