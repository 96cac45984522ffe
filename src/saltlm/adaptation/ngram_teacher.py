"""The run's own text as its teacher: how often which token came after those before it.

A short run reads a small part of a text. What the whole of it says, a count of its n-grams has
learnt in seconds, and `adapt --teacher ngrams` has the model learn that as well. A place that is
read is left out of the counts, so that they do not foretell what they were counted from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from saltlm.adaptation.mixture import Batch
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
        n_read: of each text of the run, so many tokens from its beginning are in the counts.
        begins: the token that begins a document, if another one ends it: nothing foretells it.
    """

    ngrams: Ngrams
    share: float
    n_tokens: int
    n_read: Int64[Tensor, " m"]
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
        return replace(self, ngrams=self.ngrams.to(device), n_read=self.n_read.to(device))

    @torch.no_grad()
    def targets(
        self,
        batch: Batch,
        is_taught: Bool[Tensor, " b"],
        *,
        share: float,
    ) -> NgramTargets:
        """Return what the counts foretell behind each token.

        Args:
            batch: sequences, on the device of the counts.
            is_taught: whether a sequence is of a text that teaches.
            share: of each target that is theirs.
        """
        target = batch.ids[:, 1:]
        is_counted = batch.begins < self.n_read[batch.sources]
        places = mixed(self.ngrams, batch.ids, batch.positions, is_counted)
        at = is_taught[:, None] & (target != (-1 if self.begins is None else self.begins))
        return NgramTargets(self.ngrams, places, target.flatten(), share * at.flatten().float())


def ngram_teacher(
    texts: Sequence[PackedText], parts: Sequence[float], frame: Frame, n_ids: int, share: float
) -> NgramTeacher:
    """Count the texts of a run, from the beginning of each if they are long.

    A document that comes again is counted once: left out where it is read, it would be there still.

    Args:
        texts: all of the run.
        parts: of the training that each of them has, 0 if it is not taught.
        frame: what stands around a document; where nothing ends it, the next one does.
        n_ids: rows of the model's tables.
        share: of a target that is the counts' prediction in the first step.
    """
    most = [round(_MOST * part / sum(parts)) for part in parts]
    n_read = [min(len(text.tokens), n) for text, n in zip(texts, most, strict=True)]
    known: set[bytes] = set()
    rows = [_documents(text, frame, n, known) for text, n in zip(texts, n_read, strict=True)]
    tokens, positions = (torch.from_numpy(np.concatenate(both)) for both in zip(*rows, strict=True))
    return NgramTeacher(
        ngrams=count_ngrams(tokens, positions, n_ids),
        share=share,
        n_tokens=len(tokens),
        n_read=torch.tensor(n_read),
        begins=None if frame.end is None else frame.start,
    )


def _documents(
    text: PackedText, frame: Frame, n_read: int, known: set[bytes]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first tokens of a text with the end of each document, and their positions.

    Documents that are known are left out, and the others become known.
    """
    tokens = np.asarray(text.tokens[:n_read])
    ends = text.starts[1:][text.starts[1:] <= n_read]
    bounds = np.unique(np.concatenate([[0], ends, [n_read]]))
    is_first = np.zeros(len(bounds) - 1, bool)
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        ids = tokens[start:end].tobytes()
        is_first[number] = ids not in known
        known.add(ids)
    tokens = tokens[np.repeat(is_first, np.diff(bounds))].astype(np.int64)
    lengths = np.diff(bounds)[is_first]
    if frame.end is None:
        is_whole = np.isin(bounds[1:], ends)[is_first]
        tokens = np.insert(tokens, lengths.cumsum()[is_whole], frame.start)
        lengths = lengths + is_whole
    return tokens, np.arange(len(tokens)) - np.repeat(lengths.cumsum() - lengths, lengths)
