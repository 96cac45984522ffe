"""Local ridge regression: the coefficients of a new token on its neighbours, shrunk."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltlm.methods.linear_algebra import cholesky
from saltlm.methods.neighbours import Neighbours

_BATCH_BYTES = 32 * 2**20  # of gathered neighbour rows


def ridge_coefficients(
    new: Float[Tensor, "m h_t"],
    shared: Float[Tensor, "n h_t"],
    neighbours: Neighbours,
    *,
    ridge: float,
    centred: bool = False,
) -> Float[Tensor, " nnz"]:
    """Return c = argmin ||c E'_t - E_t[v]||^2 + lambda ||c||^2 for each new token.

    lambda is ``ridge`` times the mean squared length of the token's rows in E'_t.

    Args:
        new: rows of the new tokens.
        shared: rows of the shared tokens.
        neighbours: of each new token, at least one.
        ridge: above 0.
        centred: subtract the neighbours' weighted mean from E'_t and E_t[v] first, and add it to
            the result: c becomes p + c - p sum(c), with p the weights.
    """
    k, width = neighbours.k, shared.shape[1]
    coefficients = torch.zeros_like(neighbours.weights)
    order = k.argsort(descending=True, stable=True)
    start = 0
    while start < len(new):
        size = int(k[order[start]])  # the most of this batch
        tokens = order[start : start + max(1, _BATCH_BYTES // (4 * width * size))]
        step = torch.arange(size)
        is_real = step < k[tokens].unsqueeze(1)
        place = (neighbours.offsets[tokens].unsqueeze(1) + step)[is_real]
        index = torch.zeros_like(is_real, dtype=torch.int64)
        index[is_real] = neighbours.indices[place]
        weights = torch.zeros(is_real.shape)
        weights[is_real] = neighbours.weights[place]
        centre = weights if centred else torch.zeros_like(weights)
        c = _solve(shared[index], new[tokens], is_real, centre, ridge)
        coefficients[place] = (centre + c - centre * c.sum(1, keepdim=True))[is_real]
        start += len(tokens)
    return coefficients


def _solve(
    bases: Float[Tensor, "b k h_t"],
    targets: Float[Tensor, "b h_t"],
    is_real: Bool[Tensor, "b k"],
    centre: Float[Tensor, "b k"],
    ridge: float,
) -> Float[Tensor, "b k"]:
    middle = torch.bmm(centre.unsqueeze(1), bases)
    bases = (bases - middle) * is_real.unsqueeze(2)
    targets = targets.unsqueeze(1) - middle
    gram = torch.bmm(bases, bases.mT).double()
    diagonal = gram.diagonal(dim1=1, dim2=2)
    level = ridge * diagonal.sum(1, keepdim=True) / is_real.sum(1, keepdim=True)
    diagonal += torch.where(is_real & (level > 0), level, 1)
    wanted = torch.bmm(targets, bases.mT).double()
    return torch.cholesky_solve(wanted.mT, cholesky(gram)).squeeze(2).float()
