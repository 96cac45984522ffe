"""What is proved of a new model by running it beside its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """What two runs on shared tokens have shown, or why there were none.

    Attributes:
        tokens: of the text.
        columns: shared tokens whose logits were compared.
        states: largest difference of what the heads received; None if that is not known.
        logits: largest difference of logits.
        missing: why nothing is proved; None if it is.
        streamed: whether layers were read from disk when their turn came.
    """

    tokens: int = 0
    columns: int = 0
    states: float | None = None
    logits: float | None = None
    missing: str | None = None
    streamed: bool = False

    def __str__(self) -> str:
        if self.missing is not None:
            return f"not proved by a run: {self.missing}"
        largest = max(self.states or 0.0, self.logits or 0.0)
        same = "the same" if largest == 0 else f"the same but for rounding ({largest:.2g})"
        states = "" if self.states is None else "hidden states and "
        how = ", all layers, one after the other from disk" if self.streamed else ""
        return (
            f"proved by a run{how}: on {self.tokens} shared tokens the new model has the source's"
            f" {states}logits of {self.columns:,} shared tokens, {same}"
        )
