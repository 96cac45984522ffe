"""Products and factors in float64 that several methods need, in bounded memory."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.errors import ConfigError

CHUNK = 8192  # rows of a table in float64 at a time
_WIDE_CHUNK = 2048  # of rows that may be several times as wide


def runs(n: int) -> Iterator[slice]:
    """Divide n rows into runs of so many that wide rows in float64 take little memory."""
    return (slice(first, first + _WIDE_CHUNK) for first in range(0, n, _WIDE_CHUNK))


def cholesky(matrix: Float[Tensor, "*b n n"]) -> Float[Tensor, "*b n n"]:
    """Return the lower Cholesky factor.

    Raises:
        ConfigError: rounding leaves the matrix without one.
    """
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if failed.any():
        raise ConfigError(
            f"a {matrix.shape[-1]} x {matrix.shape[-1]} matrix is singular but for rounding",
            "choose a larger ridge",
        )
    return lower


def column_mean(table: Float[Tensor, "v_s h"], ids: Int64[Tensor, " rows"]) -> Float[Tensor, " h"]:
    """Return the mean of some rows in float64, in bounded memory."""
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    for part in ids.split(CHUNK):
        total += table[part].double().sum(0)
    return total / max(1, len(ids))


def cross_product(
    left: Float[Tensor, "n a"], table: Float[Tensor, "v_s h"], ids: Int64[Tensor, " n"]
) -> Float[Tensor, "a h"]:
    """Return left^T table[ids] in float64, in bounded memory."""
    total = torch.zeros(left.shape[1], table.shape[1], dtype=torch.float64)
    for rows, part in zip(left.split(CHUNK), ids.split(CHUNK), strict=True):
        total += rows.double().T @ table[part].double()
    return total


def gram(
    table: Float[Tensor, "rows h"],
    ids: Int64[Tensor, " n"],
    centre: Float[Tensor, " h"] | float = 0.0,
) -> Float[Tensor, "h h"]:
    """Return X^T X in float64, X the given rows less their centre, in bounded memory."""
    total = torch.zeros(table.shape[1], table.shape[1], dtype=torch.float64)
    for part in ids.split(CHUNK):
        rows = table[part].double() - centre
        total += rows.T @ rows
    return total
