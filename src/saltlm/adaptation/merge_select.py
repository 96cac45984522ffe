"""The weight of a merge by held-out text: the fewest bits per byte of both languages."""

import gc
import math
from dataclasses import dataclass
from pathlib import Path

from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.evaluate import load_subject

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
Curve = dict[float, dict[str, float]]  # weight -> text -> bits per byte


@dataclass(frozen=True)
class HeldOut:
    """The texts that a weight is chosen on.

    Attributes:
        texts: documents of the target language and of English.
        files: for each of the two, path -> SHA-256.
        device: where candidates are measured.
        trust_remote_code: run code that they bring along.
    """

    texts: dict[str, list[str]]
    files: dict[str, dict[str, str]]
    device: str = "cpu"
    trust_remote_code: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many documents each has."""
        return {name: len(documents) for name, documents in self.texts.items()}


def measure_candidate(directory: Path, texts: HeldOut) -> dict[str, float]:
    """Return the bits per byte of a model directory on each text.

    Raises:
        CheckpointError: it does not load.
    """
    subject = load_subject(str(directory), texts.device, trust_remote_code=texts.trust_remote_code)
    found = {
        name: bits_per_byte(subject.model, subject.tokenizer, documents).value
        for name, documents in texts.texts.items()
    }
    del subject
    gc.collect()
    return found


def best_weight(curve: Curve) -> float:
    """Return the weight whose bits per byte have the smallest product over the texts.

    A percent more of one language weighs as much as a percent more of the other. Of equals, the
    weight that is nearer to the adapted model.
    """

    def cost(weight: float) -> tuple[float, float]:
        return sum(math.log(value) for value in curve[weight].values()), -weight

    return min(curve, key=cost)
