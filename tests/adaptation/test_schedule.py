"""Stages cover the run; learning rates rise, stay and fall."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltlm.adaptation.config import AdaptConfig, StageConfig
from saltlm.adaptation.schedule import Stage, check_stages, learning_rate_factor, plan_stages
from saltlm.errors import ConfigError

KINDS = ("embeddings", "full", "lora", "top-bottom")


def config(**options) -> AdaptConfig:
    return AdaptConfig(data={"x.txt": None}, **options)


def factors(stage: Stage, n_steps: int, **options) -> list[float]:
    settings = config(**options)
    return [
        learning_rate_factor(step, stage, n_steps, settings)
        for step in range(stage.first, stage.last)
    ]


def test_wsd_rises_stays_and_falls():
    rates = factors(Stage("full", 0, 100), 100, warmup=0.1, decay=0.2)
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([i / 21 for i in range(20, 0, -1)])


def test_every_stage_warms_up_and_only_the_run_decays():
    rates = factors(Stage("full", 50, 100), 100, warmup=0.3, decay=0.2)
    assert rates[:15] == pytest.approx([(i + 1) / 16 for i in range(15)])
    assert rates[15:30] == [1.0] * 15
    assert factors(Stage("embeddings", 0, 50), 100, warmup=0.0, decay=0.2) == [1.0] * 50


def test_a_warm_up_has_ten_steps_where_there_are_forty():
    rates = factors(Stage("full", 50, 100), 100, warmup=0.02, decay=0.0)
    assert rates[:11] == pytest.approx([(i + 1) / 11 for i in range(11)])
    assert factors(Stage("full", 0, 39), 39, warmup=0.01, decay=0.0) == [1.0] * 39
    assert factors(Stage("full", 0, 99), 99, warmup=0.0, decay=0.0) == [1.0] * 99


def test_cosine_is_half_way_down_in_the_middle():
    rates = factors(Stage("full", 0, 110), 110, schedule="cosine", warmup=10 / 110, floor=0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.99)) / 2)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_decay_over_the_whole_run_begins_below_the_warm_up():
    rates = factors(Stage("full", 0, 100), 100, warmup=0.15, decay=1.0)
    expected = [min(1, (i + 1) / 16) * (100 - i) / 101 for i in range(100)]
    assert rates == pytest.approx(expected)


@given(
    st.integers(1, 60),
    st.sampled_from(["wsd", "cosine"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_factors_are_above_zero_and_at_most_one(n, schedule, warmup, decay, floor):
    rates = factors(
        Stage("full", 0, n), n, schedule=schedule, warmup=warmup, decay=decay, floor=floor
    )
    assert all(0 < rate <= 1 for rate in rates)


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), st.integers(1, 50))
def test_stages_cover_every_step_once(kinds, n_steps):
    stages = plan_stages([StageConfig(kind=k) for k in kinds], n_steps)
    steps = [step for stage in stages for step in range(stage.first, stage.last)]
    assert steps == list(range(n_steps))
    assert all(stage.first < stage.last for stage in stages)


def test_stages_without_a_share_split_what_the_others_leave():
    kinds = [StageConfig(kind="lora", share=0.5), *[StageConfig(kind="full")] * 2]
    assert plan_stages(kinds, 8) == (
        Stage("lora", 0, 4),
        Stage("full", 4, 6),
        Stage("full", 6, 8),
    )


def test_embeddings_without_new_rows_is_refused():
    stages = [StageConfig(kind="embeddings")]
    with pytest.raises(ConfigError, match="trains only new rows, but the model has none"):
        check_stages(stages, has_new_rows=False)
