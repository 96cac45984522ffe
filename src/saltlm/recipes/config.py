"""The options of ``saltlm recipe``: a run writes a file of them, to be edited and run again.

Every field's description is its help text.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from saltlm.config.reading import Files, Section, given, read_count, read_values, validated
from saltlm.pretraining.config import Arch

RUN_FILE = "recipe.yaml"
TeacherName = Literal["auto", "ngrams", "gpt", "none"]
_UNITS = {"s": 1, "min": 60, "h": 3600}


def read_seconds(budget: str) -> int | None:
    """Return ``90min`` as 5400; None if it is no time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", budget)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def _read_teacher(value: Any) -> Any:
    """Return what files from before there were several teachers say, in today's words."""
    if isinstance(value, bool | None):
        return "gpt" if value else "none"
    return value


class RecipeConfig(Section):
    """Options of ``saltlm recipe``; the defaults are those of the Python API too."""

    language: str = Field("", description="name of the language")
    corpus: Files = Field((), description="text of the language")
    source: str | None = Field(
        None,
        description="the LLM that gets the language, a directory or Hub id",
        json_schema_extra={"metavar": "SOURCE"},
    )
    plm: str | None = Field(
        None,
        description="a small model of the language; default: one is trained on the corpus",
        json_schema_extra={"metavar": "PLM"},
    )
    arch: Arch = Field("gpt", description="kind of the PLM that is trained")
    english: Files = Field(
        (), description="English text to train on as well, so that English is not forgotten"
    )
    budget: str = Field(
        "1M",
        description="how long the LLM is trained: tokens, such as 20M, or a time, such as 2h or"
        " 90min",
        json_schema_extra={"metavar": "TOKENS|TIME"},
    )
    vectors: bool = Field(
        False, description="train fastText vectors on the corpus, and look for neighbours in them"
    )
    teacher: Annotated[TeacherName, BeforeValidator(_read_teacher)] = Field(
        "auto",
        description="what teaches the LLM beside the text (docs/adapt.md): ngrams counted in it, a"
        " small gpt with the tokens of the new model, which is trained, or none; auto: ngrams in"
        " runs of up to 1M tokens; with one, 15 % of the text is English, if you give some",
    )
    report: bool = Field(True, description="end with the page that saltlm report makes")
    heldout_documents: int = Field(
        200, ge=1, description="documents that are held out: no training sees them"
    )
    seed: int = Field(0, ge=0, description="seed of everything random")
    pretrain: dict[str, Any] = Field(
        default_factory=dict, description="further options of saltlm pretrain"
    )
    transfer: dict[str, Any] = Field(
        default_factory=dict, description="further options of saltlm transfer"
    )
    adapt: dict[str, Any] = Field(
        default_factory=dict, description="further options of saltlm adapt"
    )

    @model_validator(mode="after")
    def _fits(self) -> "RecipeConfig":
        if not self.language or not re.fullmatch(r"[\w-]+", self.language):
            raise ValueError(f"the language is {self.language!r}; name it in one word: german")
        if not self.corpus:
            raise ValueError("there is no text of the language; give --corpus FILE")
        if self.source is None:
            raise ValueError("there is no LLM to give the language to; give --source SOURCE")
        if self.teacher == "gpt" and "teacher" in self.adapt:
            raise ValueError("adapt.teacher names a teacher, and teacher trains one; give only one")
        if read_seconds(self.budget) is None and not isinstance(read_count(self.budget), int):
            raise ValueError(f"the budget is {self.budget!r}; write tokens (20M) or a time (2h)")
        return self


def run_of(config: Section | str | Path | None, language: str | None) -> Path | None:
    """Return the directory of the run whose file of options this is; None if it is of none.

    With a language beside it, the file is the model of another run.
    """
    if config is None or isinstance(config, Section) or language:
        return None
    folder = Path(config).parent
    return folder if (folder / RUN_FILE).is_file() and (folder / "steps").is_dir() else None


def load_recipe_config(
    config: RecipeConfig | str | Path | None = None,
    assignments: Iterable[str] = (),
    **options: Any,
) -> RecipeConfig:
    """Return the options of a recipe; later sources win: config, assignments, keyword options.

    Args:
        config: a YAML file with the fields of `RecipeConfig`, or one.
        assignments: ``key=value`` or ``section.key=value``; the value is read as YAML.
        **options: fields given as flags; None or empty means not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    return validated(RecipeConfig, read_values(config, assignments) | given(options))
