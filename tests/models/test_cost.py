"""What work with a model is said to cost."""

import pytest
import torch

from saltlm.models import cost
from saltlm.models.cost import (
    about,
    arithmetic,
    seconds_a_product,
    seconds_a_trained_product,
    training_seconds,
)


def test_other_programs_do_not_count(monkeypatch):
    """One probe of the wall's clock once foretold eight times the time on a busy machine."""
    laps = iter([0.0, 9.0, 9.0, 13.0, 13.0, 14.0, 14.0, 21.0, 21.0, 23.0])
    monkeypatch.setattr(cost.time, "process_time", lambda: next(laps))
    monkeypatch.setattr(cost.torch, "get_num_threads", lambda: 4)
    assert seconds_a_product.__wrapped__() == pytest.approx(1.0 / 4 / 512**3)


@pytest.mark.parametrize(
    ("capability", "found"), [("avx512_bf16", torch.bfloat16), ("avx2", torch.float32)]
)
def test_a_cpu_that_multiplies_bfloat16_counts_in_it(monkeypatch, capability, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    assert arithmetic("auto", "cpu") == found
    assert arithmetic("float32", "cpu") == torch.float32
    assert arithmetic("bfloat16", "cpu") == torch.bfloat16
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older torch
    assert arithmetic("auto", "cpu") == torch.float32


@pytest.mark.parametrize(
    ("is_there", "multiplies", "found"),
    [
        (True, True, torch.bfloat16),
        (True, False, torch.float32),  # it emulates it
        (False, True, torch.float32),
    ],
)
def test_a_gpu_counts_in_bfloat16_where_it_has_it(monkeypatch, is_there, multiplies, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: multiplies)
    assert arithmetic("auto", "cuda:1") == found
    assert arithmetic("auto", "mps") == torch.float32


def test_training_takes_longer_by_its_tokens_and_weights():
    once = training_seconds(1000, 10, 1e-9)
    assert once > 1000 * 10 * 3e-9  # forward and backward are three products at least
    assert training_seconds(3000, 20, 1e-9) == pytest.approx(6 * once)


def test_a_training_is_told_in_the_numbers_that_it_counts_in(monkeypatch):
    """In float32 a machine that is faster in bfloat16 was told three times the time."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    probes = {("cpu", torch.bfloat16): 1e-12, ("cpu", torch.float32): 4e-12}
    monkeypatch.setattr(cost, "seconds_a_product", lambda *probed: probes[probed])
    assert seconds_a_trained_product() == 1.5e-12
    assert seconds_a_trained_product("float32") == 4e-12
    assert seconds_a_trained_product("bfloat16", "cpu") == 1.5e-12


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (6.0, "about 10 min"),
        (6.1, "about 10 min on an idle machine, longer on this one (6 processes on 4 cores)"),
    ],
)
def test_a_busy_machine_is_told(load, text, monkeypatch):
    monkeypatch.setattr(cost.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(cost.os, "cpu_count", lambda: 4)
    assert about(600) == text
