"""The options of the fits of new rows to text, and what becomes of them where n-grams teach."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from saltlm.config.reading import Section

STEP_TOKENS = 1024  # after which a step of the input fit reads no further document
_TAUGHT_STEPS = 0.5  # of the input fit's steps, where counts teach the new tokens
_TAUGHT_RATE = 1 / 3  # of its learning rate, where counts teach
_SHORT_TRAINING = 40_960  # tokens of a training that counts teach, under which fits are smaller


class FitsConfig(Section):
    """The fits of new rows to text, on the source's frozen body; off unless asked for."""

    input: bool = Field(
        False,
        description="fit new input rows: on the same text the layers get the states of the source",
    )
    head: bool = Field(False, description="fit new rows of the head by regression on hidden states")
    steps: int = Field(
        40,
        ge=1,
        description="steps of the input fit; half as many where n-grams teach the new tokens, and"
        " fewer still if such a training has under 41,000 tokens",
    )
    documents: int = Field(
        12,
        ge=1,
        description="documents of the corpus in each of these steps, or fewer of 1,024 tokens",
    )
    learning_rate: float = Field(
        0.006,
        gt=0,
        description="learning rate of the input fit; it falls in the second half; a third of it"
        " where n-grams teach",
    )
    layer: int | None = Field(
        None, ge=1, description="layer whose states the input fit compares; default: a third of all"
    )
    positions: int = Field(
        10_240,
        ge=1,
        description="tokens of the corpus that the head fit looks at; fewer where n-grams teach the"
        " new tokens and the training has under 41,000 tokens",
    )
    ridge: float | None = Field(
        None,
        ge=1e-6,  # far under it float32 may have no numbers for the steps
        description="how strongly the head fit holds rows near their start; default: 100, or 50 if"
        " at least half of the tokens are new",
    )
    context: int = Field(
        512,
        ge=2,
        description="tokens of a document that the fits read, at most as many as the source reads"
        " at once",
    )
    device: str = Field(
        "cpu",
        description="where the fits run the source, such as cuda; two runs differ there in the"
        " last digits",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number format in which the source is run; auto: bfloat16 where the device is"
        " faster in it",
    )


def fits_for(fits: FitsConfig, budget: Mapping[str, Any] | None) -> FitsConfig:
    """Return a gentler input fit where counts teach, and smaller fits in a short training.

    They hardly decide how such a training ends, and at the whole rate it ends level or worse;
    without the counts they decide more of it, and stay (docs/log.md). So does what was given.

    Args:
        fits: the options.
        budget: the record of a budget's vocabulary, if there is one.
    """
    if budget is None or not budget["is_taught"]:
        return fits
    share = min(1.0, budget["tokens"] / _SHORT_TRAINING)
    taught = {
        "steps": math.ceil(_TAUGHT_STEPS * share * fits.steps),
        "positions": math.ceil(share * fits.positions),
        "learning_rate": _TAUGHT_RATE * fits.learning_rate,
    }
    return fits.model_copy(
        update={name: value for name, value in taught.items() if name not in fits.model_fields_set}
    )
