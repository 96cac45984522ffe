"""Neighbours and linear maps against a float64 loop over numpy's pinv."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltlm.methods.linear import RCOND, combine_rows, fit_rows
from saltlm.methods.neighbours import Neighbours, nearest_shared


def clustered(rows, width, seed, spread=0.7):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, width, generator=torch.Generator().manual_seed(99))
    pick = torch.randint(8, (rows,), generator=generator)
    return centres[pick] + spread * torch.randn(rows, width, generator=generator)


def naive_rows(new, shared, table, neighbours, rcond=RCOND):
    """SALT step 4 as the paper writes it: X = pinv(E'_t) E'_s, one map per token."""
    new, shared, table = (x.double().numpy() for x in (new, shared, table))
    bounds = neighbours.offsets.tolist()
    rows = []
    for i, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
        index = neighbours.indices[start:end].numpy()
        x = np.linalg.pinv(shared[index], rcond=rcond) @ table[index]
        rows.append(new[i] @ x)
    return np.array(rows)


def assert_close_rows(found, wanted, tolerance=1e-4):
    error = np.linalg.norm(found.double().numpy() - wanted, axis=1)
    assert np.all(error <= tolerance * np.linalg.norm(wanted, axis=1) + 1e-12)


def test_neighbours_equal_a_full_sparsemax_loop():
    new, shared = clustered(40, 16, 1), clustered(200, 16, 2)
    found = nearest_shared(new, shared)
    a, b = new.double().numpy(), shared.double().numpy()
    cosines = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    for i, z in enumerate(cosines):
        order = np.argsort(-z)
        total = np.cumsum(z[order])
        size = max(j for j in range(1, 201) if 1 + j * z[order][j - 1] > total[j - 1])
        part = slice(found.offsets[i], found.offsets[i + 1])
        assert found.indices[part].tolist() == order[:size].tolist()
        np.testing.assert_allclose(found.cosines[part], z[order[:size]], atol=1e-5)
        np.testing.assert_allclose(found.weights[part].sum(), 1, atol=1e-5)


def test_block_size_changes_nothing_but_rounding(monkeypatch):
    new, shared = clustered(60, 16, 1), clustered(300, 16, 2)
    whole = nearest_shared(new, shared)
    monkeypatch.setattr("saltlm.methods.neighbours._BLOCK_BYTES", 4 * 300 * 7)
    blocks = nearest_shared(new, shared)
    assert torch.equal(whole.indices, blocks.indices)
    torch.testing.assert_close(whole.weights, blocks.weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("width", "shared_rows"),
    [(64, 400), (16, 400), (8, 30), (300, 12)],  # k < h_t, k around h_t, k > h_t, few shared
)
def test_rows_equal_a_float64_pinv_loop(width, shared_rows):
    new, shared = clustered(50, width, 3), clustered(shared_rows, width, 4)
    table = torch.randn(shared_rows, 24, generator=torch.Generator().manual_seed(5))
    neighbours = nearest_shared(new, shared)
    fit = fit_rows(new, shared, neighbours)
    rows = combine_rows(table, neighbours, fit.coefficients)
    assert_close_rows(rows, naive_rows(new, shared, table, neighbours))


@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_minimum_norm_when_rows_repeat_or_nearly_repeat(seed, k, gap):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(k, 24, generator=generator)
    shared[k // 2 :] = shared[: k - k // 2] + 10.0 ** -(gap * 2) * shared[k // 2 :]
    shared[-1] = shared[0]
    new = torch.randn(1, 24, generator=generator)
    table = torch.randn(k, 5, generator=generator)
    every = Neighbours(
        torch.tensor([0, k]), torch.arange(k), torch.full((k,), 1 / k), torch.zeros(k)
    )
    rows = combine_rows(table, every, fit_rows(new, shared, every).coefficients)
    assert_close_rows(rows, naive_rows(new, shared, table, every))


def test_residual_is_that_of_the_fit():
    new, shared = clustered(30, 64, 6), clustered(100, 64, 7)
    neighbours = nearest_shared(new, shared)
    fit = fit_rows(new, shared, neighbours)
    left_over = (new - combine_rows(shared, neighbours, fit.coefficients)).norm(dim=1)
    torch.testing.assert_close(fit.residual, left_over / new.norm(dim=1), atol=1e-5, rtol=1e-5)


def test_a_row_in_the_span_is_reproduced():
    shared = clustered(100, 64, 8)
    new = 0.5 * shared[:10] + 0.25 * shared[10:20]
    exact = Neighbours(
        torch.arange(11) * 2,
        torch.stack([torch.arange(10), torch.arange(10, 20)], 1).flatten(),
        torch.full((20,), 0.5),
        torch.zeros(20),
    )
    fit = fit_rows(new, shared, exact)
    torch.testing.assert_close(fit.coefficients, torch.tensor([0.5, 0.25]).repeat(10))
    assert float(fit.residual.max()) < 1e-5


def test_nothing_new_is_nothing_to_do():
    shared = clustered(10, 8, 1)
    neighbours = nearest_shared(torch.zeros(0, 8), shared)
    fit = fit_rows(torch.zeros(0, 8), shared, neighbours)
    assert combine_rows(shared, neighbours, fit.coefficients).shape == (0, 8)
