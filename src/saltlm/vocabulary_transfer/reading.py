"""Documents that a source reads at once, by the rows of their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.config.fits import FitsConfig
from saltlm.models.states import Body


@dataclass(frozen=True)
class Reader:
    """The source, and how it is to read a document.

    Attributes:
        body: the source without its embedding.
        embedding: its embedding.
        start: the input row before a document's first token.
        config: options of the fits.
    """

    body: Body
    embedding: Float[Tensor, "v_s h"]
    start: Float[Tensor, " h"]
    config: FitsConfig


@dataclass(frozen=True)
class Reading:
    """The input rows of documents that are read at once, and which of them learn.

    Attributes:
        rows: the row before the first token, then those of the tokens that occur.
        ids: which of them each token has, a document a row; 0 first, and behind its end.
        places: of the rows that learn.
        learning: which of the learning rows those are.
    """

    rows: Float[Tensor, "u h"]
    ids: Int64[Tensor, "n t"]
    places: Int64[Tensor, " f"]
    learning: Int64[Tensor, " f"]

    def with_rows(self, learnt: Float[Tensor, "m h"]) -> Float[Tensor, "u h"]:
        """Return the rows with those that learn as they are now."""
        return self.rows.index_copy(0, self.places, learnt[self.learning])


def read_together(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return which documents are read at once: alike in length, and filled up no more than most.

    A document alone costs nearly as much as several: the weights are read for each pass.
    """
    passes: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if passes and (len(passes[-1]) + 1) * lengths[number] <= most:
            passes[-1].append(number)
        else:
            passes.append([number])
    return passes


def reading_of(
    start: Float[Tensor, " h"],
    table: Float[Tensor, "v h"],
    cuts: Sequence[list[int]],
    learning: Int64[Tensor, " v"] | None,
) -> Reading:
    """Return the rows of documents; ``learning`` says which of those that learn a token has."""
    lengths = [len(cut) for cut in cuts]
    tokens = torch.tensor([token for cut in cuts for token in cut], dtype=torch.int64)
    used, places_of = tokens.unique(return_inverse=True)
    ids = torch.zeros(len(cuts), 1 + max(lengths), dtype=torch.int64)
    for row, part in zip(ids, places_of.split(lengths), strict=True):
        row[1 : 1 + len(part)] = part + 1
    which = torch.full_like(used, -1) if learning is None else learning[used]
    places = (which >= 0).nonzero().squeeze(1)
    return Reading(
        rows=torch.cat([start.unsqueeze(0), table[used].float()]),
        ids=ids,
        places=places + 1,
        learning=which[places],
    )
