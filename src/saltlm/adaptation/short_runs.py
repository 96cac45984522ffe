"""What a run is trained with where nothing was asked for: options that fit its length.

The defaults of `AdaptConfig` are those of long runs. A short one cannot afford them: its few tokens
have to make enough steps, and a warm-up of 2 % of those steps is none. What is chosen here for
short runs was measured at 41,000 and 102,000 tokens (docs/log.md).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saltlm.adaptation.config import (
    ENGLISH_BESIDE_TEACHER,
    AdaptConfig,
    LearningRates,
    StageConfig,
)
from saltlm.adaptation.ngram_teacher import NGRAMS
from saltlm.config.reading import validated
from saltlm.tokenizer.budget import ngrams_teach

_ENOUGH_STEPS = 200  # with fewer steps of the long default's size, a run is short
_LEAST, _SMALL = 256, 512  # tokens in a step
_TOO_LONG = 65_536  # tokens of a run from which steps of 256 are worse, between 41,000 and 102,000
_SAVED = 4  # times at least that a run is saved, so that a kill does not cost all of it
_SEQUENCE = 512  # tokens

# Body and copied rows; new rows learn at ten times that, in embedding and head. A teacher's targets
# jump less from token to token than text does, so that small steps too may take the higher rate.
_RATE, _RATE_OF_LEAST, _NEW = 3e-4, 2e-4, 10.0

CHOSEN = (
    "batch_tokens",
    "sequence_length",
    "warmup",
    "decay",
    "stages",
    "lr",
    "eval_documents",
    "teacher",
    "english_share",
)


@dataclass(frozen=True)
class Settled:
    """Options without a gap.

    Attributes:
        config: the options.
        reason: what was chosen and why, in words; empty if all was given.
    """

    config: AdaptConfig
    reason: str


def settle(
    config: AdaptConfig,
    n_tokens: int,
    *,
    has_new_rows: bool,
    is_fitted: bool = False,
    wants_ngrams: bool = False,
    n_positions: int | None = None,
) -> Settled:
    """Fill the gaps of a run's options with what fits its length; what was given stays.

    Args:
        config: the options; a field that was not set is a gap.
        n_tokens: length of the run.
        has_new_rows: whether a transfer made rows of the model.
        is_fitted: whether it fitted them to text, so that they need no stage of their own.
        wants_ngrams: whether its new tokens were chosen for counts of the text to teach them.
        n_positions: the longest sequence that the model takes; None: any.
    """
    is_short = n_tokens < _ENOUGH_STEPS * AdaptConfig.model_fields["batch_tokens"].default
    given = config.model_fields_set
    beside: dict[str, Any] = {}
    if wants_ngrams and "teacher" not in given and ngrams_teach(n_tokens):
        beside = {"teacher": NGRAMS}
    is_shared = "english_share" in given or any(share is not None for share in config.data.values())
    if (beside or config.teacher is not None) and config.english and not is_shared:
        beside["english_share"] = ENGLISH_BESIDE_TEACHER
    config = config.model_copy(update=beside)
    batch, most = config.batch_tokens, n_positions or config.sequence_length
    if "batch_tokens" not in given:
        if is_short and config.steps is None:
            batch = step_size(n_tokens, is_taught=config.teacher is not None)
        if "sequence_length" in given:
            batch = max(1, batch // config.sequence_length) * config.sequence_length
    most = min(most, _SEQUENCE if is_short else config.sequence_length)
    values: dict[str, Any] = {
        "batch_tokens": batch,
        "sequence_length": _largest_divisor(batch, most),
    }
    quarter = math.ceil(n_tokens / batch / _SAVED)
    values["save_every"] = max(1, min(config.save_every, quarter))
    if is_short:
        values |= {"warmup": 0.15, "decay": 1.0}
    values = {key: value for key, value in values.items() if key not in given}
    if is_short:
        values["lr"] = _rates(config.lr, batch, is_taught=config.teacher is not None)
    if not config.stages:
        has_own_stage = has_new_rows and not is_short and not is_fitted
        first = (StageConfig(kind="embeddings", share=0.1),) if has_own_stage else ()
        values["stages"] = (*first, StageConfig(kind="full"))
    values = {key: value for key, value in values.items() if value != getattr(config, key)}
    settled = config.model_copy(update=values)
    return Settled(settled, _reason(settled, beside | values, n_tokens, is_short))


def step_size(n_tokens: int, *, is_taught: bool = False) -> int:
    """Return the tokens in a step of a short run: a power of two.

    As many as leave 200 steps, but not under 512, or 256 in the shortest runs; with a teacher as
    many as leave 400, but not under 256.
    """
    n_steps = _ENOUGH_STEPS * (1 + is_taught)
    least = _LEAST if is_taught or n_tokens < _TOO_LONG else _SMALL
    return max(least, 1 << max(0, (n_tokens // n_steps).bit_length() - 1))


def keep_recorded(config: AdaptConfig, options: Mapping[str, Any]) -> AdaptConfig:
    """Fill the gaps of options with what was chosen when the run began, so that it can go on.

    Args:
        config: the options; a field that was not set is a gap.
        options: those of the run's record.
    """
    given = config.model_fields_set - ({"stages"} if not config.stages else set())
    values = config.model_dump(include=set(given))
    values |= {key: options[key] for key in CHOSEN if key in options and key not in given}
    if "lr" in options:
        values["lr"] = options["lr"] | config.lr.model_dump(include=config.lr.model_fields_set)
    return validated(AdaptConfig, values)


def _rates(given: LearningRates, batch: int, *, is_taught: bool) -> LearningRates:
    rate = _RATE_OF_LEAST if batch <= _LEAST and not is_taught else _RATE
    chosen = {"body": rate, "shared": rate, "new": _NEW * rate}
    return given.model_copy(
        update={key: value for key, value in chosen.items() if key not in given.model_fields_set}
    )


def _largest_divisor(batch: int, most: int) -> int:
    return next(length for length in range(min(batch, most), 0, -1) if batch % length == 0)


def _reason(config: AdaptConfig, values: Mapping[str, Any], n_tokens: int, is_short: bool) -> str:
    said = {
        "batch_tokens": f"{config.batch_tokens:,} tokens a step",
        "sequence_length": f"{config.sequence_length:,} in a sequence",
        "warmup": f"a warm-up of {config.warmup:.0%} of the steps",
        "decay": "then down to zero",
        "lr": f"rates of {config.lr.body:g} and {config.lr.new:g} for new rows",
        "teacher": "n-grams of the text as teacher of the new tokens (teacher=none: without)",
        "english_share": f"{config.english_share:.0%} English",
        "stages": f"stages {', '.join(stage.kind for stage in config.stages)}",
    }
    chosen = ", ".join(text for key, text in said.items() if key in values)
    length = f"a {'short' if is_short else 'long'} run ({n_tokens:,} tokens)"
    return f"chosen for {length}: {chosen}" if chosen else ""
