"""The options of a run: what ``--config run.yaml`` and ``--set key=value`` may say.

Every field's description is its help text.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from saltlm.config.fits import FitsConfig
from saltlm.config.reading import Files, Section, given, read_count, read_values, validated

Match = Literal["exact", "symbols", "casefold"]
Anchors = Literal["all", "kept"]
Mode = Literal["replace", "extend", "swap"]
Digits = Literal["source", "plm"]
Dtype = Literal["bfloat16", "float16", "float32"]

PRESETS: dict[str, dict[str, Any]] = {
    "best": {
        "method": "global-residual:ridge=0.3:pieces=true",
        "mode": "extend",
        "vocabulary": "auto",
        "fits": {"input": True, "head": True},
    },
    "paper": {"method": "salt", "mode": "replace", "aux": "train"},
}
"""What led our trials, see docs/two_sides.md; and SALT as published."""


class SpecialTokensConfig(Section):
    """Which special tokens the new model has."""

    carry_plm: tuple[str, ...] = Field(
        (), description="special tokens of the PLM to keep as new tokens"
    )
    drop: tuple[str, ...] = Field((), description="special tokens of the source to leave out")
    roles: dict[str, str] = Field(
        default_factory=dict,
        description="token for a role (bos, eos, pad, unk, ...), as {role: token}",
    )


class TensorNames(Section):
    """Where the per-token tables lie, for a layout that is not recognised."""

    source_embedding: str | None = Field(None, description="the source LLM's input embedding")
    source_head: str | None = Field(None, description="the source LLM's output head")
    plm_embedding: str | None = Field(None, description="the PLM's input embedding")


class FasttextConfig(Section):
    """How ``--aux train`` trains fastText."""

    units: Literal["words", "tokens"] = Field(
        "words", description="what counts as a word: words, or the new model's tokens as in FOCUS"
    )
    compose: bool = Field(
        True,
        description="give words outside the dictionary the vectors of their n-grams; FOCUS: false",
    )
    dimension: int = Field(300, ge=1, description="width of the vectors")
    epochs: int = Field(3, ge=1, description="passes over the corpus")
    model: Literal["skipgram", "cbow"] = Field("skipgram", description="fastText's objective")
    min_count: int = Field(5, ge=1, description="rarer words are left out of the dictionary")
    minn: int = Field(3, ge=1, description="shortest character n-gram")
    maxn: int = Field(6, ge=1, description="longest character n-gram")
    bucket: int = Field(300_000, ge=1, description="rows that all n-grams share by hash")
    negatives: int = Field(5, ge=1, description="number of negative samples")
    learning_rate: float = Field(
        0.1, gt=0, description="learning rate at the start; it falls to zero"
    )


class CalibrationConfig(Section):
    """What is done to any method's rows afterwards; off unless asked for."""

    norms: bool = Field(False, description="give every new row the shared rows' mean norm")
    unigrams: Files = Field(
        (),
        description="English text; with it, new rows are moved until their mean logits fit how "
        "often their tokens occur in the corpus",
    )


class RowsConfig(Section):
    """How the new tokens and their rows are made; all of it works on objects in memory."""

    method: str = Field(
        "salt",
        description="how to make new rows, as name or name:option=value, or two of them as"
        " INPUT/OUTPUT for embedding and head; saltlm score --list shows all",
    )
    corpus: Files = Field((), description="text of the target language")
    mode: Mode = Field(
        "replace",
        description="what happens to the source's tokens: replace puts the PLM's in their place,"
        " extend adds new tokens to them, swap also removes those that neither the corpus nor the"
        " texts of keep use; preset best: extend",
    )
    vocabulary: Literal["plm", "auto", "joined"] = Field(
        "plm",
        description="which tokens are new: plm takes the PLM's; auto, with mode extend or swap,"
        " chooses from the corpus for the budget; joined, with mode replace and"
        " prune_to, also joins pieces of the PLM that often stand together in the corpus; preset"
        " best: auto",
    )
    budget: Annotated[int | None, BeforeValidator(read_count)] = Field(
        None,
        ge=1,
        description="length of the later training (saltlm adapt) in tokens, such as 500k or 100M;"
        " vocabulary=auto chooses for it; default: one pass over the corpus",
        json_schema_extra={"metavar": "TOKENS"},
    )
    min_occurrences: float | None = Field(
        None,
        gt=0,
        description="how often a new token must occur: in the budget for vocabulary=auto, in the"
        " corpus for vocabulary=joined; default: 20, but for a budget of up to a million tokens"
        " vocabulary=auto takes 12,000 tokens, where so many occur twice in the corpus, to be"
        " taught by saltlm adapt --teacher ngrams",
    )
    prune_to: int | None = Field(
        None,
        ge=1,
        description="take only this many of the PLM's tokens: those that the corpus needs most; if"
        " it needs fewer, also frequent ones of the same letters",
    )
    keep: Files = Field(
        (),
        description="text that is cut into tokens as before, in the modes extend and swap; "
        "default: some English that comes with saltlm",
    )
    keep_within: float = Field(
        0.01,
        ge=0,
        description="mode=swap: how many more tokens other text like that of keep may need, as a "
        "share; enough of the source's tokens stay for that",
    )
    lossy: bool = Field(
        False,
        description="accept a PLM whose tokenizer cannot write all text, such as one that "
        "lower-cases or strips accents",
    )
    digits: Digits = Field(
        "source",
        description="how mode=replace cuts numbers: as the source does, so that it goes on reading"
        " them as it learnt to, or as the PLM does, which takes fewer tokens",
    )
    untie: bool = Field(
        False, description="give a tied model (its head is its embedding) a head of its own"
    )
    match: Match = Field("exact", description="which tokens of the two models count as the same")
    anchors: Anchors = Field(
        "all",
        description="shared tokens that methods learn from: all of the PLM's, or (kept) only those "
        "that the new model has; a difference only where it has not all of the PLM's tokens",
    )
    copy_shared: bool = Field(
        True,
        description="copy the rows of shared tokens; false: the method makes them, as in WECHSEL",
    )
    min_shared: int = Field(20, ge=1, description="refuse a pair that shares fewer tokens")
    seed: int = Field(
        0, ge=0, description="seed of everything random: sampled rows, folds, fastText"
    )
    dtype: Dtype | None = Field(
        None, description="number format of the new weights; default: the source's"
    )
    pad_to_multiple_of: int | None = Field(
        None, ge=1, description="add rows until their number is a multiple of this"
    )
    special_tokens: SpecialTokensConfig = SpecialTokensConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    @model_validator(mode="after")
    def _fits(self) -> "RowsConfig":
        if self.mode != "replace" and not self.copy_shared:
            raise ValueError(
                f"mode={self.mode} keeps the source's rows, copy_shared=false does not; leave"
                " copy_shared=false out"
            )
        if self.mode == "replace" and self.keep:
            raise ValueError("keep is only for the modes extend and swap; leave --keep out")
        if self.mode != "replace" and self.digits == "plm":
            raise ValueError(
                f"mode={self.mode} cuts numbers as the source does, digits=plm does not; leave"
                " digits=plm out"
            )
        if self.budget is not None and self.vocabulary != "auto":
            raise ValueError(
                "--budget is only for --vocabulary auto, which takes --corpus FILE, --mode extend"
                " or swap, and no --prune-to; leave --budget out"
            )
        has_mode = (self.mode == "replace") == (self.vocabulary == "joined")
        lacks = [] if self.corpus else ["--corpus FILE"]
        if self.vocabulary == "joined" and (not has_mode or self.prune_to is None):
            lacks += [] if has_mode else ["--mode replace"]
            lacks += ["--prune-to N"] if self.prune_to is None else []
            raise ValueError(
                f"vocabulary=joined shares out a number of rows by a text; add {' '.join(lacks)}"
            )
        if self.vocabulary == "auto" and self.prune_to is not None:
            raise ValueError(
                "vocabulary=auto chooses how many tokens are new; leave --prune-to out"
            )
        if self.vocabulary == "auto" and (lacks or not has_mode):
            lacks += [] if has_mode else ["--mode extend"]
            raise ValueError(
                "preset=best and vocabulary=auto choose new tokens by a text and put them behind"
                f" the source's; add {' '.join(lacks)}"
            )
        return self


class TransferConfig(RowsConfig):
    """Options of ``saltlm transfer``: beside the rows, what is read from files and written."""

    preset: Literal["best", "paper"] | None = Field(
        None,
        description="a set of options: best (new tokens behind the source's own, chosen for the"
        " budget, with rows fitted to the corpus) or paper (SALT as published); options"
        " that you give as well win; default: best, if you give a corpus and no other choice",
    )
    aux: str = Field(
        "plm",
        description="vectors that say which tokens are near each other: plm (the PLM's rows) |"
        " train (fastText on the corpus) | fasttext:FILE.bin | vectors:FILE",
    )
    plm_vectors: str | None = Field(
        None,
        pattern="^(vectors|fasttext):.",
        description="vectors:FILE or fasttext:FILE.bin to take as the PLM's rows; PLM is then a "
        "directory with a tokenizer",
    )
    target_tokenizer: str | None = Field(
        None,
        description="take the tokens of this tokenizer, a directory or Hub id, instead of the"
        " PLM's",
        json_schema_extra={"metavar": "DIR"},
    )
    max_shard_size: ByteSize | None = Field(
        None,
        gt=0,
        description="largest size of a weight file, such as 5GB; default: as the source's",
        json_schema_extra={"metavar": "SIZE"},
    )
    link: Literal["copy", "auto"] = Field(
        "copy",
        description="weight files without embedding or head: copy, or auto: share the source's own"
        " (reflink, else hard link, else copy); what is shared is neither read nor hashed",
    )
    low_memory: bool = Field(
        False,
        description="in transfer, keep large tables in files instead of memory, new ones in"
        " nameless files beside the output; the fits still hold the whole source",
    )
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2,3}(-[\w-]+)?$",
        description="code of the new language, such as de, for the card; default: what the PLM's"
        " card says, if it says one",
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with a model")
    prove: bool | None = Field(
        None,
        description="run source and result on a few shared tokens, and refuse the result if the"
        " logits differ; default: only for source weights of at most 1 GiB; a larger model is run"
        " one layer at a time (extra adapt)",
    )
    tensors: TensorNames = TensorNames()
    fits: FitsConfig = FitsConfig()
    fasttext: FasttextConfig = FasttextConfig()

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        """Put the options of the preset under those that were given."""
        preset = PRESETS.get(str(values.get("preset"))) if isinstance(values, dict) else None
        if preset is None:
            return values
        chosen = ("prune_to", "target_tokenizer")
        if any(values.get(key) for key in chosen) or values.get("mode") == "replace":
            preset = {key: value for key, value in preset.items() if key != "vocabulary"}
        sections = {
            key: preset[key] | values[key]
            for key in preset
            if isinstance(preset[key], dict) and isinstance(values.get(key), dict)
        }
        return preset | values | sections

    @model_validator(mode="after")
    def _has_one_vocabulary(self) -> "TransferConfig":
        if self.vocabulary == "auto" and self.target_tokenizer is not None:
            raise ValueError(
                "vocabulary=auto and target_tokenizer both say which tokens are new; leave"
                " --target-tokenizer out"
            )
        return self


def load_config(
    config: TransferConfig | str | Path | None = None,
    assignments: Iterable[str] = (),
    **options: Any,
) -> TransferConfig:
    """Return the options of a run; later sources win: config, assignments, keyword options.

    Args:
        config: a YAML file with the fields of `TransferConfig`, or one.
        assignments: ``key=value`` or ``section.key=value``; the value is read as YAML.
        **options: fields given as flags; None or empty means not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    return validated(TransferConfig, read_values(config, assignments) | given(options))
