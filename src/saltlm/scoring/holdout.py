"""The yardstick: how well a method predicts source rows that it is not shown. No training needed.

A share of the shared tokens is held out in turn, and their rows are made from the other shared
tokens as if they were new. The source's own rows are the truth. Tokens that the new model does not
have are never held out: they say nothing about its language, and only serve as anchors.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.errors import ConfigError, SaltlmError
from saltlm.files.progress import progress
from saltlm.methods.calibration import Calibration
from saltlm.methods.fit import fit_method
from saltlm.methods.inputs import MethodInputs
from saltlm.methods.linear_algebra import column_mean
from saltlm.methods.registry import Choice, plain
from saltlm.scoring.bootstrap import percentiles, resampled_sums
from saltlm.scoring.folds import all_but, distinct, draw_folds, first_copies, hold_out, strata_of

NO_CALIBRATION = Calibration()
_BRIEF = 1000  # tokens held out for a look in passing
_BLOCK = 2048  # held-out tokens whose rows are compared at a time

# How a method can fail that does not stop the others: torch tells of too little memory, and of a
# decomposition that does not converge, by RuntimeError.
FAILURES = (SaltlmError, RuntimeError, MemoryError)

logger = logging.getLogger(__name__)


class Interval(NamedTuple):
    """A value, and the range that 95 % of bootstrap samples fall into."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """What a method is worth, over all held-out tokens.

    The intervals are percentiles of a bootstrap over tokens: how far the value would move
    with other tokens of the same kind. All methods are judged on the same tokens.

    Attributes:
        method: as `methods.parse_method` reads it.
        options: every option, the defaults as well.
        r2: 1 - squared error / squared error of the mean shared row.
        ahead: r2 less that of the first method in the list, sample by sample; None for the first.
        cosine: mean cosine with the true row, both less the mean shared row.
        norm_ratio: mean norm over the true rows' mean norm.
        retrieval: share of tokens whose own row is, of all rows held out with it, the nearest by
            that cosine.
        n_tokens: shared tokens that were held out.
        seconds: for all folds; the first method that needs it pays for what several share.
        error: why there is no score; the other values are None then.
    """

    method: str
    options: dict[str, Any]
    r2: Interval | None = None
    ahead: Interval | None = None
    cosine: Interval | None = None
    norm_ratio: Interval | None = None
    retrieval: Interval | None = None
    n_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        intervals = {
            key: value._asdict() if isinstance(value, Interval) else value
            for key, value in asdict(self).items()
        }
        return intervals | {"options": plain(self.options)}


def score_methods(
    inputs: MethodInputs,
    table: Float[Tensor, "v_s h_s"],
    choices: Sequence[Choice],
    *,
    calibration: Calibration = NO_CALIBRATION,
    counts: Int64[Tensor, " v_t"] | None = None,
    n_folds: int = 5,
    n_used: int | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> list[Score]:
    """Return the scores of methods on the same folds; one that fails does not stop the others.

    Args:
        inputs: the pair of models.
        table: the source's embedding.
        choices: what to compare; the others' `Score.ahead` is relative to the first.
        calibration: what is done to all methods' rows.
        counts: occurrences of each PLM id in a corpus, for folds alike in frequency.
        n_folds: 5 hold out a fifth at a time.
        n_used: so many of the folds only.
        repeats: how often all shared tokens are divided anew.
        seed: of the folds and of the bootstrap; the methods have their own in the inputs.

    Raises:
        ConfigError: fewer shared tokens than two per fold, or fewer than two folds.
    """
    first, inputs = first_copies(inputs.shared_ids), distinct(inputs)
    n = len(first) if inputs.n_kept is None else inputs.n_kept
    if not 2 <= n_folds <= n // 2:
        raise ConfigError(
            f"{n_folds} folds of {n} shared tokens: a fold needs two tokens, and there must be two",
            f"choose 2 to {n // 2} folds" if n >= 4 else "choose models that share more tokens",
        )
    strata = strata_of(inputs, counts)
    folds = [
        fold
        for repeat in range(repeats)
        for fold in draw_folds(strata, n_folds, seed + repeat)[:n_used]
    ]
    tallies = np.zeros((len(choices), n, len(_COLUMNS)))
    seconds, errors = [0.0] * len(choices), [""] * len(choices)
    with progress(total=len(folds) * len(choices), desc="score") as bar:
        for fold in folds:
            part = hold_out(inputs, fold)
            truth = table[part.held_out_ids].float()
            mean = column_mean(table, part.shared_ids[: part.n_kept]).float()
            calibrated = calibration.of_shared(first[all_but(fold, len(first))], first[fold])
            for index, choice in enumerate(choices):
                bar.update()
                if errors[index]:
                    continue
                begun = time.perf_counter()
                try:
                    rows = calibrated(
                        fit_method(choice, part).fill(table),
                        table[part.shared_ids],
                        makes_logits=True,
                    )(slice(0, len(fold)))
                    tallies[index, fold] += judge(rows, truth, mean).numpy()
                except FAILURES as error:
                    errors[index] = str(error)
                    logger.warning("%s is left out: %s", choice, error)
                seconds[index] += time.perf_counter() - begun
    return _summarise(choices, tallies, seconds, errors, seed)


def score_briefly(
    inputs: MethodInputs,
    table: Float[Tensor, "v_s h_s"],
    choice: Choice,
    *,
    calibration: Calibration = NO_CALIBRATION,
    seed: int = 0,
) -> Score | None:
    """Return the score of a method on one fold, about a thousand tokens and at most a fifth.

    None if too few tokens are shared for it.
    """
    n = len(first_copies(inputs.shared_ids[: inputs.n_kept]))
    n_folds = max(5, n // _BRIEF)
    if n < 2 * n_folds:
        return None
    return score_methods(
        inputs, table, [choice], calibration=calibration, n_folds=n_folds, n_used=1, seed=seed
    )[0]


_COLUMNS = ("error", "spread", "cosine", "norm", "true_norm", "hit", "count")


def judge(
    rows: Float[Tensor, "m h"], truth: Float[Tensor, "m h"], mean: Float[Tensor, " h"]
) -> Float[Tensor, "m 7"]:
    """Return what a prediction of rows is worth, token by token, in the order of `_COLUMNS`.

    Raises:
        ConfigError: some rows are not finite.
    """
    if not rows.isfinite().all():
        bad = int((~rows.isfinite().all(1)).sum())
        raise ConfigError(f"{bad} of {len(rows)} predicted rows are not finite", "try a ridge")
    found, wanted = (
        torch.nn.functional.normalize(part - mean, dim=1, eps=1e-30) for part in (rows, truth)
    )
    nearest = torch.cat([(block @ wanted.T).argmax(1) for block in found.split(_BLOCK)])
    columns = [
        (rows - truth).square().sum(1),
        (truth - mean).square().sum(1),
        (found * wanted).sum(1),
        rows.norm(dim=1),
        truth.norm(dim=1),
        (nearest == torch.arange(len(rows))).float(),
        torch.ones(len(rows)),
    ]
    return torch.stack(columns, dim=1).double()


def _summarise(
    choices: Sequence[Choice],
    tallies: Float[np.ndarray, "methods n 7"],
    seconds: Sequence[float],
    errors: Sequence[str],
    seed: int,
) -> list[Score]:
    columns = np.moveaxis(tallies, 2, 0)  # (7, methods, n)
    # The first is the sum over the tokens themselves, the others are bootstrap samples.
    sums = np.concatenate([columns.sum(2, keepdims=True), resampled_sums(columns, seed)], axis=2)
    error, spread, cosine, norm, true_norm, hit, count = sums
    with np.errstate(invalid="ignore"):
        measures = {
            "r2": 1 - error / spread,
            "cosine": cosine / count,
            "norm_ratio": norm / true_norm,
            "retrieval": hit / count,
        }
    measures["ahead"] = measures["r2"] - measures["r2"][:1]
    scores = []
    for index, choice in enumerate(choices):
        if errors[index]:
            scores.append(Score(str(choice), choice.options, error=errors[index]))
            continue
        intervals: dict[str, Any] = {
            name: _interval(values[index])
            for name, values in measures.items()
            if np.isfinite(values[index]).all() and not (name == "ahead" and index == 0)
        }
        n_tokens = int((tallies[index, :, -1] > 0).sum())
        scores.append(
            Score(
                str(choice),
                choice.options,
                **intervals,
                n_tokens=n_tokens,
                seconds=seconds[index],
            )
        )
    return scores


def _interval(values: Float[np.ndarray, " samples"]) -> Interval:
    return Interval(float(values[0]), *percentiles(values[1:]))
