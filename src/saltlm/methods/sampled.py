"""Rows that know nothing of their token: drawn at random, or the mean."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltlm.methods.inputs import Fitted, MethodInputs, Rows
from saltlm.methods.linear_algebra import CHUNK, cholesky, column_mean, gram

_BLOCK = 1024  # rows that one generator draws
_JITTER = 1e-10  # of the mean variance, so that a covariance without full rank has a factor


def random(inputs: MethodInputs) -> Fitted:
    """Return rows drawn from a normal with the source's mean and deviation, per dimension."""

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        ids = inputs.source_ids
        mean = column_mean(table, ids)
        squares = torch.zeros_like(mean)
        for part in ids.split(CHUNK):
            squares += (table[part].double() - mean).square().sum(0)
        deviation = (squares / len(ids)).sqrt()
        return _drawn(mean, lambda noise: noise * deviation, inputs.seed)

    return Fitted(fill)


def mean(inputs: MethodInputs) -> Fitted:
    """Return the mean source row."""

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        row = column_mean(table, inputs.source_ids).float()
        return lambda part: row.repeat(len(inputs.plm_new[part]), 1)

    return Fitted(fill)


def multivariate(
    inputs: MethodInputs,
    *,
    scale: Annotated[
        float, Field(ge=0, description="of the covariance; transformers' own resizing has 1e-9")
    ] = 1.0,
) -> Fitted:
    """Return rows drawn from a normal with the source's mean and full covariance."""

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        ids = inputs.source_ids
        mean = column_mean(table, ids)
        covariance = gram(table, ids, mean) * scale / len(ids)
        covariance.diagonal().add_(_JITTER * covariance.diagonal().mean() + 1e-30)
        factor = cholesky(covariance).mT
        return _drawn(mean, lambda noise: noise @ factor, inputs.seed)

    return Fitted(fill)


def _drawn(
    mean: Float[Tensor, " h"],
    spread: Callable[[Float[Tensor, "b h"]], Float[Tensor, "b h"]],
    seed: int,
) -> Rows:
    """Return mean + spread(noise), where a token's noise does not depend on how rows are asked for.

    Each block of rows has a generator of its own.
    """

    def take(part: slice) -> Float[Tensor, "b h"]:
        first, last = part.start // _BLOCK, (part.stop - 1) // _BLOCK
        noise = np.concatenate(
            [
                np.random.default_rng((seed, block)).standard_normal((_BLOCK, len(mean)))
                for block in range(first, last + 1)
            ]
        )[part.start - first * _BLOCK : part.stop - first * _BLOCK]
        return (mean + spread(torch.from_numpy(noise))).float()

    return take
