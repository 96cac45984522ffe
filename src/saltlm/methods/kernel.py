"""Kernel ridge regression from PLM rows to source rows."""

from typing import Annotated

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from saltlm.methods.inputs import Fitted, MethodInputs, Rows
from saltlm.methods.linear_algebra import cholesky, column_mean
from saltlm.methods.neighbours import unit_rows
from saltlm.methods.spaces import Space, places

_BLOCK_BYTES = 64 * 2**20  # of the kernel between new and shared tokens at a time


def kernel_ridge(
    inputs: MethodInputs,
    *,
    ridge: Annotated[float, Field(gt=0, description="added to the kernel's diagonal")] = 0.03,
    gamma: Annotated[float, Field(gt=0, description="1 / the kernel's squared width")] = 1.0,
    space: Annotated[Space, Field(description="where tokens lie")] = "centred",
    anchors: Annotated[
        int, Field(ge=1, description="at most so many shared tokens, drawn by the seed")
    ] = 20_000,
) -> Fitted:
    """Return e_v = mu + K(v, .) (K + ridge I)^-1 (E_s - mu).

    K(u, w) = exp(-gamma (2 - 2 cos(u, w))), and mu is the mean shared row of the source. Memory
    grows with the square, time with the cube of the number of anchors.
    """
    new, shared = (unit_rows(rows) for rows in places(inputs, space))
    chosen = _draw(len(shared), anchors, inputs.seed)
    shared, ids = shared[chosen], inputs.shared_ids[chosen]
    gram = _kernel(shared, shared, gamma)
    gram.diagonal().add_(ridge)
    lower = cholesky(gram)
    del gram

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        mean = column_mean(table, ids).float()
        dual = torch.cholesky_solve(table[ids].float() - mean, lower)

        def take(part: slice) -> Float[Tensor, "b h"]:
            blocks = new[part].split(max(1, _BLOCK_BYTES // (4 * len(shared))))
            rows = [_kernel(block, shared, gamma) @ dual for block in blocks]
            return torch.cat([mean.new_zeros(0, len(mean)), *rows]) + mean

        return take

    return Fitted(fill)


def _kernel(
    left: Float[Tensor, "a d"], right: Float[Tensor, "b d"], gamma: float
) -> Float[Tensor, "a b"]:
    """Return exp(-gamma (2 - 2 cos)) of unit rows, in one buffer."""
    return (left @ right.T).sub_(1).mul_(2 * gamma).exp_()


def _draw(count: int, limit: int, seed: int) -> Int64[Tensor, " chosen"]:
    if count <= limit:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:limit].sort().values
