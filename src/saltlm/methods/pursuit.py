"""Orthogonal matching pursuit over thousands of candidates for thousands of targets.

A step picks, for each target, the candidate with the largest inner product with what is left of the
target, then fits the target on all that were picked. Done as written, that is a product of all
residuals with all candidates per step. Here the products are updated from the candidates' Gram
matrix, as in Batch-OMP (Rubinstein et al. 2008), in half precision, and only the candidates that
rounding could have put in the wrong order are looked at again in float32.
"""

import torch
from jaxtyping import Float, Float16, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag

from saltlm.neighbours import Neighbours, unit_rows

_TARGETS = 128  # worked on together
_COLUMNS = 256  # of the Gram matrix that stay in a processor's cache
_GROUP = 128  # scores whose largest is found first
# Of a score, over the length of its coefficients: three times the largest of 36 million errors on
# the rows of a real PLM. One rounding to half precision is 2^-11.
_ERROR = 2 * 2.0**-11
_DEPENDENT = 1e-4  # an atom that is this close to the others' span counts as inside it


def pursue(new: Float[Tensor, "m h_t"], shared: Float[Tensor, "n h_t"], k: int) -> Neighbours:
    """Return k shared tokens for each new one, in the order in which they are picked.

    The candidates are not normalised, as in tokensurgeon: long rows are picked more readily.

    Args:
        new: rows of the new tokens.
        shared: rows of the shared tokens; all are picked if there are fewer than k, or than h_t.
        k: at least 1.
    """
    k = min(k, *shared.shape)
    scaled = shared / shared.norm(dim=1).max().clamp_min(1e-30)
    gram = [(scaled @ part.T).half() for part in scaled.split(_COLUMNS)]
    targets = unit_rows(new)
    picked = [torch.zeros(0, k, dtype=torch.int64)]
    picked += [_pursue_block(block, scaled, gram, k) for block in targets.split(_TARGETS)]
    indices = torch.cat(picked)
    directions = unit_rows(shared)
    cosines = [torch.zeros(0, k)] + [
        torch.einsum("bd,bkd->bk", block, directions[rows])
        for block, rows in zip(targets.split(_TARGETS), indices.split(_TARGETS), strict=True)
    ]
    return Neighbours(
        torch.arange(len(new) + 1) * k,
        indices.flatten(),
        torch.full((len(new) * k,), 1 / k),
        torch.cat(cosines).flatten(),
    )


def _pursue_block(
    targets: Float[Tensor, "b h_t"],
    shared: Float[Tensor, "n h_t"],
    gram: list[Float16[Tensor, "n columns"]],
    k: int,
) -> Int64[Tensor, "b k"]:
    """Pursue a block of targets of length 1; no candidate is longer than 1."""
    b = len(targets)
    products = targets @ shared.T
    scores = torch.full((b, -(-len(shared) // _GROUP) * _GROUP), -torch.inf)
    scores[:, : len(shared)] = products.abs()
    picked = torch.zeros(b, k, dtype=torch.int64)
    atoms = torch.zeros(b, k, shared.shape[1])
    # Row t of `basis` makes, of the atoms, the t-th vector of an orthonormal basis of their span.
    basis, coefficients = torch.zeros(b, k, k), torch.zeros(b, k)
    residual = targets
    for t in range(k):
        if t:
            _update(scores, products, gram, picked[:, :t], coefficients[:, :t])
        best = _best(scores, residual, shared, coefficients)
        picked[:, t], atoms[:, t] = best, shared[best]
        new, old = atoms[:, t : t + 1], slice(0, t)
        overlap = torch.bmm(torch.bmm(new, atoms[:, old].mT), basis[:, old, old].mT)
        basis[:, t, old] = -torch.bmm(overlap, basis[:, old, old]).squeeze(1)
        basis[:, t, t] = 1
        length = (new.square().sum((1, 2)) - overlap.square().sum((1, 2))).clamp_min(0).sqrt()
        # An atom in the span of the others adds nothing; its direction would be rounding errors.
        basis[:, t] *= torch.where(length > _DEPENDENT, 1 / length, 0).unsqueeze(1)
        share = (basis[:, t] * products.gather(1, picked)).sum(1, keepdim=True)
        coefficients += share * basis[:, t]
        residual = targets - torch.bmm(coefficients.unsqueeze(1), atoms).squeeze(1)
    return picked


def _update(
    scores: Float[Tensor, "b padded"],
    products: Float[Tensor, "b n"],
    gram: list[Float16[Tensor, "n columns"]],
    picked: Int64[Tensor, "b t"],
    coefficients: Float[Tensor, "b t"],
) -> None:
    """Write into ``scores`` the size of the inner products with what is left of the targets.

    What was picked is not picked again.
    """
    indices, weights, start = picked.contiguous(), coefficients.half(), 0
    for tile in gram:
        part = slice(start, start + tile.shape[1])
        explained = embedding_bag(indices, tile, mode="sum", per_sample_weights=weights)
        torch.sub(products[:, part], explained, out=scores[:, part])
        start = part.stop
    scores[:, :start].abs_().scatter_(1, indices, -torch.inf)


def _best(
    scores: Float[Tensor, "b padded"],
    residual: Float[Tensor, "b h_t"],
    shared: Float[Tensor, "n h_t"],
    coefficients: Float[Tensor, "b k"],
) -> Int64[Tensor, " b"]:
    """Return the candidate with the largest inner product, the first of equal ones."""
    groups = scores.view(len(scores), -1, _GROUP)
    highest = groups.amax(2)
    bound = highest.amax(1) - 2 * _ERROR * coefficients.norm(dim=1)
    target, group = (highest >= bound.unsqueeze(1)).nonzero(as_tuple=True)
    found, place = (groups[target, group] >= bound[target].unsqueeze(1)).nonzero(as_tuple=True)
    row, column = target[found], group[found] * _GROUP + place
    exact = torch.linalg.vecdot(residual[row], shared[column]).abs()
    largest = torch.zeros(len(scores)).scatter_reduce_(0, row, exact, "amax")
    is_best = exact == largest[row]
    best = torch.full((len(scores),), len(shared))
    return best.scatter_reduce_(0, row[is_best], column[is_best], "amin")
