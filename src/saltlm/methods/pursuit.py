"""Orthogonal matching pursuit over thousands of candidates for thousands of targets.

A step picks, for each target, the candidate with the largest inner product with what is left of the
target, then takes the candidate's part that is new out of what is left. Nearly all the work is the
products of what is left with all candidates. They are made in bfloat16 where the processor is
faster at it, and only the candidates that rounding could have put in the wrong order are looked at
again in float32: the picks are those of float32, whatever the products were made in.
"""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import pad

from saltlm.linear import Fit
from saltlm.neighbours import Neighbours, unit_rows
from saltlm.progress import progress

_TARGETS = 256  # worked on together
_SMALL = 16  # of them whose bases a processor's cache holds
_GROUP = 128  # scores whose largest is found first
_PAIRS = 2**15  # of a target and a candidate, looked at again together
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
    nothing = torch.zeros(0, k)
    found = [_Pursued(nothing.long(), nothing, nothing, torch.zeros(0))]
    bar = progress(total=len(new), desc="pursuit")
    for targets in unit_rows(new).split(_TARGETS):
        found.append(_pursue_block(targets, shared, candidates, k))
        bar.update(len(targets))
    bar.close()
    picked, cosines, coefficients, residual = (torch.cat(part) for part in zip(*found, strict=True))
    neighbours = Neighbours(
        torch.arange(len(new) + 1) * k,
        picked.flatten(),
        torch.full((len(new) * k,), 1 / k),
        cosines.flatten(),
    )
    coefficients *= new.float().norm(dim=1, keepdim=True)
    return neighbours, Fit(coefficients.flatten(), residual)


class _Pursued(NamedTuple):
    picked: Int64[Tensor, "b k"]
    cosines: Float[Tensor, "b k"]
    coefficients: Float[Tensor, "b k"]
    residual: Float[Tensor, " b"]


@dataclass(frozen=True)
class _Candidates:
    """Rows rounded to the dtype whose products are fastest, and zero rows up to whole groups.

    Attributes:
        rows: the rounded ones.
        length: the largest length of a row, by group.
        error: how far a product with a row is off, over the other factor's length: the largest
            length of what rounding took from a row, and what a sum in float32 adds; by group.
    """

    rows: Shaped[Tensor, "padded h_t"]
    length: Float[Tensor, " groups"]
    error: Float[Tensor, " groups"]


def _coarse(shared: Float[Tensor, "n h_t"]) -> _Candidates:
    padded = pad(shared, (0, 0, 0, -len(shared) % _GROUP))
    rows = padded.to(_fastest(shared))
    length, rounding = (
        part.norm(dim=1).view(-1, _GROUP).amax(1) for part in (padded, padded - rows)
    )
    summation = shared.shape[1] * torch.finfo(torch.float32).eps * length
    return _Candidates(rows, length, rounding + summation)


def _fastest(shared: Float[Tensor, "n h_t"]) -> torch.dtype:
    """Return the faster of bfloat16 and float32 for products on this processor."""
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for dtype in (*seconds, *seconds, *seconds):  # the first of each also loads its code
        rows = shared[:1024].to(dtype)
        begun = time.perf_counter()
        torch.mm(rows[:_TARGETS], rows.T)
        seconds[dtype] = min(seconds[dtype], time.perf_counter() - begun)
    return min(seconds, key=lambda dtype: seconds[dtype])


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
    scores = candidates.rows.new_empty(b, len(candidates.rows))
    begin = torch.arange(b).unsqueeze(1) * len(candidates.rows)
    for t in range(k):
        rounded = left_over.to(scores.dtype)
        torch.mm(rounded, candidates.rows.T, out=scores).abs_()
        scores[:, len(shared) :] = -torch.inf
        scores.view(-1).index_fill_(0, (begin + picked[:, :t]).flatten(), -torch.inf)
        error = torch.outer((left_over - rounded).norm(dim=1), candidates.length)
        error += torch.outer(left_over.norm(dim=1), candidates.error)
        picked[:, t] = _best(scores, error, left_over, shared)
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


def _best(
    scores: Shaped[Tensor, "b padded"],
    error: Float[Tensor, "b groups"],
    left_over: Float[Tensor, "b h_t"],
    shared: Float[Tensor, "n h_t"],
) -> Int64[Tensor, " b"]:
    """Return the candidate with the largest inner product, the first of equal ones.

    Args:
        scores: the inner products' size, from rounded factors.
        error: how far they can be off before they are rounded themselves.
        left_over: of the targets.
        shared: the candidates.
    """
    groups = scores.view(len(scores), -1, _GROUP)
    # As integers, floats of one sign have the same order, and their maximum is found faster.
    integer = torch.int16 if scores.dtype == torch.bfloat16 else torch.int32
    highest = groups.view(integer).amax(2).view(scores.dtype).float()
    error = error + torch.finfo(scores.dtype).eps * highest
    lowest = (highest - error).amax(1, keepdim=True)  # that the largest can be
    row, group = (highest + error >= lowest).nonzero(as_tuple=True)
    bound = (lowest - error)[row, group].unsqueeze(1)
    opened = scores.view(-1, _GROUP).index_select(0, row * error.shape[1] + group)
    found, place = (opened >= bound).nonzero(as_tuple=True)
    row, column = row[found], group[found] * _GROUP + place
    exact = torch.cat(
        [
            torch.linalg.vecdot(left_over.index_select(0, i), shared.index_select(0, j)).abs()
            for i, j in zip(row.split(_PAIRS), column.split(_PAIRS), strict=True)
        ]
    )
    largest = torch.zeros(len(scores)).scatter_reduce_(0, row, exact, "amax")
    is_best = exact == largest[row]
    best = torch.full((len(scores),), len(shared))
    return best.scatter_reduce_(0, row[is_best], column[is_best], "amin")
