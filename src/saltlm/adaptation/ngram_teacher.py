"""The run's own text as its teacher: how often which token came after those before it.

A short run reads a small part of a text. What the whole of it says, a count of its n-grams has
learnt in seconds, and `adapt --teacher ngrams` has the model learn that as well. A place that is
read is left out of the counts, so that they do not foretell what they were counted from.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
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
class Known:
    """Which places of a run's texts the counts know, as if the texts stood one after the other.

    Attributes:
        first: place of each text's first token.
        n_read: of each text, so many tokens from its beginning are in the counts.
        starts: place of each document's first token.
        is_counted: whether the counts have a document, or a copy of it.
    """

    first: Int64[Tensor, " m"]
    n_read: Int64[Tensor, " m"]
    starts: Int64[Tensor, " d"]
    is_counted: Bool[Tensor, " d"]

    def to(self, device: torch.device) -> "Known":
        """Return the same on a device."""
        return Known(*(getattr(self, field.name).to(device) for field in fields(self)))

    def at(self, batch: Batch) -> Bool[Tensor, "b t"]:
        """Return where the n-gram is counted that ends at the token after each of a batch."""
        place = batch.begins[:, None] + torch.arange(
            batch.positions.shape[1], device=batch.begins.device
        )
        text = batch.sources[:, None]
        document = torch.searchsorted(self.starts, self.first[text] + place, right=True) - 1
        return self.is_counted[document] | (place + 1 < self.n_read[text])


@dataclass(frozen=True)
class NgramTeacher:
    """Counts of a text that teach.

    Attributes:
        ngrams: the counts.
        share: of a target that is their prediction in the first step.
        n_tokens: that were counted.
        known: which places of the run's texts they are.
        begins: the token that begins a document, if another one ends it: nothing foretells it.
    """

    ngrams: Ngrams
    share: float
    n_tokens: int
    known: Known
    begins: int | None

    # Of which text, the run's other inputs say.
    identity = f"{NGRAMS} of order {ORDER}, each document once"

    def __str__(self) -> str:
        n = sum(len(level.keys) for level in self.ngrams.levels[1:])
        return (
            f"{self.n_tokens:,} tokens of the text teach: what their {n:,} n-grams of 2 to {ORDER}"
            f" tokens foretell is {self.share:.0%} of each target at first, 0 at the end"
        )

    def on(self, device: torch.device, dtype: torch.dtype) -> "NgramTeacher":
        """Return the same on a device; counts stay in float32."""
        return replace(self, ngrams=self.ngrams.to(device), known=self.known.to(device))

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
        places = mixed(self.ngrams, batch.ids, batch.positions, self.known.at(batch))
        at = is_taught[:, None] & (target != (-1 if self.begins is None else self.begins))
        return NgramTargets(self.ngrams, places, target.flatten(), share * at.flatten().float())


def ngram_teacher(
    texts: Sequence[PackedText], parts: Sequence[float], frame: Frame, n_ids: int, share: float
) -> NgramTeacher:
    """Count the texts of a run, from the beginning of each if they are long.

    A document that comes again is counted once: where it is read, one copy is left out, and a
    second would still foretell it.

    Args:
        texts: all of the run.
        parts: of the training that each of them has, 0 if it is not taught.
        frame: what stands around a document; where nothing ends it, the next one does.
        n_ids: rows of the model's head; all tokens of text are below this.
        share: of a target that is the counts' prediction in the first step.
    """
    whole = sum(parts) or 1.0  # of a training that reads English alone
    most = [round(_MOST * part / whole) for part in parts]
    n_read = [min(len(text.tokens), n) for text, n in zip(texts, most, strict=True)]
    seen: set[bytes] = set()
    rows = [_documents(text, frame, n, seen) for text, n in zip(texts, n_read, strict=True)]
    tokens, positions = (torch.from_numpy(np.concatenate(both)) for both in zip(*rows, strict=True))
    first = np.cumsum([0, *(len(text.tokens) for text in texts[:-1])])
    starts = [text.starts[:-1] + begin for text, begin in zip(texts, first, strict=True)]
    are_counted = [
        _are_seen(text, n, seen) if part else np.zeros(len(text.starts) - 1, bool)
        for text, n, part in zip(texts, n_read, parts, strict=True)
    ]
    return NgramTeacher(
        ngrams=count_ngrams(tokens, positions, n_ids),
        share=share,
        n_tokens=len(tokens),
        known=Known(
            first=torch.from_numpy(first),
            n_read=torch.tensor(n_read),
            starts=torch.from_numpy(np.concatenate(starts)),
            is_counted=torch.from_numpy(np.concatenate(are_counted)),
        ),
        begins=None if frame.end is None else frame.start,
    )


def _are_seen(text: PackedText, n_read: int, seen: Collection[bytes]) -> NDArray[np.bool_]:
    """Return which documents of a text are in the counts; behind what was read, by their copies."""
    tokens, starts = np.asarray(text.tokens), np.asarray(text.starts)
    is_counted = starts[1:] <= n_read
    for number in np.flatnonzero(~is_counted).tolist():
        is_counted[number] = tokens[starts[number] : starts[number + 1]].tobytes() in seen
    return is_counted


def _documents(
    text: PackedText, frame: Frame, n_read: int, seen: set[bytes]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first tokens of a text with the end of each document, and their positions.

    Documents that were seen are left out, and the others are seen from now on, but for one of which
    only the beginning is read.
    """
    tokens, starts = np.asarray(text.tokens), np.asarray(text.starts)
    n = int(np.searchsorted(starts[:-1], n_read))  # documents that begin before the end
    is_first, is_whole = np.zeros(n, bool), starts[1 : n + 1] <= n_read
    for number, (start, end) in enumerate(pairwise(starts[: n + 1].tolist())):
        ids = tokens[start:end].tobytes()
        is_first[number] = ids not in seen
        if is_whole[number]:
            seen.add(ids)
    lengths = np.diff(np.minimum(starts[: n + 1], n_read))
    tokens = tokens[:n_read][np.repeat(is_first, lengths)].astype(np.int64)
    lengths = lengths[is_first]
    if frame.end is None:
        ends = is_whole[is_first]
        tokens = np.insert(tokens, lengths.cumsum()[ends], frame.start)
        lengths = lengths + ends
    return tokens, np.arange(len(tokens)) - np.repeat(lengths.cumsum() - lengths, lengths)
