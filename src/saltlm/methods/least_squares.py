"""Least-squares fits on neighbours that are not sparsemax's: the k nearest, and greedy pursuit."""

from typing import Annotated

from pydantic import Field

from saltlm.methods.inputs import Fitted, Task, combination
from saltlm.methods.linear import fit_rows
from saltlm.methods.pursuit import pursue
from saltlm.methods.spaces import Distance, Space, k_nearest, vectors

K = Annotated[int, Field(ge=1, description="neighbours of each token")]


def least_squares(
    task: Task,
    *,
    k: K = 64,
    distance: Annotated[Distance, Field(description="what nearness is")] = "euclidean",
    space: Annotated[Space, Field(description="where neighbours are looked for")] = "plm",
) -> Fitted:
    """Return the least-squares fit of the PLM row on its k nearest (tokensurgeon, Goddard 2025)."""
    new, shared = vectors(task, space)
    neighbours = k_nearest(new, shared, k, distance=distance)
    fit = fit_rows(task.plm_new, task.plm_shared, neighbours)
    return Fitted(combination(task.shared_ids, neighbours, fit.coefficients), neighbours, fit)


def omp(task: Task, *, k: K = 64) -> Fitted:
    """Return the fit of orthogonal matching pursuit in the PLM's rows (tokensurgeon)."""
    neighbours, fit = task.once(("omp", k), lambda: pursue(task.plm_new, task.plm_shared, k))
    return Fitted(combination(task.shared_ids, neighbours, fit.coefficients), neighbours, fit)
