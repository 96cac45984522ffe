"""The options of ``saltlm pretrain``: what ``--config run.yaml`` and ``--set key=value`` may say.

Every field's description is its help text.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from saltlm.adaptation.config import AdaptConfig, LearningRates, NamedFiles, StageConfig
from saltlm.config.reading import Files, Section, given, read_count, read_values, validated

Arch = Literal["gpt", "bert", "t5"]
SizeName = Literal["mini", "small", "base"]
TokenizerKind = Literal["bpe", "unigram", "wordpiece"]

DEFAULT_TOKENIZER: dict[Arch, TokenizerKind] = {"gpt": "bpe", "bert": "wordpiece", "t5": "unigram"}
DECIDE_TOKENS = ("continue_tokenizer", "tokenizer", "vocab_size", "budget")  # unless tokenizer_of
_OF_THE_ENGINE = (
    *("heldout", "tokens", "steps", "sequence_length", "micro_batch", "warmup", "decay"),
    *("weight_decay", "seed", "dtype", "save_every", "eval_every", "eval_documents", "keep"),
    "cache",
)
_LENGTHS = ("tokens", "steps", "epochs")


def _read_size(value: Any) -> Any:
    """Return ``auto`` as None, and ``8k`` as 8000."""
    return None if value == "auto" else read_count(value)


class PretrainConfig(Section):
    """Options of ``saltlm pretrain``; the defaults are those of the Python API too."""

    corpus: Files = Field((), description="text of the language")
    arch: Arch = Field(
        "gpt",
        description="kind of the PLM: gpt predicts the next token, bert hidden words, t5 hidden"
        " spans",
    )
    size: SizeName | None = Field(
        None, description="size of the PLM; default: the largest that the corpus is long enough for"
    )
    vocab_size: Annotated[int | None, BeforeValidator(_read_size)] = Field(
        None,
        ge=400,
        description="number of tokens of the tokenizer; auto: as many as occur often enough",
        json_schema_extra={"metavar": "N|auto"},
    )
    tokenizer: TokenizerKind | None = Field(
        None,
        description="kind of the tokenizer; default: bpe for gpt, wordpiece for bert, unigram for"
        " t5",
    )
    continue_tokenizer: str | None = Field(
        None,
        description="begin with the merges of this LLM's tokenizer (a directory or Hub id), so that"
        " saltlm transfer --mode extend can use every token",
        json_schema_extra={"metavar": "SOURCE"},
    )
    tokenizer_of: str | None = Field(
        None,
        description="use the tokens of this LLM (a directory or Hub id) that the corpus uses, and"
        " no others, so that the PLM can teach it (saltlm adapt --teacher)",
        json_schema_extra={"metavar": "MODEL"},
    )
    budget: Annotated[int | None, BeforeValidator(read_count)] = Field(
        None,
        ge=1,
        description="length of the LLM's later training (saltlm adapt) in tokens, such as 500k or"
        " 100M; vocab_size=auto chooses for it; default: one pass over the corpus",
        json_schema_extra={"metavar": "TOKENS"},
    )
    min_occurrences: float = Field(
        20.0,
        gt=0,
        description="how often a token must occur within the budget, for vocab_size=auto",
    )

    heldout: NamedFiles = Field(
        default_factory=dict,
        description="text to measure bits per byte on, which is in no training (bert and t5: of the"
        " hidden words only); without a name it is called target",
        json_schema_extra={"metavar": "[NAME=]FILE"},
    )
    tokens: Annotated[int | None, BeforeValidator(read_count)] = Field(
        None,
        ge=1,
        description="length of the run in tokens, such as 500k, 100M or 2B",
        json_schema_extra={"metavar": "N"},
    )
    steps: int | None = Field(None, ge=1, description="length of the run in steps")
    epochs: float | None = Field(
        None, gt=0, description="length of the run in passes over the text; 8 if none is given"
    )
    hidden_share: float = Field(
        0.2, gt=0, lt=1, description="share of words (bert) or tokens (t5) that are hidden"
    )
    sequence_length: int = Field(256, ge=8, description="tokens in a sequence")
    batch_tokens: int | None = Field(
        None, ge=8, description="tokens in a step; default: depends on the size of the PLM"
    )
    micro_batch: int = Field(16, ge=1, description="sequences at once on a device")
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate; default: depends on the size of the PLM"
    )
    warmup: float = Field(
        0.05, ge=0, le=1, description="share of the run in which the learning rate rises"
    )
    decay: float = Field(
        0.4, ge=0, le=1, description="share of the run in which the learning rate falls to zero"
    )
    weight_decay: float = Field(0.05, ge=0, description="weight decay of the layers' matrices")
    seed: int = Field(0, ge=0, description="seed of weights, order of the text, and what is hidden")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number format of the activations; auto: bfloat16 where the device has it",
    )
    save_every: int = Field(500, ge=1, description="steps between checkpoints")
    eval_every: int = Field(250, ge=1, description="steps between held-out measurements")
    eval_documents: int = Field(100, ge=1, description="documents of each held-out file to use")
    keep: int = Field(1, ge=1, description="number of checkpoints to keep")
    cache: Path | None = Field(None, description="where packed text is kept (~/.cache/saltlm)")

    @model_validator(mode="after")
    def _fits(self) -> "PretrainConfig":
        if not self.corpus:
            raise ValueError("there is no text to train on; give --corpus FILE")
        if sum(getattr(self, length) is not None for length in _LENGTHS) > 1:
            raise ValueError("give only one of tokens, steps and epochs")
        if self.continue_tokenizer is not None and self.tokenizer is not None:
            raise ValueError(
                "a tokenizer that is continued is of the source's kind; leave --tokenizer out"
            )
        others = [option for option in DECIDE_TOKENS if getattr(self, option) is not None]
        if self.tokenizer_of is not None and others:
            flag = f"--{others[0].replace('_', '-')}"
            raise ValueError(f"tokenizer_of says which tokens there are; leave {flag} out")
        if self.tokenizer_of is not None and self.arch != "gpt":
            raise ValueError(f"a {self.arch} cannot teach (tokenizer_of); give --arch gpt")
        return self

    @property
    def passes(self) -> float | None:
        """Length of the run in passes over the text; None if it is given otherwise."""
        return self.epochs or (8.0 if self.tokens is None and self.steps is None else None)

    def training(self, *, batch_tokens: int, learning_rate: float) -> AdaptConfig:
        """Return the options of the training engine.

        Args:
            batch_tokens: tokens in a step, unless they were given.
            learning_rate: the peak, unless it was given.
        """
        rate = self.learning_rate or learning_rate
        batch = max(1, (self.batch_tokens or batch_tokens) // self.sequence_length)
        values: dict[str, Any] = {key: getattr(self, key) for key in _OF_THE_ENGINE}
        return AdaptConfig(
            samples=0,
            data={str(text): None for text in self.corpus},
            epochs=self.passes,
            batch_tokens=batch * self.sequence_length,
            lr=LearningRates(new=rate, shared=rate, body=rate),
            stages=(StageConfig(kind="full"),),
            **values,
        )


def load_pretrain_config(
    config: PretrainConfig | str | Path | None = None,
    assignments: Iterable[str] = (),
    **options: Any,
) -> PretrainConfig:
    """Return the options of a run; later sources win: config, assignments, keyword options.

    Args:
        config: a YAML file with the fields of `PretrainConfig`, or one.
        assignments: ``key=value``; the value is read as YAML.
        **options: fields given as flags; None or empty means not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    values, flags = read_values(config, assignments), given(options)
    if flags.keys() & {*_LENGTHS}:  # a flag replaces the file's length
        for key in _LENGTHS:
            values.pop(key, None)
    return validated(PretrainConfig, values | flags)
