"""Sparsemax against a plain numpy oracle, and its laws."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saltlm.methods.sparsemax import sparsemax, support_candidates, threshold

scores = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 300)),
    elements=st.floats(-1, 1, width=32),
)


def oracle(z):
    """The definition, in float64, one row."""
    z = np.asarray(z, dtype=np.float64)
    descending = np.sort(z)[::-1]
    total = np.cumsum(descending)
    size = max(j for j in range(1, len(z) + 1) if 1 + j * descending[j - 1] > total[j - 1])
    return np.maximum(z - (total[size - 1] - 1) / size, 0)


@given(scores)
@settings(max_examples=200, deadline=None)
def test_equals_the_definition_and_lies_on_the_simplex(z):
    p = sparsemax(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(p, [oracle(row) for row in z], atol=2e-5)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-4)


@given(scores)
@settings(max_examples=200, deadline=None)
def test_candidates_cover_the_support(z):
    outside = ~support_candidates(torch.from_numpy(z)).numpy()
    assert np.all(np.array([oracle(row) for row in z])[outside] <= 1e-5)


def test_candidates_are_few():
    z = torch.randn(50, 10_000, generator=torch.Generator().manual_seed(0)) / 300**0.5
    support = (sparsemax(z) > 0).sum()
    assert support_candidates(z).sum() < 4 * support


def test_projection_is_the_nearest_point_of_the_simplex():
    generator = np.random.default_rng(0)
    for _ in range(20):
        z = generator.normal(size=12)
        p = sparsemax(torch.tensor(z)[None]).numpy()[0]
        others = generator.dirichlet(np.ones(12), size=500)
        assert np.all(np.linalg.norm(others - z, axis=1) >= np.linalg.norm(p - z) - 1e-9)


def test_padding_takes_no_part():
    z = torch.tensor([[0.9, 0.8, 0.1]])
    padded = torch.tensor([[0.9, 0.8, 0.1, -torch.inf, -torch.inf]])
    assert torch.equal(threshold(z), threshold(padded))
