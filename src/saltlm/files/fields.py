"""Rows with fields: which of them is the text."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from saltlm.errors import DataError
from saltlm.files.bad_rows import BadRow, checked
from saltlm.files.source import Source

logger = logging.getLogger(__name__)

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
    field = source.field or _found_in(first, source, path)
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


def choose_field(names: Sequence[str], source: Source, path: Path | str) -> str:
    """Return the name of the field that holds the text.

    Raises:
        DataError: the named one is not there, or none is known to hold text.
    """
    shown = ", ".join(names) or "none"
    if source.field is not None:
        if source.field not in names:
            raise DataError(
                f"{path} has no field {source.field!r}; it has {shown}", _name_it(names, source)
            )
        return source.field
    lowered = {name.lower(): name for name in reversed(names)}
    for known in TEXT_FIELDS:
        if known in lowered:
            return lowered[known]
    if len(names) == 1:
        return names[0]
    raise DataError(
        f"{path} has no field that is known to hold text; it has {shown}", _name_it(names, source)
    )


def _found_in(rows: Sequence[tuple[str, Any] | BadRow], source: Source, path: Path | str) -> str:
    contents = [row[1] for row in rows if not isinstance(row, BadRow)]
    mappings = [content for content in contents if isinstance(content, dict)]
    texts = {
        name: None
        for content in mappings
        for name, value in content.items()
        if isinstance(value, str)
    }
    if not texts and (not mappings or len(mappings) < len(contents)):
        return TEXT_FIELDS[0]
    return choose_field(list(texts) or [*mappings[0]], source, path)


def _name_it(names: Sequence[str], source: Source) -> str:
    return f"name the one that holds the text: {source.with_options(field=[*names, 'NAME'][0])}"
