"""Rows that hold no document: counted and named, and fatal only when they are many."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from saltlm.errors import DataError
from saltlm.files.characters import is_broken
from saltlm.files.source import Source

logger = logging.getLogger(__name__)

_NAMED = 5  # bad rows that a message lists
_JUDGED_AFTER = 10_000  # rows after which too many bad ones stop the reading early
Good = TypeVar("Good")


NOT_JSON = "not JSON"
"""Why a line is none of the values that the others are."""


class BadRow(NamedTuple):
    """A row that holds no document: where it is, and why."""

    place: str
    reason: str


def good_rows(source: Source, rows: Iterable[Good | BadRow]) -> Iterator[Good]:
    """Yield the rows that are good.

    At the end, or when the reader has enough, a warning says how many were left out and why.

    Raises:
        DataError: too many are bad.
    """
    n_rows = 0
    reasons: Counter[str] = Counter()
    named: list[BadRow] = []
    for row in rows:
        n_rows += 1
        if not isinstance(row, BadRow):
            try:
                yield row
            except GeneratorExit:
                _tell(source, n_rows, reasons, named)
                raise
            continue
        reasons[row.reason] += 1
        if len(named) < _NAMED:
            named.append(row)
        if n_rows >= _JUDGED_AFTER:
            _judge(source, n_rows, reasons, named)
    _judge(source, n_rows, reasons, named)
    _tell(source, n_rows, reasons, named)


def checked(place: str, text: Any, where: str = "") -> str | BadRow:
    """Return a document without white space around it, or why it is none.

    Args:
        place: of the row.
        text: what it holds.
        where: the field it was looked for in, for the message.
    """
    if not isinstance(text, str):
        return BadRow(place, f"no text in the field {where!r}")
    document: str = text.strip()
    if not document:
        return BadRow(place, "empty")
    if is_broken(document):
        return BadRow(place, "broken characters")
    if "\0" in document:
        return BadRow(place, "a zero byte")
    return document


def _judge(source: Source, n_rows: int, reasons: Counter[str], named: list[BadRow]) -> None:
    if reasons.total() > source.bad * n_rows:
        enough = min(1.0, float(f"{1.1 * reasons.total() / n_rows:.2g}"))
        way = f"put up with them: {source.with_options(bad=enough)}"
        if set(reasons) == {NOT_JSON}:
            way = f"if it is plain text: {source.with_options(layout='lines')}"
        elif reasons.total() == n_rows:
            way = 'write its texts as {"text": ...}, one a line, into a .jsonl file'
        raise DataError(
            f"{source.name} has too many bad rows: {_describe(n_rows, reasons, named)}",
            f"mend the file, or {way}",
        )


def _tell(source: Source, n_rows: int, reasons: Counter[str], named: list[BadRow]) -> None:
    if reasons:
        logger.warning("%s: left out %s", source.name, _describe(n_rows, reasons, named))


def _describe(n_rows: int, reasons: Counter[str], named: list[BadRow]) -> str:
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    first = ", ".join(f"{row.place} ({row.reason})" for row in named)
    return f"{reasons.total()} of {n_rows} rows ({counts}), the first are {first}"
