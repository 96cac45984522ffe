"""How sure a number is: the percentile bootstrap, over whole items."""

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
SAMPLES = 1000
_AT_ONCE = 2**22  # numbers drawn at a time


def resampled_sums(
    values: Float[np.ndarray, "*kinds n"], seed: int, samples: int = SAMPLES
) -> Float[np.ndarray, "*kinds samples"]:
    """Return the sums of n items drawn with repetition, whole items at a time, for each sample.

    Args:
        values: of n items; what is drawn is the same for all leading dimensions.
        seed: of the draws: the same number of items and seed give the same draws.
        samples: how often n items are drawn.
    """
    n = values.shape[-1]
    generator = np.random.default_rng(seed)
    parts = []
    step = max(1, _AT_ONCE // max(1, n))
    for first in range(0, samples, step):
        count = min(step, samples - first)
        drawn = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        parts.append(values @ weights.T.astype(np.float64))
    return np.concatenate(parts, axis=-1)


def percentiles(values: Float[np.ndarray, " samples"], level: float = LEVEL) -> tuple[float, float]:
    """Return the range that a share of the samples falls into, as many below as above."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
