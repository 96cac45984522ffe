"""Sparsemax (Martins & Astudillo 2016): the Euclidean projection of scores onto the simplex.

SALT uses only its support (step 3 of the method); FOCUS and others use its weights.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_GROUPS = 64  # a row's scores fall into this many strided groups; see `support_candidates`


def threshold(descending: Float[Tensor, "b c"]) -> Float[Tensor, "b 1"]:
    """Return tau per row, so that sparsemax(z) = max(z - tau, 0).

    Args:
        descending: scores sorted from high to low; entries of -inf are padding and take no part.
            Every row needs at least one finite score.
    """
    position = torch.arange(
        1, descending.shape[-1] + 1, dtype=descending.dtype, device=descending.device
    )
    is_real = descending > -torch.inf
    total = descending.masked_fill(~is_real, 0).cumsum(-1)
    in_support = (1 + position * descending > total) & is_real
    size = in_support.sum(-1, keepdim=True)
    return (total.gather(-1, size - 1) - 1) / size.to(descending.dtype)


def sparsemax(scores: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """Return the projection of each row onto the probability simplex (a full sort)."""
    return (scores - threshold(scores.sort(-1, descending=True).values)).clamp_min(0)


def support_candidates(scores: Float[Tensor, "b c"]) -> Bool[Tensor, "b c"]:
    """Return a mask that covers the support of sparsemax in each row, and little more.

    Exact, without sorting the row: tau can only grow when scores are added, so tau of the maxima
    of a few groups of the row is a lower bound of the row's own, and what lies at or below the
    bound is outside the support.
    """
    b, c = scores.shape
    if c <= _GROUPS:
        return torch.ones_like(scores, dtype=torch.bool)
    width = c // _GROUPS
    maxima = scores[:, : width * _GROUPS].view(b, width, _GROUPS).amax(1)
    bound = threshold(maxima.sort(-1, descending=True).values)
    if scores.device.type != "cpu":
        return scores > bound
    # numpy compares with a column faster than torch.
    return torch.from_numpy(scores.numpy() > bound.numpy())
