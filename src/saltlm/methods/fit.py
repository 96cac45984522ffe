"""What every method is: a function from a pair's inputs to fitted rows."""

from typing import Any, Protocol

from saltlm.methods.inputs import Fitted, MethodInputs
from saltlm.methods.registry import Choice, load_method


class MakeRows(Protocol):
    """The contract of a method; its options are keyword-only and annotated with their limits."""

    def __call__(self, inputs: MethodInputs, /, **options: Any) -> Fitted:
        """Return the method, fitted to the inputs."""
        ...


def fit_method(choice: Choice, inputs: MethodInputs) -> Fitted:
    """Return a method with its options, fitted to the inputs.

    Raises:
        ConfigError: options that do not go together, or files and texts that are missing.
    """
    make: MakeRows = load_method(choice.name)
    return make(inputs, **choice.options)
