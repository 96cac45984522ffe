"""Which options of a method predict rows best."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.methods.calibration import Calibration
from saltlm.methods.inputs import MethodInputs
from saltlm.methods.registry import Choice, choose_method
from saltlm.scoring.holdout import NO_CALIBRATION, score_methods

_OTHER_SEED = 1_000_003

# What --select tries, beside the published method itself.
SEARCH: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "salt": {"ridge": (0.1, 1.0, 3.0), "centred": (False, True), "scale": (1, 2)},
    "focus": {"scale": (2, 4, 8)},
    "clp+": {"scale": (2, 4, 8), "space": ("plm", "centred")},
    "ofa": {"k": (5, 10, 20), "temperature": (0.03, 0.1)},
    "omp": {"k": (8, 16, 32)},
    "least-squares": {"k": (8, 16, 32), "distance": ("cosine", "euclidean")},
    "global": {"ridge": (1e-2, 1e-1, 1.0)},
    "procrustes": {"scaled": (True,)},
    "global-residual": {
        "ridge": (1e-2, 1e-1, 1.0, 3.0),
        "scale": (1, 2),
        "local": ("mean", "ridge"),
    },
    "kernel-ridge": {"ridge": (0.03, 0.1), "gamma": (0.5, 1.0, 2.0)},
}


def variants(name: str) -> list[Choice]:
    """Return the published method and what `SEARCH` tries beside it."""
    options = SEARCH.get(name, {})
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
