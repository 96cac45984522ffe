"""Rows that hold no document: counted and named, and fatal only when they are many."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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


@dataclass
class RowCount:
    """The rows that were seen, and those of them that are bad; counts of parts of a text add up.

    Attributes:
        n_rows: good and bad.
        reasons: how many rows are bad for each reason.
        named: the first of them.
    """

    n_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    named: list[BadRow] = field(default_factory=list)

    def see(self, row: object) -> None:
        """Count a row."""
        self.n_rows += 1
        if isinstance(row, BadRow):
            self.reasons[row.reason] += 1
            if len(self.named) < _NAMED:
                self.named.append(row)

    def add(self, other: "RowCount") -> None:
        """Count the rows of the next part of the text as well."""
        self.n_rows += other.n_rows
        self.reasons += other.reasons
        self.named = (self.named + other.named)[:_NAMED]

    @property
    def is_hopeless(self) -> bool:
        """Whether most of many rows are bad: the rest of a text can hardly make up for it."""
        return self.n_rows >= _JUDGED_AFTER and 2 * self.reasons.total() > self.n_rows

    def judge(self, source: Source) -> None:
        """Refuse a text of which too many rows are bad.

        Raises:
            DataError: they are.
        """
        if self.reasons.total() > source.bad * self.n_rows:
            enough = min(1.0, float(f"{1.1 * self.reasons.total() / self.n_rows:.2g}"))
            way = f"put up with them: {source.with_options(bad=enough)}"
            if set(self.reasons) == {NOT_JSON}:
                way = f"if it is plain text: {source.with_options(layout='lines')}"
            elif self.reasons.total() == self.n_rows:
                way = 'write its texts as {"text": ...}, one a line, into a .jsonl file'
            raise DataError(
                f"{source.name} has too many bad rows: {self}", f"mend the file, or {way}"
            )

    def tell(self, source: Source) -> None:
        """Warn of the rows that were left out, if there are any."""
        if self.reasons:
            logger.warning("%s: left out %s", source.name, self)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        first = ", ".join(f"{row.place} ({row.reason})" for row in self.named)
        return f"{self.reasons.total()} of {self.n_rows} rows ({counts}), the first are {first}"


def good_rows(source: Source, rows: Iterable[Good | BadRow]) -> Iterator[Good]:
    """Yield the rows that are good.

    At the end, or when the reader has enough, a warning says how many were left out and why.

    Raises:
        DataError: too many are bad.
    """
    count = RowCount()
    for row in rows:
        count.see(row)
        if not isinstance(row, BadRow):
            try:
                yield row
            except GeneratorExit:
                count.tell(source)
                raise
        elif count.n_rows >= _JUDGED_AFTER:
            count.judge(source)
    count.judge(source)
    count.tell(source)


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
