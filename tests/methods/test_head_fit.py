"""The output fit against softmax regression in plain float64 numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from saltlm.config.fits import FitsConfig
from saltlm.methods.head_fit import HeadProblem, fit_head, head_objective, log_partition
from saltlm.models.logits import LogitTransform

P, H, OLD, M, RARE = 300, 5, 20, 4, 6


def make_problem(*, ridge=5.0, transform=None, with_bias=False, seed=0):
    """A problem, with the old rows and all targets, that it came from."""
    rng = np.random.default_rng(seed)
    hidden, old = rng.normal(size=(P, H)), rng.normal(size=(OLD, H))
    true = rng.normal(size=(M, H)) + 0.5
    transform = transform or LogitTransform()
    bias = rng.normal(size=OLD + M) if with_bias else np.zeros(OLD + M)
    logits = capped(hidden @ np.concatenate([old, true]).T + bias, transform)
    targets = np.array([rng.choice(OLD + M, p=softmax(row)) for row in logits])
    hidden, old_rows, bias_of = (torch.tensor(x) for x in (hidden, old, bias))
    problem = HeadProblem(
        hidden=hidden,
        targets=torch.where(torch.tensor(targets) < OLD, -1, torch.tensor(targets) - OLD),
        log_partition=log_partition(
            hidden,
            old_rows,
            bias_of[:OLD],
            transform,
            left_out=torch.zeros(OLD, dtype=torch.bool),
        ),
        start=torch.tensor(rng.normal(size=(M, H))),
        bias=bias_of[OLD:] if with_bias else None,
        ridge=ridge,
        transform=transform,
    )
    return problem, old, bias, targets


def with_rare(problem):
    """The same with rare tokens: the last row is a vector, and the third token is one of them."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(RARE, H))
    biases = rng.normal(size=RARE)
    of_rare = log_partition(
        problem.hidden,
        torch.tensor(rows),
        torch.tensor(biases),
        problem.transform,
        left_out=torch.zeros(RARE, dtype=torch.bool),
    )
    start, bias = problem.start.clone(), problem.bias.clone()
    start[-1], bias[-1] = 0, 0
    return replace(problem, start=start, bias=bias, rare=of_rare), rows, biases


def capped(raw, transform):
    scaled = raw * transform.scale
    return scaled if transform.cap is None else transform.cap * np.tanh(scaled / transform.cap)


def softmax(row):
    exponential = np.exp(row - row.max())
    return exponential / exponential.sum()


def full_softmax(rows, problem, old, bias, targets):
    """-log likelihood over the whole vocabulary, less the old targets' constant logits, + ridge."""
    hidden, transform = problem.hidden.numpy(), problem.transform
    logits = capped(hidden @ np.concatenate([old, rows]).T + bias, transform)
    top = logits.max(1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(logits - top).sum(1))
    own = logits[np.arange(P), targets] * (targets >= OLD)
    return (total - own).sum() + problem.ridge * ((rows - problem.start.numpy()) ** 2).sum()


CASES = {
    "plain": {},
    "scaled": {"transform": LogitTransform(scale=0.4), "with_bias": True},
    "capped": {"transform": LogitTransform(scale=1.5, cap=4.0), "with_bias": True},
}


@pytest.mark.parametrize("case", CASES)
def test_the_objective_is_the_full_softmax(case):
    problem, *whole = make_problem(**CASES[case])
    rng = np.random.default_rng(1)
    for _ in range(3):
        rows = rng.normal(size=(M, H))
        loss, gradient = head_objective(problem, torch.tensor(rows))
        assert float(loss) == pytest.approx(full_softmax(rows, problem, *whole), rel=1e-12)
        for _ in range(8):
            way, step = rng.normal(size=(M, H)), 1e-6
            slope = [full_softmax(rows + sign * step * way, problem, *whole) for sign in (1, -1)]
            wanted = (slope[0] - slope[1]) / (2 * step)
            assert float((gradient * torch.tensor(way)).sum()) == pytest.approx(wanted, rel=1e-5)


def test_rare_tokens_move_together_in_the_full_softmax():
    problem, old, bias, targets = make_problem(
        transform=LogitTransform(scale=0.4), with_bias=True, ridge=2.0
    )
    problem, rows_of_rare, biases = with_rare(problem)
    hidden, scale = problem.hidden.numpy(), 0.4

    def objective(rows):
        """The rows of all tokens are there; which of the rare ones came is not asked."""
        everything = np.concatenate([old, rows[:-1], rows_of_rare + rows[-1]])
        logits = scale * (hidden @ everything.T + np.concatenate([bias[:-1], biases]))
        of_rare = np.log(np.exp(logits[:, -RARE:]).sum(1, keepdims=True))
        own = np.concatenate([logits[:, :-RARE], of_rare], 1)[np.arange(P), targets]
        total = np.log(np.exp(logits).sum(1))
        pull = problem.ridge * ((rows - problem.start.numpy()) ** 2).sum()
        return (total - own * (targets >= OLD)).sum() + pull

    rng = np.random.default_rng(1)
    for rows in (problem.start.numpy(), rng.normal(size=(M, H))):
        loss, gradient = head_objective(problem, torch.tensor(rows), block_logits=M * 7)
        assert float(loss) == pytest.approx(objective(rows), rel=1e-12)
        way, step = rng.normal(size=(M, H)), 1e-6
        wanted = (objective(rows + step * way) - objective(rows - step * way)) / (2 * step)
        assert float((gradient * torch.tensor(way)).sum()) == pytest.approx(wanted, rel=1e-5)
    found = fit_head(problem, tolerance=1e-12)
    for _ in range(9):  # it is the minimum: every way from it goes up
        away = found.rows.numpy() + 1e-3 * rng.normal(size=(M, H))
        assert objective(away) > objective(found.rows.numpy())


@settings(deadline=None, max_examples=10)
@given(st.integers(1, P * OLD))
def test_blocks_change_nothing(block_logits):
    problem, old, bias, _ = make_problem(with_bias=True)
    found = head_objective(problem, problem.start, block_logits=block_logits)
    for one, other in zip(found, head_objective(problem, problem.start), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-9)
    partition = log_partition(
        problem.hidden,
        torch.tensor(old),
        torch.tensor(bias[:OLD]),
        problem.transform,
        left_out=torch.zeros(OLD, dtype=torch.bool),
        block_logits=block_logits,
    )
    torch.testing.assert_close(partition, problem.log_partition, rtol=1e-12, atol=1e-12)


def test_rows_left_out_do_not_count():
    problem, old, _, _ = make_problem()
    left_out = torch.zeros(OLD, dtype=torch.bool)
    left_out[::3] = True
    found = log_partition(
        problem.hidden, torch.tensor(old), None, problem.transform, left_out=left_out
    )
    kept = problem.hidden.numpy() @ old[~left_out.numpy()].T
    np.testing.assert_allclose(found, np.log(np.exp(kept).sum(1)), rtol=1e-12)


def newton(problem, old, bias, targets):
    """The minimum by Newton's method on the whole vocabulary, in numpy."""
    hidden, scale = problem.hidden.numpy(), problem.transform.scale
    rows = problem.start.numpy().copy()
    for _ in range(30):
        logits = scale * (hidden @ np.concatenate([old, rows]).T + bias)
        share = np.apply_along_axis(softmax, 1, logits)[:, OLD:]
        wrong = share - (targets[:, None] == OLD + np.arange(M))
        gradient = scale * wrong.T @ hidden + 2 * problem.ridge * (rows - problem.start.numpy())
        # d2/(dr_u dr_v) = sum_i scale^2 (p_u [u = v] - p_u p_v) h h^T + 2 ridge
        curves = share[:, :, None] * np.eye(M) - share[:, :, None] * share[:, None, :]
        hessian = scale**2 * np.einsum("pab,pi,pj->aibj", curves, hidden, hidden)
        hessian = hessian.reshape(M * H, M * H) + 2 * problem.ridge * np.eye(M * H)
        way = np.linalg.solve(hessian, gradient.reshape(-1)).reshape(M, H)
        here = full_softmax(rows, problem, old, bias, targets)
        share = 1.0
        while full_softmax(rows - share * way, problem, old, bias, targets) > here + 1e-9:
            share /= 2
        rows -= share * way
    assert np.abs(gradient).max() < 1e-9
    return rows


@pytest.mark.parametrize("case", ["plain", "scaled"])
@pytest.mark.parametrize("ridge", [0.5, 50.0])
def test_the_minimum_is_that_of_newtons_method(case, ridge):
    problem, *whole = make_problem(**CASES[case], ridge=ridge)
    wanted = newton(problem, *whole)
    found = fit_head(problem, tolerance=1e-12)
    np.testing.assert_allclose(found.rows, wanted, atol=1e-4)
    assert found.after * P == pytest.approx(full_softmax(wanted, problem, *whole), rel=1e-9)
    assert found.before * P == pytest.approx(
        full_softmax(problem.start.numpy(), problem, *whole), rel=1e-9
    )


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3, 1e-5])
def test_the_bound_holds_and_ends_the_fit(tolerance):
    problem, *whole = make_problem(ridge=2.0)
    least = full_softmax(newton(problem, *whole), problem, *whole) / P
    found = fit_head(problem, tolerance=tolerance)
    assert 0 <= found.after - least <= found.gap <= tolerance
    assert found.evaluations < 60
    cut_short = fit_head(problem, tolerance=0, most_evaluations=1)
    assert cut_short.evaluations == 1
    assert torch.equal(cut_short.rows, problem.start)


def test_a_direction_that_all_states_share_costs_few_passes():
    """Hidden states have one; in the rows' own coordinates 200 passes do not find this minimum."""
    problem, old, _, _ = make_problem(ridge=1.0)
    problem.hidden[:, 0] = 30
    partition = np.log(np.exp(problem.hidden.numpy() @ old.T).sum(1))
    found = fit_head(replace(problem, log_partition=torch.tensor(partition)))
    assert found.gap <= 1e-3
    assert found.evaluations <= 60


def test_the_partition_of_half_precision_has_whole_sums():
    problem, old, _, _ = make_problem()
    hidden, rows = problem.hidden.bfloat16(), torch.tensor(old).bfloat16()
    left_out = torch.zeros(len(rows), dtype=torch.bool)
    found = log_partition(hidden, rows, None, problem.transform, left_out=left_out)
    wanted = np.log(np.exp(hidden.double().numpy() @ rows.double().numpy().T).sum(1))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_capped_logits_end_where_the_gradient_does():
    problem, *_ = make_problem(**CASES["capped"], ridge=5.0)
    found = fit_head(problem, tolerance=1e-12)
    _, gradient = head_objective(problem, found.rows)
    assert gradient.abs().max() < 1e-3
    assert found.after < found.before


def test_the_same_problem_has_the_same_bytes():
    first, second = (fit_head(make_problem()[0]) for _ in range(2))
    assert torch.equal(first.rows, second.rows)


def test_the_smallest_ridge_that_may_be_asked_for_gives_numbers():
    """Also where the states have one direction only."""
    generator = torch.Generator().manual_seed(0)
    problem = HeadProblem(
        hidden=5 * torch.randn(40, 1, generator=generator) @ torch.randn(1, 8, generator=generator),
        targets=torch.randint(-1, 4, (40,), generator=generator),
        log_partition=torch.randn(40, generator=generator),
        start=torch.randn(4, 8, generator=generator),
        bias=None,
        ridge=1e-6,
    )
    found = fit_head(problem)
    assert found.rows.isfinite().all()
    assert found.after < found.before
    FitsConfig(ridge=1e-6)
    with pytest.raises(ValidationError, match="greater than or equal to 0.000001"):
        FitsConfig(ridge=1e-7)
