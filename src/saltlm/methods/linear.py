"""SALT step 4: a least-squares map per new token, in the form of coefficients on its neighbours.

With E'_t (k x h_t) and E'_s (k x h_s) the paired rows of the neighbours of a new token v, the
paper's map is X = pinv(E'_t) E'_s and the new row E_t[v] X = c E'_s, where c = E_t[v] pinv(E'_t) is
the minimum-norm solution of min ||c E'_t - E_t[v]||. So X never needs to exist; the same c serves
the embedding, an untied head and its bias; and c is the explanation of the row.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltlm.files.progress import progress
from saltlm.methods.neighbours import Neighbours, ragged_batches

RCOND = 1e-5
"""Singular values of E'_t at or below RCOND times the largest count as zero, as in numpy."""

_BATCH_BYTES = 8 * 2**20  # of gathered neighbour rows: what a processor's cache holds
_PIVOT = 1e-5  # smaller relative pivots of the Gram matrix leave float32 too few digits
_CONVERGED = 1e-3  # a last correction this small leaves a relative error of about its square


@dataclass(frozen=True)
class Fit:
    """The minimum-norm coefficients of every new token, aligned with `Neighbours.indices`.

    Attributes:
        coefficients: c, signed.
        residual: ||c E'_t - E_t[v]|| / ||E_t[v]||: 0 is a perfect fit, 1 none at all.
    """

    coefficients: Float[Tensor, " nnz"]
    residual: Float[Tensor, " m"]


def no_fit(m: int) -> Fit:
    """Return the fit of m new tokens whose rows are not sums of a few others."""
    return Fit(torch.zeros(0), torch.full((m,), torch.nan))


def fit_rows(
    new: Float[Tensor, "m h_t"],
    shared: Float[Tensor, "n h_t"],
    neighbours: Neighbours,
    *,
    rcond: float = RCOND,
) -> Fit:
    """Return c = E_t[v] pinv(E'_t) for each new token (paper, section 3; SALT step 4).

    Tokens are batched by k. Normal equations in float32 with one step of iterative refinement
    settle the well-conditioned ones; what has not converged, or has k > h_t, is solved again in
    float64 by singular values.

    Args:
        new: PLM rows of the new tokens.
        shared: PLM rows of the shared tokens.
        neighbours: of each new token, at least one.
        rcond: relative cut-off of singular values.
    """
    width = shared.shape[1]
    coefficients = torch.zeros(len(neighbours.indices), device=shared.device)
    residual = torch.zeros(len(new), device=shared.device)
    buffer = torch.empty(0, width, device=shared.device)
    bar = progress(total=len(new), desc="linear maps")
    for tokens, place, is_real, index in ragged_batches(neighbours, width, _BATCH_BYTES):
        if buffer.shape[0] < index.numel():
            buffer = torch.empty(index.numel(), width, device=shared.device)
        gathered = buffer[: index.numel()]
        torch.index_select(shared, 0, index.flatten(), out=gathered)
        gathered.index_fill_(0, (~is_real).flatten().nonzero().squeeze(1), 0)
        bases = gathered.view(*index.shape, width)
        c, residual[tokens] = _solve_least_squares(bases, new[tokens].float(), is_real, rcond)
        coefficients[place[is_real]] = c[is_real]
        bar.update(len(tokens))
    bar.close()
    return Fit(coefficients, residual)


def _solve_least_squares(
    bases: Float[Tensor, "b k h_t"],
    targets: Float[Tensor, "b h_t"],
    is_real: Bool[Tensor, "b k"],
    rcond: float,
) -> tuple[Float[Tensor, "b k"], Float[Tensor, " b"]]:
    """Return coefficients and relative residuals of one batch; padded rows of ``bases`` are 0."""
    norms = torch.linalg.vector_norm(targets, dim=1).clamp_min(1e-30)
    if bases.shape[1] <= bases.shape[2]:
        gram = torch.bmm(bases, bases.mT)
        gram.diagonal(dim1=1, dim2=2).masked_fill_(~is_real, 1)
        factor, failed = torch.linalg.cholesky_ex(gram)
        c = torch.cholesky_solve(_products(targets, bases), factor)
        left_over = targets - torch.bmm(c.mT, bases).squeeze(1)
        correction = torch.cholesky_solve(_products(left_over, bases), factor)
        size, change = (torch.linalg.vector_norm(x, dim=(1, 2)) for x in (c, correction))
        c = (c + correction).squeeze(2)
        pivots = factor.diagonal(dim1=1, dim2=2).square() / gram.diagonal(dim1=1, dim2=2)
        is_hard = (failed > 0) | ~(pivots.amin(1) > _PIVOT) | ~(change <= _CONVERGED * size)
    else:
        c = targets.new_zeros(bases.shape[:2])
        left_over = targets.clone()
        is_hard = torch.ones(len(bases), dtype=torch.bool, device=bases.device)
    if is_hard.any():
        exact = bases[is_hard].double()
        wanted = targets[is_hard].double().unsqueeze(1)
        found = (wanted @ torch.linalg.pinv(exact, rtol=rcond)).squeeze(1)
        c[is_hard] = found.float()
        left_over[is_hard] = (wanted - found.unsqueeze(1) @ exact).squeeze(1).float()
    return c, torch.linalg.vector_norm(left_over, dim=1) / norms


def _products(
    vectors: Float[Tensor, "b h_t"], bases: Float[Tensor, "b k h_t"]
) -> Float[Tensor, "b k 1"]:
    """Return the inner products of each vector with its bases.

    As a row times a matrix: the other way round, a matrix times a column, is ten times slower.
    """
    return torch.bmm(vectors.unsqueeze(1), bases.mT).mT


def combine_rows(
    table: Float[Tensor, "n h_s"],
    neighbours: Neighbours,
    coefficients: Float[Tensor, " nnz"],
) -> Float[Tensor, "m h_s"]:
    """Return c E'_s for each new token: the weighted sums of its neighbours' rows, in float32."""
    if not len(neighbours.k):
        return table.new_zeros(0, table.shape[1], dtype=torch.float32)
    return torch.nn.functional.embedding_bag(
        neighbours.indices,
        table.float(),
        neighbours.offsets[:-1],
        mode="sum",
        per_sample_weights=coefficients,
    )
