"""Least-squares fits on neighbours that are not sparsemax's: the k nearest, and greedy pursuit."""

from typing import Annotated

from pydantic import Field

from saltlm.methods.inputs import Fitted, MethodInputs, combination
from saltlm.methods.linear import fit_rows
from saltlm.methods.pursuit import pursue
from saltlm.methods.spaces import Distance, NeighbourCount, Space, k_nearest, places


def least_squares(
    inputs: MethodInputs,
    *,
    k: NeighbourCount = 64,
    distance: Annotated[Distance, Field(description="what nearness is")] = "euclidean",
    space: Annotated[Space, Field(description="where neighbours are looked for")] = "plm",
) -> Fitted:
    """Return the least-squares fit of the PLM row on its k nearest (tokensurgeon, Goddard 2025)."""
    new, shared = places(inputs, space)
    neighbours = k_nearest(new, shared, k, distance=distance)
    fit = fit_rows(inputs.plm_new, inputs.plm_shared, neighbours)
    return Fitted(combination(inputs.shared_ids, neighbours, fit.coefficients), neighbours, fit)


def omp(inputs: MethodInputs, *, k: NeighbourCount = 64) -> Fitted:
    """Return the fit of orthogonal matching pursuit in the PLM's rows (tokensurgeon)."""
    neighbours, fit = inputs.once(("omp", k), lambda: pursue(inputs.plm_new, inputs.plm_shared, k))
    return Fitted(combination(inputs.shared_ids, neighbours, fit.coefficients), neighbours, fit)
