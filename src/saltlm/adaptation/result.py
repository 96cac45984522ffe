"""What a run of the training engine ends with."""

from dataclasses import dataclass, field
from pathlib import Path

from saltlm.adaptation.samples import Sample


@dataclass(frozen=True, repr=False)
class AdaptResult:
    """What a run ended with.

    Attributes:
        directory: the adapted model.
        n_steps: steps done, over all starts of the run.
        n_tokens: tokens read in them.
        seconds: spent in them; measuring and saving are not counted.
        bits_per_byte: of each held-out text at the end.
        before: the same before the first step.
        context: tokens in a sequence.
        documents: of each held-out text at most so many were measured.
        samples: what the model wrote after beginnings of the held-out text.
    """

    directory: Path
    n_steps: int
    n_tokens: int
    seconds: float
    bits_per_byte: dict[str, float]
    before: dict[str, float] = field(default_factory=dict)
    context: int = 1024
    documents: int = 200
    samples: tuple[Sample, ...] = ()

    def __str__(self) -> str:
        ends = [f"{name} {value:.3f}" for name, value in self.bits_per_byte.items()]
        measured = f"; bits per byte: {', '.join(ends)}" if ends else ""
        return f"{self.directory}: {self.n_tokens:,} tokens{measured}"

    def __repr__(self) -> str:
        return f"AdaptResult({self})"
