"""What work with a model is said to cost."""

import itertools

import pytest

from saltlm.models.cost import seconds_a_product, training_seconds


def test_the_fastest_of_a_few_products_is_taken(monkeypatch):
    """Other programs may interrupt any of them: one probe once foretold eight times the time."""
    laps = itertools.accumulate([0.0, 9.0, 0.0, 4.0, 0.0, 1.0, 0.0, 7.0, 0.0, 2.0])
    monkeypatch.setattr("saltlm.models.cost.time.perf_counter", lambda: next(laps))
    assert seconds_a_product.__wrapped__() == pytest.approx(1.0 / 512**3)


def test_training_takes_longer_by_its_tokens_and_weights():
    once = training_seconds(1000, 10, 1e-9)
    assert once > 1000 * 10 * 3e-9  # forward and backward are three products at least
    assert training_seconds(3000, 20, 1e-9) == pytest.approx(6 * once)
