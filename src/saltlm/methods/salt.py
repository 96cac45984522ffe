"""SALT (Lee et al. 2025): a least-squares map per new token over its sparsemax neighbours."""

from typing import Annotated

from pydantic import Field

from saltlm.errors import ConfigError
from saltlm.methods.inputs import Fitted, MethodInputs, combination, explained
from saltlm.methods.linear import RCOND, fit_rows
from saltlm.methods.ridge import ridge_coefficients
from saltlm.methods.spaces import Scale, Space, nearest


def salt(
    inputs: MethodInputs,
    *,
    space: Annotated[Space, Field(description="where neighbours are looked for")] = "auxiliary",
    scale: Scale = 1.0,
    rcond: Annotated[float, Field(gt=0, lt=1, description="cut-off of singular values")] = RCOND,
    ridge: Annotated[
        float, Field(ge=0, description="ridge over the mean squared length of the rows fitted")
    ] = 0.0,
    centred: Annotated[
        bool, Field(description="fit offsets from the weighted mean of the neighbours")
    ] = False,
) -> Fitted:
    """Return e_v = E_t[v] pinv(E'_t) E'_s (SALT steps 2 to 4).

    The paper's method is ``ridge=0, centred=False``. With a ridge the map is shrunk; ``centred``
    adds it to the weighted mean of the neighbours instead of to nothing.

    Raises:
        ConfigError: ``centred`` without a ridge.
    """
    neighbours = nearest(inputs, space, scale)
    if ridge == 0:
        if centred:
            raise ConfigError("salt: centred=true needs a ridge above 0", "try ridge=1")
        fit = fit_rows(inputs.plm_new, inputs.plm_shared, neighbours, rcond=rcond)
        fill = combination(inputs.shared_ids, neighbours, fit.coefficients)
        return Fitted(fill, neighbours, fit)
    coefficients = ridge_coefficients(
        inputs.plm_new, inputs.plm_shared, neighbours, ridge=ridge, centred=centred
    )
    return explained(inputs, neighbours, coefficients)
