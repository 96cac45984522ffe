"""The input fit: new input rows whose hidden states follow those of the untouched model.

Teacher and student are one frozen body. The teacher reads a text as the source cuts it, the student
as the new vocabulary does. Wherever both cuts end a token, the states behind layer l should be the
same, since both have read the same text:

    min over the new rows of mean_i ||s_i - t_i||^2 / ||t_i||^2.

After Token Distillation (Dobler, Elliott & de Melo, ICLR 2026), here on running text and from rows
that a method has made.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Parts = Iterable[Callable[[Float[Tensor, "m h_s"]], Float[Tensor, ""]]]
"""Functions of the rows that add up to the loss of a step; one is in memory at a time."""


@dataclass(frozen=True)
class InputSolution:
    """New input rows, and the loss of each step before the rows moved."""

    rows: Float[Tensor, "m h_s"]
    losses: tuple[float, ...]


def common_ends(
    old: Sequence[tuple[int, int]], new: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """Return the places of the tokens of two cuts of one text that end at the same character.

    A token that ends inside of a character, of which the next token has the other bytes, has not
    read it yet and does not count.

    Args:
        old: the first character and the one after the last of each token of one cut.
        new: the same of the other.
    """
    of_old, of_new = _whole_ends(old), _whole_ends(new)
    both = [end for end in of_old if end in of_new]
    return [of_old[end] for end in both], [of_new[end] for end in both]


def _whole_ends(spans: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return the place of the token after which so many characters have been read."""
    starts = [start for start, _ in spans[1:]]
    following = [*starts, spans[-1][1]] if spans else []
    return {
        end: place
        for place, ((_, end), next_start) in enumerate(zip(spans, following, strict=True))
        if next_start >= end
    }


def distillation_loss(
    student: Float[Tensor, "p h_s"], teacher: Float[Tensor, "p h_s"]
) -> Float[Tensor, ""]:
    """Return the sum over places of ||student - teacher||^2 / ||teacher||^2."""
    return ((student - teacher).square().sum(1) / teacher.square().sum(1)).sum()


def descend(
    start: Float[Tensor, "m h_s"], steps: Sequence[Parts], *, learning_rate: float
) -> InputSolution:
    """Return rows after a step of Adam on each loss.

    The rate is constant for the first half of the steps and then falls linearly. A row that no
    loss depends on keeps its start, bit for bit.

    Args:
        start: the new rows as they are.
        steps: the parts of each step's loss.
        learning_rate: of the first half.
    """
    rows = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([rows], lr=learning_rate)
    losses = []
    for step, parts in enumerate(steps):
        optimizer.zero_grad()
        total = 0.0
        for part in parts:
            loss = part(rows)
            loss.backward()
            total += float(loss.detach())
        share = min(1.0, 2 * (len(steps) - step) / len(steps))
        optimizer.param_groups[0]["lr"] = learning_rate * share
        optimizer.step()
        losses.append(total)
    return InputSolution(rows.detach(), tuple(losses))
