"""Orthogonal matching pursuit over thousands of candidates for thousands of targets.

A step picks, for each target, the candidate with the largest inner product with what is left of the
target, then takes the candidate's part that is new out of what is left. Nearly all the work is the
products of what is left with all candidates. They are made of 8-bit integers where the processor is
faster at it, and only the candidates that rounding could have put in the wrong order are looked at
again in float32: the picks are those of float32, whatever the products were made of.
"""

import time
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import pad

from saltlm.files.progress import progress
from saltlm.methods.linear import Fit
from saltlm.methods.neighbours import Neighbours, unit_rows

_TARGETS = 512  # worked on together
_SMALL = 32  # of them whose bases a processor's cache holds
_GROUP = 64  # scores whose largest is found first
_STEPS = 127  # of an 8-bit integer, on either side of zero
_TINY = 1e-30
_EPSILON = torch.finfo(torch.float32).eps
_DEPENDENT = 1e-4  # an atom that is this close to the others' span counts as inside it


def pursue(
    new: Float[Tensor, "m h_t"], shared: Float[Tensor, "n h_t"], k: int
) -> tuple[Neighbours, Fit]:
    """Return k shared tokens for each new one, in the order in which they are picked, and the fit.

    The candidates are not normalised, as in tokensurgeon: long rows are picked more readily.

    Args:
        new: rows of the new tokens.
        shared: rows of the shared tokens; all are picked if there are fewer than k, or than h_t.
        k: at least 1.
    """
    k = min(k, *shared.shape)
    candidates = _coarse(shared)
    m = len(new)
    found = _Pursued(
        torch.empty(m, k, dtype=torch.int64), torch.empty(m, k), torch.empty(m, k), torch.empty(m)
    )
    bar = progress(total=m, desc="pursuit")
    for start in range(0, m, _TARGETS):
        part = slice(start, start + _TARGETS)
        block = _pursue_block(unit_rows(new[part]), shared, candidates, k)
        for whole, piece in zip(found, block, strict=True):
            whole[part] = piece
        bar.update(len(block.residual))
    bar.close()
    neighbours = Neighbours.uniform(found.picked, found.cosines)
    found.coefficients.mul_(new.float().norm(dim=1, keepdim=True))
    return neighbours, Fit(found.coefficients.flatten(), found.residual)


class _Pursued(NamedTuple):
    picked: Int64[Tensor, "b k"]
    cosines: Float[Tensor, "b k"]
    coefficients: Float[Tensor, "b k"]
    residual: Float[Tensor, " b"]


@dataclass(frozen=True)
class _Candidates:
    """Rows as their products are fastest, and zero rows up to whole groups.

    Attributes:
        rows: float32, or integers of 8 bits: the rows over ``scale``, in units of 1 / 127.
        scale: what dimensions are weighed by, so that all use the integers' range.
        length: the largest length of a row over ``scale``, by group.
        error: the largest length of what rounding took from a row over ``scale``, by group.
    """

    rows: Shaped[Tensor, "padded h_t"]
    scale: Float[Tensor, " h_t"]
    length: Float[Tensor, " groups"]
    error: Float[Tensor, " groups"]


def _coarse(shared: Float[Tensor, "n h_t"]) -> _Candidates:
    padded = pad(shared, (0, 0, 0, -len(shared) % _GROUP))
    scale = torch.ones(shared.shape[1])
    rounded = rows = padded
    if _fastest(shared) == torch.int8:
        scale = padded.abs().amax(0).clamp_min(_TINY)
        rounded = (padded / scale * _STEPS).round_()
        rows, rounded, padded = rounded.to(torch.int8), rounded / _STEPS, padded / scale
    length, error = (
        part.norm(dim=1).view(-1, _GROUP).amax(1) for part in (padded, padded - rounded)
    )
    return _Candidates(rows, scale, length, error)


def _fastest(shared: Float[Tensor, "n h_t"]) -> torch.dtype:
    """Return the faster of float32 and 8-bit integers for products on this processor.

    The product of integers has no public name in torch, and processors without an instruction for
    it may not hold the largest sums: it is not used where it is missing or not exact.
    """
    rows = torch.full((_TARGETS, shared.shape[1]), _STEPS, dtype=torch.int8)
    try:
        if (torch._int_mm(rows, -rows.T) != -shared.shape[1] * _STEPS**2).any():
            return torch.float32
    except (AttributeError, RuntimeError):
        return torch.float32
    floats, seconds = rows.float(), []
    for product, factor in ((torch.mm, floats), (torch._int_mm, rows)):
        product(factor, factor.T)  # the first also loads its code
        begun = time.perf_counter()
        product(factor, factor.T)
        seconds.append(time.perf_counter() - begun)
    return torch.int8 if seconds[1] < seconds[0] else torch.float32


def _pursue_block(
    targets: Float[Tensor, "b h_t"],
    shared: Float[Tensor, "n h_t"],
    candidates: _Candidates,
    k: int,
) -> _Pursued:
    """Pursue targets of length 1. With A the picked rows, one below the other, A = R Q."""
    b = len(targets)
    picked = torch.zeros(b, k, dtype=torch.int64)
    cosines, shares = torch.zeros(2, b, k)
    basis, triangle = torch.empty(b, k, shared.shape[1]), torch.zeros(b, k, k)  # Q and R
    left_over = targets.clone()
    is_rounded = candidates.rows.dtype == torch.int8
    scores = torch.empty(
        b, len(candidates.rows), dtype=torch.int32 if is_rounded else torch.float32
    )
    begin = torch.arange(b).unsqueeze(1) * len(candidates.rows)
    for t in range(k):
        unit, error = _products(left_over, candidates, scores)
        scores[:, len(shared) :] = -1
        scores.view(-1).index_fill_(0, (begin + picked[:, :t]).flatten(), -1)
        picked[:, t] = _best(scores, unit, error, left_over, shared)
        atoms = shared.index_select(0, picked[:, t])
        length = atoms.norm(dim=1)
        cosines[:, t] = torch.linalg.vecdot(targets, atoms) / length.clamp_min(1e-30)
        triangle[:, t, :t], direction = _apart(atoms, basis[:, :t])
        rest = direction.norm(dim=1)
        # The direction of an atom in the span of the others would be rounding errors.
        is_apart = rest > _DEPENDENT * length
        direction *= torch.where(is_apart, 1 / rest, 0).unsqueeze(1)
        basis[:, t], triangle[:, t, t] = direction, torch.where(is_apart, rest, 1)
        shares[:, t] = torch.linalg.vecdot(direction, left_over)
        left_over.addcmul_(shares[:, t : t + 1], direction, value=-1)
    # c A = c R Q is nearest to the target where c R is the target's share of each row of Q.
    c = torch.linalg.solve_triangular(triangle, shares.unsqueeze(1), upper=False, left=False)
    return _Pursued(picked, cosines, c.squeeze(1), left_over.norm(dim=1))


def _products(
    left_over: Float[Tensor, "b h_t"], candidates: _Candidates, scores: Shaped[Tensor, "b padded"]
) -> tuple[Float[Tensor, "b 1"], Float[Tensor, "b groups"]]:
    """Write the size of all inner products to ``scores``; return its unit and how far it is off."""
    weighted = left_over * candidates.scale
    length = weighted.norm(dim=1)
    # What sums in float32 add, here and where candidates are looked at again.
    error = candidates.error + left_over.shape[1] * _EPSILON * candidates.length
    error = torch.outer(length, error)
    if scores.dtype == torch.float32:
        torch.mm(left_over, candidates.rows.T, out=scores).abs_()
        return torch.ones(len(left_over), 1), error
    unit = weighted.abs().amax(1, keepdim=True).clamp_min_(_TINY) / _STEPS
    rounded = (weighted / unit).round_()
    torch._int_mm(rounded.to(torch.int8), candidates.rows.T, out=scores).abs_()
    lost = weighted.addcmul_(rounded, unit, value=-1).norm(dim=1)
    return unit / _STEPS, error.addr_(lost, candidates.length + candidates.error)


def _best(
    scores: Shaped[Tensor, "b padded"],
    unit: Float[Tensor, "b 1"],
    error: Float[Tensor, "b groups"],
    left_over: Float[Tensor, "b h_t"],
    shared: Float[Tensor, "n h_t"],
) -> Int64[Tensor, " b"]:
    """Return the candidate with the largest inner product, the first of equal ones.

    Args:
        scores: the inner products' size in units of ``unit``, made with rounded factors; -1 for
            what is not a candidate.
        unit: of the scores.
        error: how far they can be off.
        left_over: of the targets.
        shared: the candidates.
    """
    groups = scores.view(len(scores), -1, _GROUP)
    # As integers, floats of one sign have the same order, and their maximum is found faster.
    highest = groups.view(torch.int32).amax(2).view(scores.dtype) * unit
    everyone = torch.arange(len(scores))
    group = highest.argmax(1)
    likely = group * _GROUP + groups[everyone, group].argmax(1)
    known = torch.linalg.vecdot(left_over, shared.index_select(0, likely)).abs()
    row, group = (highest + error >= known.unsqueeze(1)).nonzero(as_tuple=True)
    bound = ((known[row] - error[row, group]) / unit[row, 0]).clamp_min_(0)
    opened = scores.view(-1, _GROUP).index_select(0, row * error.shape[1] + group)
    found, place = (opened >= bound.unsqueeze(1)).nonzero(as_tuple=True)
    row, column = row[found], group[found] * _GROUP + place
    exact = _inner_products(left_over, shared, row, column).abs_()
    largest = torch.zeros(len(scores)).scatter_reduce_(0, row, exact, "amax")
    is_best = exact == largest[row]
    best = torch.full((len(scores),), len(shared))
    return best.scatter_reduce_(0, row[is_best], column[is_best], "amin")


def _apart(
    atoms: Float[Tensor, "b h_t"], basis: Float[Tensor, "b t h_t"]
) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b h_t"]]:
    """Return each atom's inner products with its basis, and what the basis does not span.

    Few at a time, as many as a cache holds.
    """
    overlaps, directions = [], []
    for known, direction in zip(basis.split(_SMALL), atoms.split(_SMALL), strict=True):
        overlap = torch.bmm(known, direction.unsqueeze(1).mT).mT
        directions.append(torch.baddbmm(direction.unsqueeze(1), overlap, known, alpha=-1))
        overlaps.append(overlap)
    return torch.cat(overlaps).squeeze(1), torch.cat(directions).squeeze(1)


def _inner_products(
    left: Float[Tensor, "b h_t"],
    right: Float[Tensor, "n h_t"],
    row: Int64[Tensor, " nnz"],
    column: Int64[Tensor, " nnz"],
) -> Float[Tensor, " nnz"]:
    """Return the inner products of some rows of one with some of the other, in order of both."""
    offsets = pad(torch.bincount(row, minlength=len(left)).cumsum(0), (1, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        wanted = torch.sparse_csr_tensor(
            offsets,
            column,
            torch.zeros(len(column)),
            (len(left), len(right)),
            check_invariants=False,
        )
    found: Tensor = torch.sparse.sampled_addmm(wanted, left, right.T, beta=0)
    return found.values()
