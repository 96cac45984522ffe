"""SALT steps 2 and 3: the nearest shared tokens of each new token, in the auxiliary space."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saltlm.files.progress import progress
from saltlm.methods.sparsemax import support_candidates, threshold

_BLOCK_BYTES = 32 * 2**20  # of cosines held at a time, whatever m and n


@dataclass(frozen=True)
class Neighbours:
    """Per new token its shared tokens with non-zero sparsemax weight, heaviest first.

    Ragged: those of new token i are ``indices[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: where each new token's neighbours begin; the last entry is their total number.
        indices: positions among the shared tokens.
        weights: sparsemax weights; they sum to 1 per new token.
        cosines: the cosines that the weights were made from.
    """

    offsets: Int64[Tensor, " m_plus_1"]
    indices: Int64[Tensor, " nnz"]
    weights: Float[Tensor, " nnz"]
    cosines: Float[Tensor, " nnz"]

    @property
    def k(self) -> Int64[Tensor, " m"]:
        """How many neighbours each new token has."""
        return self.offsets.diff()

    @classmethod
    def uniform(cls, indices: Int64[Tensor, "m k"], cosines: Float[Tensor, "m k"]) -> "Neighbours":
        """Return the neighbours of tokens that all have k of them, weighted equally."""
        m, k = indices.shape
        weights = torch.full((m * k,), 1 / max(1, k))
        return cls(torch.arange(m + 1) * k, indices.flatten(), weights, cosines.flatten())


class RaggedBatch(NamedTuple):
    """Some new tokens with about as many neighbours each, padded to the most of them.

    Attributes:
        tokens: which new tokens.
        place: where their neighbours lie in the ragged arrays; 0 where padded.
        is_real: what is not padding.
        members: the neighbours themselves; 0 where padded.
    """

    tokens: Int64[Tensor, " b"]
    place: Int64[Tensor, "b k"]
    is_real: Bool[Tensor, "b k"]
    members: Int64[Tensor, "b k"]


def ragged_batches(neighbours: Neighbours, width: int, max_bytes: int) -> Iterator[RaggedBatch]:
    """Yield all new tokens in batches, those with the most neighbours first.

    Args:
        neighbours: of each new token.
        width: of the float32 rows that will be gathered for each neighbour.
        max_bytes: that the gathered rows of a batch may take.
    """
    k = neighbours.k
    order = k.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        size = int(k[order[start]])
        tokens = order[start : start + max(1, max_bytes // (4 * width * max(1, size)))]
        step = torch.arange(size, device=k.device)
        is_real = step < k[tokens].unsqueeze(1)
        place = torch.where(is_real, neighbours.offsets[tokens].unsqueeze(1) + step, 0)
        members = neighbours.indices[place].masked_fill(~is_real, 0)
        yield RaggedBatch(tokens, place, is_real, members)
        start += len(tokens)


def unit_rows(matrix: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
    """Return the rows at length 1 in float32; a zero row stays zero."""
    return torch.nn.functional.normalize(matrix.float(), dim=1, eps=1e-30)


def nearest_shared(new: Float[Tensor, "m d"], shared: Float[Tensor, "n d"]) -> Neighbours:
    """Return the sparsemax neighbourhood of each new token among the shared ones.

    Cosines are made in blocks of rows, so memory does not grow with m x n. Exact: no
    approximate search, and no cap on k.

    Args:
        new: auxiliary vectors of the new tokens.
        shared: auxiliary vectors of the shared tokens, at least one.
    """
    return concatenate([_block_neighbours(cosines) for cosines in score_blocks(new, shared)])


def score_blocks(
    new: Float[Tensor, "m d"], shared: Float[Tensor, "n d"], *, unit: bool = True
) -> Iterator[Float[Tensor, "b n"]]:
    """Yield the scores of some new tokens with all shared ones, in memory that the next ones use.

    Args:
        new: vectors of the new tokens.
        shared: vectors of the shared tokens, at least one.
        unit: scores are cosines, not inner products.
    """
    shared = unit_rows(shared) if unit else shared.float()
    rows = max(1, _BLOCK_BYTES // (4 * len(shared)))
    buffer = shared.new_empty(min(rows, len(new)), len(shared))
    for start in progress(range(0, len(new), rows), desc="neighbours"):
        block = new[start : start + rows]
        block = unit_rows(block) if unit else block.float()
        yield torch.mm(block, shared.T, out=buffer[: len(block)])


def no_neighbours(m: int) -> Neighbours:
    """Return the neighbours of m new tokens that have none, as of a method that uses none."""
    offsets, indices = (torch.zeros(size, dtype=torch.int64) for size in (m + 1, 0))
    return Neighbours(offsets, indices, torch.zeros(0), torch.zeros(0))


def concatenate(parts: list[Neighbours]) -> Neighbours:
    """Return the neighbours of the new tokens of all parts, in order."""
    none = parts[0].weights.new_zeros(0) if parts else torch.zeros(0)
    return Neighbours(
        torch.cat([none.long().new_zeros(1), *(part.k for part in parts)]).cumsum(0),
        torch.cat([none.long(), *(part.indices for part in parts)]),
        torch.cat([none, *(part.weights for part in parts)]),
        torch.cat([none, *(part.cosines for part in parts)]),
    )


def _block_neighbours(scores: Float[Tensor, "b n"]) -> Neighbours:
    row, column = _places(support_candidates(scores))
    counts = torch.bincount(row, minlength=len(scores))
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    padded = scores.new_full((len(scores), int(counts.max())), -torch.inf)
    padded[row, place] = scores[row, column]
    # Stable: among equal cosines the lowest index stands first, on every machine.
    descending, order = padded.sort(dim=-1, descending=True, stable=True)
    columns = torch.zeros_like(order)
    columns[row, place] = column
    weights = (descending - threshold(descending)).clamp_min(0)
    kept = weights > 0
    offsets = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    return Neighbours(offsets, columns.gather(1, order)[kept], weights[kept], descending[kept])


def _places(mask: Bool[Tensor, "b n"]) -> tuple[Int64[Tensor, " nnz"], Int64[Tensor, " nnz"]]:
    """Return row and column of what is true in a mask, in order."""
    if mask.device.type != "cpu":
        row, column = mask.nonzero(as_tuple=True)
        return row, column
    # Where little is true, numpy finds it faster than torch.
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    return flat // mask.shape[1], flat % mask.shape[1]
