"""Which options of a method predict rows best."""

import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.methods.calibration import Calibration
from saltlm.methods.inputs import MethodInputs
from saltlm.methods.registry import METHODS, Choice, choose_method
from saltlm.scoring.holdout import NO_CALIBRATION, score_methods

_OTHER_SEED = 1_000_003


def variants(name: str) -> list[Choice]:
    """Return the published method and what its `search` tries beside it."""
    options = METHODS[name].search
    found = [choose_method(name)]
    for values in itertools.product(*options.values()):
        choice = choose_method(name, dict(zip(options, values, strict=True)))
        if choice not in found:
            found.append(choice)
    return found


def select_options(
    inputs: MethodInputs,
    table: Float[Tensor, "v_s h_s"],
    names: Iterable[str],
    *,
    calibration: Calibration = NO_CALIBRATION,
    counts: Int64[Tensor, " v_t"] | None = None,
    seed: int = 0,
) -> list[Choice]:
    """Return each method with the options of the highest r2 on one fold.

    The fold is not one that `score_methods` draws from the same seed.
    """
    chosen = []
    for name in names:
        tried = variants(name)
        scores = score_methods(
            inputs,
            table,
            tried,
            calibration=calibration,
            counts=counts,
            n_used=1,
            seed=seed + _OTHER_SEED,
        )
        values = [score.r2.value if score.r2 else -np.inf for score in scores]
        chosen.append(tried[int(np.argmax(values))])
    return chosen
