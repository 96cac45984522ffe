"""Neighbours among the shared tokens, in the spaces where methods look for them."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltlm.methods.inputs import MethodInputs
from saltlm.methods.neighbours import Neighbours, nearest_shared, score_blocks

Space = Literal["auxiliary", "plm", "centred"]
"""The auxiliary vectors, the PLM's rows, or the PLM's rows centred on the mean shared one."""

Distance = Literal["cosine", "euclidean"]

NeighbourCount = Annotated[int, Field(ge=1, description="neighbours of each token")]

Scale = Annotated[
    float, Field(ge=1, description="what cosines are multiplied with before sparsemax")
]


def places(inputs: MethodInputs, space: Space) -> tuple[Float[Tensor, "m d"], Float[Tensor, "n d"]]:
    """Return where the new and the shared tokens lie in a space."""
    if space == "auxiliary":
        return inputs.aux_new, inputs.aux_shared
    centre = inputs.plm_shared.mean(0) if space == "centred" else 0.0
    return inputs.plm_new - centre, inputs.plm_shared - centre


def nearest(inputs: MethodInputs, space: Space, scale: float = 1.0) -> Neighbours:
    """Return the sparsemax neighbourhoods in a space, made once for all methods.

    Args:
        inputs: the tokens.
        space: where their cosines are taken.
        scale: what the cosines are multiplied with before sparsemax, at least 1.
    """
    if space == "auxiliary" and inputs.is_one_space:
        space = "plm"
    found = inputs.once(("neighbours", space), lambda: nearest_shared(*places(inputs, space)))
    return found if scale == 1 else sharpen(found, scale)


def sharpen(neighbours: Neighbours, scale: float) -> Neighbours:
    """Return the sparsemax neighbourhoods of cosines that are multiplied with at least 1.

    Exact, since the support of sparsemax can only shrink as its scores are spread.
    """
    first, k = neighbours.offsets[:-1], neighbours.k
    owner = torch.repeat_interleave(k)
    scores = neighbours.cosines.double() * scale  # of each token, from high to low
    total = scores.cumsum(0)
    total -= (total - scores)[first][owner]
    position = torch.arange(len(owner)) - first[owner] + 1
    size = torch.bincount(owner[1 + position * scores > total], minlength=len(k))
    tau = (total[first + size - 1] - 1) / size
    weights = (scores - tau[owner]).float()
    kept = weights > 0
    counts = torch.bincount(owner[kept], minlength=len(k))
    return Neighbours(
        torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        neighbours.indices[kept],
        weights[kept],
        neighbours.cosines[kept],
    )


def k_nearest(
    new: Float[Tensor, "m d"],
    shared: Float[Tensor, "n d"],
    k: int,
    *,
    distance: Distance = "cosine",
) -> Neighbours:
    """Return the k shared tokens nearest to each new one, the nearest first, weighted equally.

    Args:
        new: rows of the new tokens.
        shared: rows of the shared tokens; all are returned if there are fewer than k.
        k: at least 1.
        distance: what nearness is.
    """
    k = min(k, len(shared))
    is_cosine = distance == "cosine"
    # For Euclid, ||a - b||^2 without ||a||^2, which all b of a token share.
    half = shared.float().square().sum(1) / 2
    indices, scores = [torch.zeros(0, k, dtype=torch.int64)], [torch.zeros(0, k)]
    for block in score_blocks(new, shared, unit=is_cosine):
        best = (block if is_cosine else block.sub_(half)).topk(k, dim=1)
        indices.append(best.indices)
        scores.append(best.values)
    found, cosines = torch.cat(indices), torch.cat(scores)
    if not is_cosine:
        lengths = new.float().norm(dim=1, keepdim=True) * (2 * half[found]).sqrt()
        cosines = (cosines + half[found]) / lengths.clamp_min(1e-30)
    return Neighbours.uniform(found, cosines)
