"""The output fit: new rows of the head, by a convex regression on hidden states.

The body and the old rows stay. On positions of text with what the head receives (h_i), the next
token (y_i) and the logarithm of what the old rows sum to (z_i), the new rows are

    R = argmin sum_i [log(exp(z_i) + sum_v exp(h_i.r_v)) - [y_i is new] h_i.r_(y_i)]
        + ridge ||R - U||^2,

the negative log-likelihood of the text under the whole vocabulary, but for what does not depend on
R. It is convex, and strongly so by the ridge. (A model that caps its logits bends the sum; the fit
then ends where the gradient does.)

New tokens that the text has too rarely for a row of their own still take probability everywhere.
They move together, by one vector w: with g_i the logarithm of what their rows sum to, they are one
more term exp(g_i + h_i.w) of the sum, and count as one token.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from saltlm.models.logits import LogitTransform

_BLOCK_LOGITS = 2**22  # that exist at once: 16 MiB in float32, which a processor's cache holds
_HISTORY = 8  # steps that L-BFGS remembers; each costs twice the rows' memory
_STEPS = 8  # of L-BFGS between two looks at how near the minimum is
_DOUBT = 1 / 32  # p (1 - p) where the next token is a new one: 1/4 at most, 0 where it is certain


@dataclass(frozen=True)
class HeadProblem:
    """What new rows of a head are fitted to.

    Attributes:
        hidden: what the head receives at each position.
        targets: which of the new rows the next token has, the last one for all rare tokens if there
            are such; -1 where it is an old token.
        log_partition: logsumexp of the other rows' logits, at each position.
        start: the new rows as they are, which the ridge pulls to; with rare tokens, a last row of
            zeros for the vector by which theirs move.
        bias: of the new rows, if the head has one; it stays. 0 for that vector.
        ridge: weight of the squared distance to the start, against a sum over positions.
        transform: what the model does to the head's output.
        rare: logsumexp of the rare tokens' logits at each position; None without such.
    """

    hidden: Float[Tensor, "p h_s"]
    targets: Int64[Tensor, " p"]
    log_partition: Float[Tensor, " p"]
    start: Float[Tensor, "m h_s"]
    bias: Float[Tensor, " m"] | None
    ridge: float
    transform: LogitTransform = field(default_factory=LogitTransform)
    rare: Float[Tensor, " p"] | None = None


@dataclass(frozen=True)
class HeadSolution:
    """New rows of a head, and how near the minimum they are.

    Attributes:
        rows: of the new tokens, and the vector of the rare ones.
        before: the objective at the start, in nats a position.
        after: at the rows.
        gap: bound on how far that is above the minimum, in nats a position: by strong convexity
            ||gradient||^2 / (4 ridge).
        evaluations: passes over all positions.
    """

    rows: Float[Tensor, "m h_s"]
    before: float
    after: float
    gap: float
    evaluations: int


def fit_head(
    problem: HeadProblem, *, tolerance: float = 1e-3, most_evaluations: int = 200
) -> HeadSolution:
    """Return the new rows at the minimum, found by L-BFGS in coordinates of even curvature.

    The objective bends most along the directions that all states share, and more for a frequent
    token than for a rare one. With C = Q diag(l) Q' the mean of h h', and n_v the times that a new
    token follows, its rows' second derivative is about n_v p (1 - p) C + 2 ridge; a step is taken
    in coordinates in which that is 1. The minimum is the same.

    Args:
        problem: what they are fitted to.
        tolerance: end when the objective is no further above its minimum, in nats a position.
        most_evaluations: end in any case after about so many passes over the positions.
    """
    n = len(problem.hidden)
    directions, scale = _coordinates(problem)
    moved = nn.Parameter(torch.zeros_like(problem.start))
    solver = torch.optim.LBFGS(
        [moved],
        max_iter=_STEPS,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )
    evaluations, gap = 0, float("inf")

    def rows() -> Float[Tensor, "m h_s"]:
        return problem.start + (moved.detach() * scale) @ directions.T

    def evaluate() -> Float[Tensor, ""]:
        nonlocal evaluations, gap
        evaluations += 1
        loss, gradient = head_objective(problem, rows())
        gap = float(gradient.double().square().sum() / (4 * problem.ridge * n))
        moved.grad = (gradient @ directions) * scale
        return loss

    before = loss = evaluate()
    while gap > tolerance and evaluations < most_evaluations:
        solver.step(evaluate)
        loss = evaluate()
    return HeadSolution(rows(), float(before) / n, float(loss) / n, gap, evaluations)


def _coordinates(
    problem: HeadProblem,
) -> tuple[Float[Tensor, "h_s h_s"], Float[Tensor, "m h_s"]]:
    """Return the directions of the coordinates, and the length of a step in each for each row."""
    hidden, m = problem.hidden, len(problem.start)
    spread, directions = torch.linalg.eigh((hidden.T @ hidden).double() / len(hidden))
    n_followed = torch.bincount(problem.targets[problem.targets >= 0], minlength=m)
    bend = _DOUBT * problem.transform.scale**2 * n_followed.unsqueeze(1) * spread.clamp_min(0)
    return directions.to(hidden.dtype), (bend + 2 * problem.ridge).rsqrt().to(hidden.dtype)


def head_objective(
    problem: HeadProblem,
    rows: Float[Tensor, "m h_s"],
    *,
    block_logits: int = _BLOCK_LOGITS,
) -> tuple[Float[Tensor, ""], Float[Tensor, "m h_s"]]:
    """Return the objective in float64 and its gradient, a few positions at a time.

    Args:
        problem: what the rows are fitted to.
        rows: of the new tokens.
        block_logits: logits that exist at once; at least those of one position do.
    """
    offset = rows - problem.start
    loss = problem.ridge * offset.double().square().sum()
    gradient = 2 * problem.ridge * offset
    scale, cap = problem.transform.scale, problem.transform.cap
    size = max(1, block_logits // max(1, len(rows)))
    for first in range(0, len(problem.hidden), size):
        at = slice(first, first + size)
        hidden, targets, partition = (
            values[at] for values in (problem.hidden, problem.targets, problem.log_partition)
        )
        logits = problem.transform(nn.functional.linear(hidden, rows, problem.bias))
        bend = None if cap is None else 1 - (logits / cap).square()
        if problem.rare is not None:
            logits[:, -1] += problem.rare[at]
        total = torch.logaddexp(partition, logits.logsumexp(1))
        is_new = (targets >= 0).nonzero().squeeze(1)
        place = (is_new, targets[is_new])
        loss = loss + total.double().sum() - logits[place].double().sum()
        slope = (logits - total.unsqueeze(1)).exp_()
        slope[place] -= 1
        if bend is not None:
            slope *= bend
        gradient.addmm_(slope.T, hidden, alpha=scale)
    return loss, gradient


def log_partition(
    hidden: Float[Tensor, "p h_s"],
    rows: Float[Tensor, "r h_s"],
    bias: Float[Tensor, " r"] | None,
    transform: LogitTransform,
    *,
    left_out: Bool[Tensor, " r"],
    block_logits: int = _BLOCK_LOGITS,
) -> Float[Tensor, " p"]:
    """Return logsumexp of the logits that rows of a head give at each position, in blocks.

    Args:
        hidden: what the head receives; products are in its dtype, sums in float32 at least.
        rows: in any dtype.
        bias: of the rows, if the head has one.
        transform: what the model does to the head's output.
        left_out: rows that do not count.
        block_logits: logits that exist at once.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    total = hidden.new_full((len(hidden),), float("-inf"), dtype=dtype)
    size = max(1, block_logits // max(1, len(hidden)))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        own = None if bias is None else bias[part].to(hidden.dtype)
        logits = transform(nn.functional.linear(hidden, rows[part].to(hidden.dtype), own).to(dtype))
        logits.masked_fill_(left_out[part], float("-inf"))
        total = torch.logaddexp(total, logits.logsumexp(1))
    return total
