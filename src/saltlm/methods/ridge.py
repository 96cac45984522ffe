"""Local ridge regression: the coefficients of a new token on its neighbours, shrunk."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltlm.methods.linear_algebra import cholesky
from saltlm.methods.neighbours import Neighbours, ragged_batches

_GATHERED_BYTES = 32 * 2**20  # of gathered neighbour rows


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
    coefficients = torch.zeros_like(neighbours.weights)
    batches = ragged_batches(neighbours, shared.shape[1], _GATHERED_BYTES)
    for tokens, place, is_real, index in batches:
        weights = neighbours.weights[place].masked_fill(~is_real, 0)
        centre = weights if centred else torch.zeros_like(weights)
        c = _solve_ridge(shared[index], new[tokens], is_real, centre, ridge)
        c = centre + c - centre * c.sum(1, keepdim=True)
        coefficients[place[is_real]] = c[is_real]
    return coefficients


def _solve_ridge(
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
