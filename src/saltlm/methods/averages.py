"""Rows that are weighted means of the shared tokens' rows: FOCUS, CLP and CLP+."""

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltlm.methods.inputs import Fitted, MethodInputs, Rows, explained
from saltlm.methods.linear_algebra import cross_product
from saltlm.methods.neighbours import unit_rows
from saltlm.methods.spaces import Scale, Space, nearest, places

SpaceOption = Annotated[Space, Field(description="where cosines are taken")]


def focus(inputs: MethodInputs, *, space: SpaceOption = "auxiliary", scale: Scale = 1.0) -> Fitted:
    """Return the sparsemax mean of the neighbours' rows (FOCUS, Dobler & de Melo 2023)."""
    neighbours = nearest(inputs, space, scale)
    return explained(inputs, neighbours, neighbours.weights)


def clp_plus(inputs: MethodInputs, *, space: SpaceOption = "plm", scale: Scale = 1.0) -> Fitted:
    """Return the sparsemax mean of the rows nearest in the PLM's space (CLP+, Yamaguchi 2024)."""
    return focus(inputs, space=space, scale=scale)


def clp(inputs: MethodInputs, *, space: SpaceOption = "plm") -> Fitted:
    """Return the mean of all shared rows, weighted by cosine (CLP, Ostendorff & Rehm 2023).

    Negative cosines are kept, as in the original. Cosines are products of unit rows, so the sum
    over all shared tokens is one matrix for all new tokens, and no weight is ever written down.
    """
    new, shared = (unit_rows(rows) for rows in places(inputs, space))
    total = shared.double().sum(0)

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        products = cross_product(shared, table, inputs.shared_ids)

        def take(part: slice) -> Float[Tensor, "b h"]:
            directions = new[part].double()
            return (directions @ products / (directions @ total).unsqueeze(1)).float()

        return take

    return Fitted(fill)
