"""One map for all tokens: affine, orthogonal, and affine with a local correction."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from saltlm.methods.end_pieces import Seen, beside_plm_rows, end_pieces
from saltlm.methods.inputs import Fitted, MethodInputs, Rows, bag_rows, explained
from saltlm.methods.linear_algebra import cholesky, column_mean, cross_product, runs
from saltlm.methods.ridge import ridge_coefficients
from saltlm.methods.spaces import Scale, Space, nearest

Ridge = Annotated[
    float, Field(gt=0, description="ridge over the mean variance of the dimensions mapped")
]


@dataclass(frozen=True)
class AffineMap:
    """x -> (x - centre) matrix + offset, in float64."""

    centre: Float[Tensor, " f"]
    matrix: Float[Tensor, "f h"]
    offset: Float[Tensor, " h"]

    def __call__(self, rows: Float[Tensor, "b f"]) -> Float[Tensor, "b h"]:
        """Return the rows' images in float32."""
        return ((rows.double() - self.centre) @ self.matrix + self.offset).float()


def global_affine(inputs: MethodInputs, *, ridge: Ridge = 1e-6) -> Fitted:
    """Return [E_t[v], 1] W with W = argmin ||[E_t, 1] W - E_s||^2 over the shared tokens."""

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        seen = _plm_rows(inputs)
        affine = fit_affine(seen.shared, inputs.shared_ids, table, ridge)
        return lambda part: affine(seen.new(part))

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
    pieces: Annotated[
        bool, Field(description="map the rows of the token's first and last source piece as well")
    ] = False,
) -> Fitted:
    """Return the affine map's row and the sparsemax mean of what it leaves of the neighbours' rows.

    With ``local=ridge`` the residuals are weighted by a ridge fit of the PLM rows instead. With
    ``pieces`` the map also reads the source's rows of the token's first and last piece (see
    `end_pieces.beside_plm_rows`): what the source knows of the token's text.

    Raises:
        ConfigError: ``pieces``, and the inputs have no texts.
    """
    neighbours = nearest(inputs, space, scale)
    weights = neighbours.weights
    if local == "ridge":
        centre = inputs.plm_shared.mean(0)
        weights = ridge_coefficients(
            inputs.plm_new - centre, inputs.plm_shared - centre, neighbours, ridge=local_ridge
        )
    ends = inputs.once("end pieces", lambda: end_pieces(inputs)) if pieces else None

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        seen = _plm_rows(inputs) if ends is None else beside_plm_rows(inputs, ends, table)
        affine = fit_affine(seen.shared, inputs.shared_ids, table, ridge)
        left_over = torch.cat(
            [
                table[inputs.shared_ids[run]].float() - affine(seen.shared(run))
                for run in runs(len(inputs.shared_ids))
            ]
        )
        correction = bag_rows(left_over, neighbours.offsets, neighbours.indices, weights)
        return lambda part: affine(seen.new(part)) + correction(part)

    return Fitted(fill, neighbours, explained(inputs, neighbours, weights).fit)


def fit_affine(
    read: Rows, ids: Int64[Tensor, " n"], table: Float[Tensor, "v_s h"], ridge: float
) -> AffineMap:
    """Return the affine map from shared tokens to their source rows with the least squared error.

    The intercept is not shrunk.

    Args:
        read: gives what the map reads of a run of shared tokens.
        ids: of their rows in the source's table.
        table: of the source.
        ridge: relative to the mean variance of what is read, so it means the same for every PLM.
    """
    total = torch.zeros(read(slice(0, 1)).shape[1], dtype=torch.float64)
    squares = torch.zeros(len(total), len(total), dtype=torch.float64)
    products = torch.zeros(len(total), table.shape[1], dtype=torch.float64)
    for run in runs(len(ids)):
        total += read(run).double().sum(0)
    centre = total / len(ids)
    for run in runs(len(ids)):
        rows = read(run).double() - centre
        squares += rows.T @ rows
        products += rows.T @ table[ids[run]].double()
    squares.diagonal().add_(ridge * squares.diagonal().mean() + 1e-30)
    matrix = torch.cholesky_solve(products, cholesky(squares))
    return AffineMap(centre, matrix, column_mean(table, ids))


def _plm_rows(inputs: MethodInputs) -> Seen:
    return Seen(lambda run: inputs.plm_shared[run], lambda run: inputs.plm_new[run])
