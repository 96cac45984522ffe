"""One map for all tokens: affine, orthogonal, and affine with a local correction."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltlm.methods.inputs import Fitted, MethodInputs, Rows, bag_rows, explained
from saltlm.methods.linear_algebra import CHUNK, cholesky, column_mean, cross_product, gram
from saltlm.methods.ridge import ridge_coefficients
from saltlm.methods.spaces import Scale, Space, nearest

Ridge = Annotated[
    float, Field(gt=0, description="ridge over the mean variance of the PLM's dimensions")
]


@dataclass(frozen=True)
class AffineMap:
    """x -> (x - centre) matrix + offset, in float64."""

    centre: Float[Tensor, " h_t"]
    matrix: Float[Tensor, "h_t h"]
    offset: Float[Tensor, " h"]

    def __call__(self, plm_rows: Float[Tensor, "b h_t"]) -> Float[Tensor, "b h"]:
        """Return the rows' images in float32."""
        return ((plm_rows.double() - self.centre) @ self.matrix + self.offset).float()


def global_affine(inputs: MethodInputs, *, ridge: Ridge = 1e-6) -> Fitted:
    """Return [E_t[v], 1] W with W = argmin ||[E_t, 1] W - E_s||^2 over the shared tokens."""

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        affine = fit_affine(inputs, table, ridge)
        return lambda part: affine(inputs.plm_new[part])

    return Fitted(fill)


def procrustes(
    inputs: MethodInputs,
    *,
    scaled: Annotated[bool, Field(description="stretch by the best factor as well")] = False,
) -> Fitted:
    """Return (E_t[v] - mean) R + mean, R the best matrix with orthonormal rows or columns."""
    centre = inputs.plm_shared.double().mean(0)
    offsets = inputs.plm_shared - centre.float()

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        products = cross_product(offsets, table, inputs.shared_ids)
        u, singular, v = torch.linalg.svd(products, full_matrices=False)
        factor = singular.sum() / offsets.double().square().sum() if scaled else 1.0
        affine = AffineMap(centre, factor * u @ v, column_mean(table, inputs.shared_ids))
        return lambda part: affine(inputs.plm_new[part])

    return Fitted(fill)


def global_residual(
    inputs: MethodInputs,
    *,
    ridge: Ridge = 1e-6,
    space: Annotated[Space, Field(description="where neighbours are looked for")] = "centred",
    scale: Scale = 1.0,
    local: Annotated[
        Literal["mean", "ridge"],
        Field(description="how the neighbours' residuals are put together"),
    ] = "mean",
    local_ridge: Annotated[float, Field(gt=0, description="of local=ridge, as in salt")] = 0.3,
) -> Fitted:
    """Return the affine map's row and the sparsemax mean of what it leaves of the neighbours' rows.

    With ``local=ridge`` the residuals are weighted by a ridge fit of the PLM rows instead.
    """
    neighbours = nearest(inputs, space, scale)
    weights = neighbours.weights
    if local == "ridge":
        centre = inputs.plm_shared.mean(0)
        weights = ridge_coefficients(
            inputs.plm_new - centre, inputs.plm_shared - centre, neighbours, ridge=local_ridge
        )

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        affine = fit_affine(inputs, table, ridge)
        left_over = torch.cat(
            [
                table[ids].float() - affine(rows)
                for rows, ids in zip(
                    inputs.plm_shared.split(CHUNK), inputs.shared_ids.split(CHUNK), strict=True
                )
            ]
        )
        correction = bag_rows(left_over, neighbours.offsets, neighbours.indices, weights)
        return lambda part: affine(inputs.plm_new[part]) + correction(part)

    return Fitted(fill, neighbours, explained(inputs, neighbours, weights).fit)


def fit_affine(inputs: MethodInputs, table: Float[Tensor, "v_s h"], ridge: float) -> AffineMap:
    """Return the affine map from PLM rows to source rows with the least squared error.

    The intercept is not shrunk. ``ridge`` is relative, so it means the same for every PLM.
    """
    centre = inputs.plm_shared.double().mean(0)

    def factor() -> Float[Tensor, "h_t h_t"]:
        squares = gram(inputs.plm_shared, torch.arange(len(inputs.plm_shared)), centre)
        squares.diagonal().add_(ridge * squares.diagonal().mean() + 1e-30)
        return cholesky(squares)

    offsets = inputs.plm_shared - centre.float()
    products = cross_product(offsets, table, inputs.shared_ids)
    matrix = torch.cholesky_solve(products, inputs.once(("affine", ridge), factor))
    return AffineMap(centre, matrix, column_mean(table, inputs.shared_ids))
