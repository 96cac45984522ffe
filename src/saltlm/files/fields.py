"""Rows with fields: which of them is the text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from saltlm.errors import DataError
from saltlm.files.bad_rows import BadRow, checked
from saltlm.files.json_rows import WRITE_ROWS
from saltlm.files.said import say_once
from saltlm.files.source import Source

TEXT_FIELDS = (  # how corpora call it; the first that is there is taken
    *("text", "content", "raw_content", "contents", "document", "body", "article", "maintext"),
    *("sentence", "plain_text", "raw_text", "doc", "page_content", "completion"),
)
_LOOKED_AT = 100  # rows


def field_texts(
    rows: Iterable[tuple[str, Any] | BadRow], source: Source, path: Path | str
) -> Iterator[str | BadRow]:
    """Yield the texts of rows: a field of each, or a row itself that is text.

    Args:
        rows: the place and the content of each.
        source: may name the field.
        path: for messages.

    Raises:
        DataError: none of the fields is known to hold text.
    """
    rows = iter(rows)
    first = list(islice(rows, _LOOKED_AT))
    field = _found_in(first, source, path)
    if field not in (source.field, TEXT_FIELDS[0]):
        say_once(f"{path} has its text in the field {field!r}")
    for row in chain(first, rows):
        if isinstance(row, BadRow):
            yield row
            continue
        place, content = row
        if isinstance(content, str):
            yield checked(place, content)
        elif isinstance(content, dict):
            yield checked(place, content.get(field), field)
        else:
            yield BadRow(place, f"no text in the field {field!r}")


def is_text_field(name: str) -> bool:
    """Whether corpora call a field so that holds the text."""
    return name.lower() in TEXT_FIELDS


def hides_text(with_text: Iterable[str], names: Iterable[str]) -> bool:
    """Whether the field that is called as texts are holds something else, in each of its kinds."""
    known = set(filter(is_text_field, names))
    return bool(known) and known.isdisjoint(with_text)


def choose_field(
    names: Sequence[str], source: Source, path: Path | str, likely: str | None = None
) -> str:
    """Return the name of the field that holds the text.

    Args:
        names: of the fields.
        source: may name the field.
        path: for messages.
        likely: the field that a message proposes; by default the first.

    Raises:
        DataError: the named one is not there, or none is known to hold text.
    """
    shown = ", ".join(names) or "none"
    proposed = source.with_options(field=likely or [*names, "NAME"][0])
    propose = f"name the one that holds the text: {proposed}"
    if source.field is not None:
        if source.field not in names:
            raise DataError(f"{path} has no field {source.field!r}; it has {shown}", propose)
        return source.field
    lowered = {name.lower(): name for name in reversed(names)}
    for known in TEXT_FIELDS:
        if known in lowered:
            return lowered[known]
    if len(names) == 1:
        return names[0]
    raise DataError(f"{path} has no field that is known to hold text; it has {shown}", propose)


def _found_in(rows: Sequence[tuple[str, Any] | BadRow], source: Source, path: Path | str) -> str:
    contents = [row[1] for row in rows if not isinstance(row, BadRow)]
    mappings = [content for content in contents if isinstance(content, dict)]
    sizes: Counter[str] = Counter()
    for content in mappings:
        sizes.update({name: len(text) for name, text in content.items() if isinstance(text, str)})
    if not sizes and (not mappings or len(mappings) < len(contents)):
        return TEXT_FIELDS[0]
    if source.field is not None and any(source.field in mapping for mapping in mappings):
        return source.field
    if not sizes or hides_text(sizes, mappings[0]):
        shown = ", ".join(f"{name} ({_kind(value)})" for name, value in mappings[0].items())
        raise DataError(
            f"{path} has no field with text; its fields are {shown or 'none'}", WRITE_ROWS
        )
    likely = max(sizes, key=lambda name: sizes[name], default=None)
    return choose_field(list(sizes), source, path, likely)


def _kind(value: Any) -> str:
    """Return what JSON calls a value."""
    kinds = {
        dict: "an object",
        str: "text",
        list: "an array",
        bool: "true or false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")
