"""The input fit: which places are compared, and gradients against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltlm.methods.input_fit import common_ends, descend, distillation_loss

WORDS = st.lists(st.integers(1, 4), min_size=1, max_size=20)


def spans(ends):
    return list(zip([0, *ends], ends, strict=False))


def test_common_ends_of_a_text():
    #                         the quick brown           the qu ick brown
    assert common_ends(spans([3, 9, 15]), spans([3, 6, 9, 15])) == ([0, 1, 2], [0, 2, 3])
    assert common_ends(spans([2, 4]), spans([1, 3])) == ([], [])
    assert common_ends([], spans([1])) == ([], [])


def test_a_token_that_ends_inside_of_a_character_does_not_count():
    # The second character is two tokens: only after its last byte it has been read.
    assert common_ends([(0, 1), (1, 2), (1, 2), (2, 3)], spans([2, 3])) == ([2, 3], [0, 1])
    # Its last byte and the third character are one token: nothing ends after two characters.
    assert common_ends([(0, 1), (1, 2), (1, 3)], spans([1, 2, 3])) == ([0, 2], [0, 2])


@given(WORDS, WORDS)
def test_common_ends_are_the_ends_of_both(old, new):
    ends = [np.cumsum(lengths).tolist() for lengths in (old, new)]
    a, b = common_ends(*map(spans, ends))
    assert [ends[0][i] for i in a] == [ends[1][i] for i in b]
    assert {ends[0][i] for i in a} == set(ends[0]) & set(ends[1])
    assert a == sorted(a)
    assert b == sorted(b)


def body():
    """A small frozen body, which reads every token before."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 5, dtype=torch.float64, generator=generator)
    ids = torch.tensor([0, 2, 1, 2])
    teacher = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    rows = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    return lambda rows: torch.tanh(rows[ids].cumsum(0) @ matrix), teacher, rows


def test_the_loss_is_the_relative_distance_and_its_gradient_is_right():
    states, teacher, rows = body()
    learnt = rows.clone().requires_grad_(True)
    loss = distillation_loss(states(learnt), teacher)
    loss.backward()
    found, wanted = states(rows).numpy(), teacher.numpy()
    assert float(loss.detach()) == pytest.approx(
        sum(((s - t) ** 2).sum() / (t**2).sum() for s, t in zip(found, wanted, strict=True))
    )
    for place in np.ndindex(3, 5):
        step = torch.zeros_like(rows)
        step[place] = 1e-6
        up, down = (distillation_loss(states(rows + sign * step), teacher) for sign in (1, -1))
        assert float((up - down) / 2e-6 - learnt.grad[place]) == pytest.approx(0, abs=1e-7)


def adam(rows, gradients, rate):
    """Adam as Kingma & Ba write it, the rate falling to zero over the last half."""
    first = second = np.zeros_like(rows)
    for step in range(1, len(gradients) + 1):
        gradient = gradients[step - 1](rows)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        share = min(1, 2 * (len(gradients) - step + 1) / len(gradients))
        ratio = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        rows = rows - share * rate * ratio
    return rows


def test_steps_are_adams_and_parts_add_up():
    start = np.random.default_rng(0).normal(size=(3, 4))
    goals = np.random.default_rng(1).normal(size=(6, 2, 3, 4))
    steps = [
        [lambda rows, goal=goal: (rows - goal).square().sum() for goal in pair]
        for pair in torch.tensor(goals)
    ]
    gradients = [lambda rows, pair=pair: 2 * (2 * rows - pair.sum(0)) for pair in goals]
    found = descend(torch.tensor(start), steps, learning_rate=0.1)
    np.testing.assert_allclose(found.rows, adam(start, gradients, 0.1), atol=1e-10)
    assert found.losses[0] == pytest.approx(((start - goals[0]) ** 2).sum())
    assert len(found.losses) == 6


def test_rows_that_made_the_teacher_are_found_and_others_keep_their_bits():
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    true = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    start = true + 0.2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    parts = [lambda rows: distillation_loss(rows[:3] @ turn, true[:3] @ turn)]
    found = descend(start, [parts] * 300, learning_rate=1e-2)
    assert (found.rows - true)[:3].norm() / true[:3].norm() < 1e-2
    assert found.losses[-1] < 1e-3 * found.losses[0]
    assert torch.equal(found.rows[3], start[3])
