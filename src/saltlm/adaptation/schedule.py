"""Which step belongs to which stage, and how high its learning rates are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from saltlm.adaptation.config import AdaptConfig, StageConfig, StageKind
from saltlm.errors import ConfigError

_LEAST_WARM = 10  # steps; with fewer, a new optimiser's first steps can undo what was learnt


@dataclass(frozen=True)
class Stage:
    """Steps ``first`` to ``last - 1`` of a run, counted from 0, and what learns in them."""

    kind: StageKind
    first: int
    last: int


def check_stages(stages: Sequence[StageConfig], *, has_new_rows: bool) -> None:
    """Refuse stages that a model cannot have.

    Raises:
        ConfigError: ``embeddings`` would have nothing to train.
    """
    if not has_new_rows and any(stage.kind == "embeddings" for stage in stages):
        raise ConfigError(
            "stage embeddings trains only new rows, but the model has none: saltlm transfer did"
            " not make it",
            "leave the stage out: --set stages=[full]",
        )


def plan_stages(stages: Sequence[StageConfig], n_steps: int) -> tuple[Stage, ...]:
    """Return where the stages begin and end; together they cover every step once.

    Stages without a share split what the others leave. Stages that come out without a step are
    left out.
    """
    given = sum(stage.share or 0.0 for stage in stages)
    n_open = sum(stage.share is None for stage in stages)
    ends, reached = [], 0.0
    for stage in stages:
        reached += (1 - given) / n_open if stage.share is None else stage.share
        ends.append(min(n_steps, round(reached * n_steps)))
    starts = [0, *ends[:-1]]
    return tuple(
        Stage(stage.kind, first, last)
        for stage, first, last in zip(stages, starts, ends, strict=True)
        if first < last
    )


def learning_rate_factor(step: int, stage: Stage, n_steps: int, config: AdaptConfig) -> float:
    """Return what the peak learning rates are multiplied with at a step: above 0, at most 1.

    Every stage warms up linearly, for its optimiser is new: over its share of the steps, and at
    least over ten of them if it has forty. What follows is that of the whole run: ``wsd`` (warm-up,
    stable, decay) stays at the peak and falls linearly at the end, where the two overlap by both
    factors; ``cosine`` falls from the end of the first warm-up on.
    """
    n = stage.last - stage.first
    n_warm = round(config.warmup * n)
    if n_warm < _LEAST_WARM <= n // 4 and config.warmup:
        n_warm = _LEAST_WARM
    rise = min(1.0, (step - stage.first + 1) / (n_warm + 1))
    if config.schedule == "wsd":
        height = min(1.0, (n_steps - step) / (round(config.decay * n_steps) + 1))
    else:
        n_before = round(config.warmup * n_steps)
        done = max(0, step - n_before) / max(1, n_steps - n_before)
        height = (1 + math.cos(math.pi * done)) / 2
    return rise * (config.floor + (1 - config.floor) * height)
