"""What every method is: a function from a pair's inputs to fitted rows."""

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from saltlm.methods.inputs import Fitted, MethodInputs, Rows
from saltlm.methods.registry import METHODS, Choice, load_method


class MakeRows(Protocol):
    """The contract of a method; its options are keyword-only and annotated with their limits."""

    def __call__(self, inputs: MethodInputs, /, **options: Any) -> Fitted:
        """Return the method, fitted to the inputs."""
        ...


class MakeHeadRows(Protocol):
    """The contract of a method for the head alone."""

    def __call__(self, inputs: MethodInputs, other: Fitted, /, **options: Any) -> Fitted:
        """Return the method, fitted to the inputs and to the method of the embedding's rows."""
        ...


def fit_sides(choice: Choice, inputs: MethodInputs) -> tuple[Fitted, Fitted]:
    """Return what makes the embedding's rows and what makes the head's, fitted to the inputs.

    Raises:
        ConfigError: as in `fit_method`.
    """
    embedding = fit_method(choice, inputs)
    output = choice.output
    if output is None:
        return embedding, embedding
    if not METHODS[output.name].is_for_head:
        return embedding, fit_method(output, inputs)
    make: MakeHeadRows = load_method(output.name)
    return embedding, make(inputs, embedding, **output.options)


def halfway(one: Fitted, other: Fitted) -> Fitted:
    """Return the mean of two methods' rows, for one row that serves both sides."""
    if one is other:
        return one

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        rows, others = one.fill(table), other.fill(table)
        return lambda part: torch.lerp(rows(part), others(part), 0.5)

    return Fitted(fill, one.neighbours, one.fit)


def fit_method(choice: Choice, inputs: MethodInputs) -> Fitted:
    """Return a method with its options, fitted to the inputs; of two sides, the embedding's.

    Raises:
        ConfigError: options that do not go together, or files and texts that are missing.
    """
    make: MakeRows = load_method(choice.name)
    return make(inputs, **choice.options)
