"""What the fits of new rows did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def was_fitted(record: Mapping[str, Any]) -> bool:
    """Whether the new rows of a transfer were fitted to text, by its manifest."""
    fits = record.get("fits")  # side -> what its fit did, if any
    return isinstance(fits, dict) and any(fits.values())


@dataclass(frozen=True)
class InputFit:
    """The fit of new input rows.

    Attributes:
        rows: new rows that occur in the text, and were fitted.
        documents: of the corpus, repetitions not counted.
        steps: of Adam.
        tokens: of the new vocabulary that were read, repetitions counted.
        places: where both cuts end a token, repetitions counted.
        layer: whose states were compared.
        layers: that the model has.
        before: the loss of the first step.
        after: the mean loss of the last steps, a tenth of all.
        seconds: that it took.
        dtype: number format in which the source was run.
    """

    rows: int
    documents: int
    steps: int
    tokens: int
    places: int
    layer: int
    layers: int
    before: float
    after: float
    seconds: float
    dtype: str

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.rows:,} new input rows were fitted in {self.steps} steps on {self.documents:,}"
            f" documents, so that the states behind layer {self.layer} of {self.layers} are those"
            f" of the untouched source: relative squared distance {self.before:.3f} before,"
            f" {self.after:.3f} after"
        )


@dataclass(frozen=True)
class HeadFit:
    """The fit of new rows of the head.

    Attributes:
        rows: new rows that are a next token more than once, and were fitted.
        rare: the other new rows, which moved together by one vector.
        positions: tokens of text.
        kept: tokens of text that must be kept, beside them.
        new_share: of these tokens, how many are new.
        ridge: weight of the squared distance to the start.
        before: the objective at the start, in nats a position.
        after: at the fitted rows.
        gap: bound on how far that is above the minimum.
        evaluations: passes over all positions.
        seconds: that it took.
        dtype: number format in which the source was run.
        is_tied: whether they are the input rows as well.
    """

    rows: int
    rare: int
    positions: int
    kept: int
    new_share: float
    ridge: float
    before: float
    after: float
    gap: float
    evaluations: int
    seconds: float
    dtype: str
    is_tied: bool

    def __str__(self) -> str:
        """Say it in words."""
        said = " (tied: the input rows too)" if self.is_tied else ""
        return (
            f"{self.rows:,} new rows of the head{said} were fitted to {self.positions:,} tokens of"
            f" text ({self.new_share:.0%} of them new) and {self.kept:,} of text to keep,"
            f" {self.rare:,} rare ones together, with ridge {self.ridge:g}: objective"
            f" {self.before:.3f} nats a token before, {self.after:.3f} after"
        )
