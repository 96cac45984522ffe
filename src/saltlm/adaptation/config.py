"""The options of ``saltlm adapt``: what ``--config run.yaml`` and ``--set key=value`` may say.

Every field's description is its help text.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from saltlm.config.reading import (
    Files,
    Section,
    given,
    in_a_row,
    read_count,
    read_values,
    validated,
)

StageKind = Literal["embeddings", "full", "lora", "top-bottom"]
Tracker = Literal["trackio", "wandb", "tensorboard"]

ENGLISH_BESIDE_TEACHER = 0.15  # docs/adapt.md has what 0.05 costs


def _read_shares(value: Any) -> Any:
    """Turn ``[de.txt, en.txt=0.1]`` into ``{de.txt: None, en.txt: 0.1}``."""
    value = in_a_row(value)
    if not isinstance(value, list | tuple):
        return value
    matches = [re.fullmatch(r"(.+)=(\d*\.?\d+)", str(item)) for item in value]
    return {
        (found[1] if found else str(item)): (found[2] if found else None)
        for item, found in zip(value, matches, strict=True)
    }


def _read_teacher(value: Any) -> Any:
    """Return ``none`` as None."""
    return None if value == "none" else value


def _read_named_files(value: Any) -> Any:
    """Turn ``[de.txt, english=en.txt]`` into ``{target: de.txt, english: en.txt}``."""
    value = in_a_row(value)
    if not isinstance(value, list | tuple):
        return value
    matches = [re.fullmatch(r"(?:([\w-]+)=)?(.+)", str(item)) for item in value]
    names = [found[1] or "target" for found in matches if found]
    if len(set(names)) < len(value):
        raise ValueError("two files have the same name; write NAME=FILE")
    return {name: found[2] for name, found in zip(names, matches, strict=True) if found}


NamedFiles = Annotated[dict[str, Path], BeforeValidator(_read_named_files)]


def _read_stage(value: Any) -> Any:
    """Turn ``embeddings:0.1`` into its two fields."""
    if not isinstance(value, str):
        return value
    kind, colon, share = value.partition(":")
    return {"kind": kind, "share": share if colon else None}


class StageConfig(Section):
    """One stage of training, written ``kind`` or ``kind:share``."""

    kind: StageKind = Field(description="which weights learn")
    share: float | None = Field(
        None, gt=0, lt=1, description="share of all steps; none: of what is left"
    )


class LearningRates(Section):
    """Peak learning rates of AdamW."""

    new: float = Field(
        1e-3,
        ge=0,
        description="learning rate of the rows that the transfer made; in a short run ten times"
        " lr.body",
    )
    shared: float = Field(3e-4, ge=0, description="learning rate of the rows that it copied")
    body: float = Field(
        3e-4,
        ge=0,
        description="learning rate of everything else, adapters too; 2e-4 in steps of 256 tokens"
        " without a teacher",
    )


class LoraConfig(Section):
    """The adapters of the stage ``lora``, merged into the weights at its end."""

    rank: int = Field(16, ge=1, description="rank of each adapter")
    alpha: int = Field(32, ge=1, description="scale of each adapter, divided by its rank")


ADAPT_PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {
        "micro_batch": 2,
        "loss_chunk": 2**24,
        "keep": 1,
    },
}
"""What fits a machine without a GPU: less memory, one checkpoint."""


class AdaptConfig(Section):
    """Options of ``saltlm adapt``; the defaults are those of the Python API too."""

    preset: Literal["laptop"] | None = Field(
        None,
        description="a set of options: laptop (less memory, one checkpoint); options that you"
        " give as well win",
    )

    data: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1)] | None], BeforeValidator(_read_shares)
    ] = Field(
        default_factory=dict,
        description="text to train on: a file, a folder or a Hub dataset; =SHARE is its share of"
        " the training tokens, and texts without a share divide the rest by size",
        json_schema_extra={"metavar": "TEXT[=SHARE]"},
    )
    english: Files = Field(
        (),
        description="English text to train on as well, so that English is not forgotten; it gets "
        "english_share of the training tokens",
    )
    english_share: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="share of the training tokens for the text of english; with a teacher, which"
        " costs English more, 0.15 if no share is given",
    )
    teacher: Annotated[str | None, BeforeValidator(_read_teacher)] = Field(
        None,
        description="what predicts each token, for the model to learn that as well: ngrams, counted"
        " in the texts of data (the default in a short run, if the new tokens were chosen for it);"
        " none; or a small causal model of the language that has the model's tokens, such as the"
        " PLM of its transfer, a directory or Hub id",
        json_schema_extra={"metavar": "ngrams|PLM"},
    )
    teacher_share: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of each target that is the teacher's prediction in the first step; it"
        " falls linearly to 0 at the end; the rest is the text",
    )
    heldout: NamedFiles = Field(
        default_factory=dict,
        description="text to measure bits per byte on, which is in no training; call English text"
        " english; without a name it is called target",
        json_schema_extra={"metavar": "[NAME=]FILE"},
    )
    cache: Path | None = Field(None, description="where packed text is kept (~/.cache/saltlm)")

    tokens: Annotated[int | None, BeforeValidator(read_count)] = Field(
        None,
        ge=1,
        description="length of the run in tokens, such as 500k, 100M or 2B",
        json_schema_extra={"metavar": "N"},
    )
    steps: int | None = Field(None, ge=1, description="length of the run in steps")
    epochs: float | None = Field(
        None, gt=0, description="length of the run in passes over the text; 1 if no length is given"
    )
    sequence_length: int = Field(
        1024, ge=2, description="tokens in a sequence; 512, or a step of fewer, in a short run"
    )
    batch_tokens: int = Field(
        65_536, ge=2, description="tokens in a step, over all devices; fewer in a short run"
    )
    micro_batch: int = Field(8, ge=1, description="sequences at once on a device")
    loss_chunk: int = Field(2**26, ge=1, description="logits that exist at once on a device")

    stages: tuple[Annotated[StageConfig, BeforeValidator(_read_stage)], ...] = Field(
        (),
        description="what learns, one stage after the other: embeddings, full, lora, top-bottom,"
        " each with its share of the steps; default: embeddings:0.1, full; only full in a short"
        " run, for a model without new rows, and for rows that were fitted to text",
    )
    ends: int = Field(2, ge=1, description="layers at each end that the stage top-bottom trains")
    lora: LoraConfig = LoraConfig()
    schedule: Literal["wsd", "cosine"] = Field(
        "wsd",
        description="how learning rates fall: wsd at the end of the run only, cosine from the"
        " beginning",
    )
    warmup: float = Field(
        0.02,
        ge=0,
        le=1,
        description="share of each stage in which learning rates rise; 0.15 in a short run",
    )
    decay: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of the run in which learning rates fall, for wsd; 1 in a short run",
    )
    floor: float = Field(
        0.0, ge=0, le=1, description="share of the peak that learning rates fall to"
    )
    lr: LearningRates = LearningRates()
    weight_decay: float = Field(0.1, ge=0, description="weight decay of the body's matrices")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")

    seed: int = Field(0, ge=0, description="seed of the order of the text, dropout and adapters")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number format of the activations; auto: bfloat16 where the device has it",
    )
    attention: str | None = Field(
        None, description="transformers' attn_implementation, such as flash_attention_2"
    )
    checkpointing: bool = Field(False, description="recompute activations: less memory, slower")
    save_every: int = Field(
        500, ge=1, description="steps between checkpoints; by default at least four in a run"
    )
    eval_every: int = Field(
        100,
        ge=1,
        description="steps between held-out measurements; by default more where these would be"
        " over a tenth of the run's work",
    )
    eval_documents: int = Field(
        200,
        ge=1,
        description="documents of each held-out file to use; by default fewer, but ten, where"
        " these would be over a tenth of the run's work",
    )
    samples: int = Field(
        2,
        ge=0,
        description="beginnings of held-out text that the model continues before and after"
        " training; they are printed and written into the card; 0: none",
    )
    suite: Path | None = Field(
        None, description="a suite of saltlm evaluate, to run before every checkpoint"
    )
    keep: int = Field(2, ge=1, description="number of checkpoints to keep")
    trackers: tuple[Tracker, ...] = Field((), description="also report to: trackio, wandb, ...")
    trust_remote_code: bool = Field(False, description="run Python code that comes with a model")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        """Put the options of the preset under those that were given."""
        if not isinstance(values, dict):
            return values
        return ADAPT_PRESETS.get(str(values.get("preset")), {}) | values

    @model_validator(mode="after")
    def _fits(self) -> "AdaptConfig":
        if not self.data:
            raise ValueError("there is no text to train on; give --data FILE")
        if sum(length is not None for length in (self.tokens, self.steps, self.epochs)) > 1:
            raise ValueError("give only one of tokens, steps and epochs")
        is_given = {"batch_tokens", "sequence_length"} <= self.model_fields_set
        if is_given and self.batch_tokens % self.sequence_length:
            raise ValueError(
                f"batch_tokens={self.batch_tokens} is not a multiple of the sequence length; try"
                f" {self.sequences_of(self.sequence_length)}"
            )
        _check_shares(
            [stage.share for stage in self.stages] or [None],
            "stages",
            "--set stages=[lora:0.3,full]",
        )
        if both := sorted({str(file) for file in self.english} & self.data.keys()):
            raise ValueError(f"{both[0]} is given as data and as english; give it once")
        _check_shares(list(self.texts.values()), "data", "--data de.txt --data en.txt=0.1")
        return self

    @property
    def texts(self) -> dict[str, float | None]:
        """All text to train on, that of the old language too, with its shares."""
        share = self.english_share / max(1, len(self.english))
        return self.data | {str(file): share for file in self.english}

    def sequences_of(self, most: int) -> str:
        """Return as flags what gives sequences of ``most`` tokens, in steps of a like size."""
        length = max(2, most)
        flags = f"--set sequence_length={length}"
        if self.batch_tokens % length == 0:
            return flags
        return f"{flags} --set batch_tokens={max(1, self.batch_tokens // length) * length}"

    @property
    def batch_sequences(self) -> int:
        """Sequences in a step, over all devices."""
        return self.batch_tokens // self.sequence_length


def _check_shares(shares: Sequence[float | None], option: str, example: str) -> None:
    """Refuse shares that leave something over, or more than there is."""
    given = sum(share or 0.0 for share in shares)
    if given > 1 + 1e-9 or (None not in shares and given < 1 - 1e-9):
        raise ValueError(
            f"the shares of the {option} sum to {given:g}, not 1; leave one out, and it takes the"
            f" rest: {example}"
        )


def load_adapt_config(
    config: AdaptConfig | str | Path | None = None,
    assignments: Iterable[str] = (),
    **options: Any,
) -> AdaptConfig:
    """Return the options of a run; later sources win: config, assignments, keyword options.

    Args:
        config: a YAML file with the fields of `AdaptConfig`, or one.
        assignments: ``key=value`` or ``section.key=value``; the value is read as YAML.
        **options: fields given as flags; None or empty means not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    values, flags = read_values(config, assignments), given(options)
    if flags.keys() & {"tokens", "steps", "epochs"}:  # a flag replaces the file's length
        for key in ("tokens", "steps", "epochs"):
            values.pop(key, None)
    return validated(AdaptConfig, values | flags)
