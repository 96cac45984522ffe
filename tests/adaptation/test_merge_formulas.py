"""The formulas of a merge, against plain float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltlm.adaptation import merge_formulas
from saltlm.adaptation.merge_formulas import interpolated, slerp, with_chat_vector

WEIGHTS = st.floats(0, 1)


def pair(seed, *, apart=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    return one.to(dtype), (one + apart * other).to(dtype)


def oracle(base, adapted, weight):
    """SLERP of two vectors by their cosine, as it is usually written."""
    left, right = (tensor.double().numpy().ravel() for tensor in (base, adapted))
    angle = math.acos(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    parts = np.sin(np.array([1 - weight, weight]) * angle) / np.sin(angle)
    return (parts[0] * left + parts[1] * right).reshape(base.shape)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), weight=WEIGHTS)
def test_interpolation_and_chat_vector_are_their_formulas(seed, weight):
    base, adapted = pair(seed)
    left, right = base.double().numpy(), adapted.double().numpy()
    found = interpolated(base, adapted, weight).numpy()
    np.testing.assert_allclose(found, left + weight * (right - left), rtol=1e-5, atol=1e-6)
    third = pair(seed + 100)[0]
    found = with_chat_vector(adapted, base, third, weight).numpy()
    expected = right + weight * (left - third.double().numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), weight=WEIGHTS)
def test_slerp_is_its_formula_also_in_parts(seed, weight):
    base, adapted = pair(seed, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_formulas, "_AT_ONCE", 4)
        found = slerp(base, adapted, weight).numpy()
    np.testing.assert_allclose(found, oracle(base, adapted, weight), rtol=1e-9, atol=1e-12)


@settings(max_examples=25)
@given(seed=st.integers(0, 20), weight=WEIGHTS, power=st.integers(-12, -1))
def test_slerp_of_what_is_nearly_the_same_keeps_its_digits(seed, weight, power):
    """Near the line the arc is the line up to the square of the angle; a cosine sees no angle."""
    base, adapted = pair(seed, apart=10.0**power, dtype=torch.float64)
    off = (slerp(base, adapted, weight) - interpolated(base, adapted, weight)).abs().max()
    assert off <= 10.0 ** (2 * power) + 1e-15 * float(base.abs().max())


@settings(max_examples=25)
@given(seed=st.integers(0, 20), weight=WEIGHTS)
def test_slerp_keeps_lengths_on_the_sphere(seed, weight):
    base, adapted = (t / torch.linalg.vector_norm(t) for t in pair(seed, dtype=torch.float64))
    assert float(torch.linalg.vector_norm(slerp(base, adapted, weight))) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("formula", [interpolated, slerp])
def test_the_ends_come_back_bit_for_bit(formula, dtype):
    base, adapted = pair(0, dtype=dtype)
    assert torch.equal(formula(base, adapted, 0.0).to(dtype), base)
    assert torch.equal(formula(base, adapted, 1.0).to(dtype), adapted)
    assert torch.equal(with_chat_vector(adapted, base, base, 0.7).to(dtype), adapted)


def test_slerp_of_parallel_opposite_and_zero_is_the_line():
    base = pair(0)[0]
    for other in (2 * base, -base, torch.zeros_like(base)):
        assert torch.equal(slerp(base, other, 0.25), interpolated(base, other, 0.25))
        assert torch.equal(slerp(other, base, 0.25), interpolated(other, base, 0.25))
