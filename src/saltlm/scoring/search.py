"""Which options of a method predict rows best."""

import itertools
import logging
import math
from collections.abc import Iterable
from functools import partial

from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.methods.calibration import Calibration
from saltlm.methods.inputs import MethodInputs
from saltlm.methods.registry import METHODS, Choice, choose_method
from saltlm.models.cost import about
from saltlm.scoring.holdout import NO_CALIBRATION, score_methods

_OTHER_SEED = 1_000_003

logger = logging.getLogger(__name__)


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
    n_further: int = 0,
    seed: int = 0,
) -> list[Choice]:
    """Return each method with the options of the highest r2 on one fold.

    The fold is not one that `score_methods` draws from the same seed. The methods as published come
    first, and their times say how long the rest takes.

    Args:
        inputs: the pair of models.
        table: the source's embedding.
        names: of the methods.
        calibration: what is done to all methods' rows.
        counts: occurrences of each PLM id in a corpus.
        n_further: folds on which methods are scored afterwards, for the time that is told.
        seed: of the folds.
    """
    tried = {name: variants(name) for name in names}
    on_one_fold = partial(
        score_methods,
        inputs,
        table,
        calibration=calibration,
        counts=counts,
        n_used=1,
        seed=seed + _OTHER_SEED,
    )
    published = on_one_fold([choices[0] for choices in tried.values()])
    seconds = {name: one.seconds for name, one in zip(tried, published, strict=True)}
    others = [choice for choices in tried.values() for choice in choices[1:]]
    # Each method is scored again as published, and with other options if these are better.
    left = sum(seconds[choice.name] for choice in others)
    left += n_further * sum(seconds[name] * (1 + (len(tried[name]) > 1)) for name in tried)
    logger.info("%d more options of methods: %s", len(others), about(left))
    scores = [*published, *(on_one_fold(others) if others else [])]
    values = {one.method: one.r2.value if one.r2 else -math.inf for one in scores}
    return [max(choices, key=lambda choice: values[str(choice)]) for choices in tried.values()]
