"""The run's own text as its teacher: how often which token came after those before it.

A short run reads a small part of a text. What the whole of it says, a count of its n-grams has
learnt in seconds, and `adapt --teacher ngrams` has the model learn that as well. A place that is
read is left out of the counts, so that they do not foretell what they were counted from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from saltlm.adaptation.ngrams import ORDER, Mixed, Ngrams, count_ngrams, mixed, subtract
from saltlm.adaptation.packing import Frame, PackedText

NGRAMS = "ngrams"  # the name of this teacher, where another one has a directory
_MOST = 2**23  # tokens that are counted


class NgramTargets(NamedTuple):
    """What counts predict at each position; see `saltlm.adaptation.loss.SoftTargets`.

    Attributes:
        ngrams: the counts.
        places: the distribution at each position.
        target: the token of the text there.
        share: of the target that is theirs; the rest is the token of the text.
    """

    ngrams: Ngrams
    places: Mixed
    target: Int64[Tensor, " p"]
    share: Float[Tensor, " p"]

    def subtract_from(self, gradient: Float[Tensor, "p v"], part: slice) -> None:
        """Take share times probability at some positions off the gradient there."""
        places = Mixed(*(values[..., part] for values in self.places))
        subtract(self.ngrams, places, self.share[part], self.target[part], gradient)


@dataclass(frozen=True)
class NgramTeacher:
    """Counts of a text that teach.

    Attributes:
        ngrams: the counts.
        share: of a target that is their prediction in the first step.
        n_tokens: that were counted.
        begins: the token that begins a document, if another one ends it: nothing foretells it.
    """

    ngrams: Ngrams
    share: float
    n_tokens: int
    begins: int | None

    identity = f"{NGRAMS} of order {ORDER}"  # of which text, the run's other inputs say

    def __str__(self) -> str:
        n = sum(len(level.keys) for level in self.ngrams.levels[1:])
        return (
            f"{self.n_tokens:,} tokens of the text teach: what their {n:,} n-grams of 2 to {ORDER}"
            f" tokens foretell is {self.share:.0%} of each target at first, 0 at the end"
        )

    def on(self, device: torch.device, dtype: torch.dtype) -> "NgramTeacher":
        """Return the same on a device; counts stay in float32."""
        return replace(self, ngrams=self.ngrams.to(device))

    @torch.no_grad()
    def targets(
        self,
        ids: Int64[Tensor, "b t1"],
        positions: Int64[Tensor, "b t"],
        is_taught: Bool[Tensor, " b"],
        *,
        share: float,
    ) -> NgramTargets:
        """Return what the counts foretell behind each token.

        Args:
            ids: the tokens of each sequence and the one after it.
            positions: of each token in its document.
            is_taught: whether a sequence is of the text that was counted.
            share: of each target that is theirs.
        """
        target = ids[:, 1:]
        places = mixed(self.ngrams, ids, positions)
        at = is_taught[:, None] & (target != (-1 if self.begins is None else self.begins))
        return NgramTargets(self.ngrams, places, target.flatten(), share * at.flatten().float())


def ngram_teacher(
    texts: Sequence[tuple[PackedText, float]], frame: Frame, n_ids: int, share: float
) -> NgramTeacher:
    """Count the texts of a run, from the beginning of each if they are long.

    Args:
        texts: those that are taught, and the part that each has in the training.
        frame: what stands around a document; where nothing ends it, the next one does.
        n_ids: rows of the model's tables.
        share: of a target that is the counts' prediction in the first step.
    """
    whole = sum(part for _, part in texts)
    rows = [_documents(text, frame, round(_MOST * part / whole)) for text, part in texts]
    tokens, positions = (torch.from_numpy(np.concatenate(both)) for both in zip(*rows, strict=True))
    begins = None if frame.end is None else frame.start
    return NgramTeacher(count_ngrams(tokens, positions, n_ids), share, len(tokens), begins)


def _documents(text: PackedText, frame: Frame, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first tokens of a text with the end of each document, and their positions."""
    tokens = np.asarray(text.tokens[:most], np.int64)
    ends = text.starts[1:][text.starts[1:] <= len(tokens)]
    starts = np.unique(np.concatenate([[0], ends, [len(tokens)]]))
    if frame.end is None:
        tokens = np.insert(tokens, ends, frame.start)
        starts = starts + np.searchsorted(ends, starts, side="right")
    return tokens, np.arange(len(tokens)) - np.repeat(starts[:-1], np.diff(starts))
