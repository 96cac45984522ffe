"""Instructions whose answers a rule can judge: the file of them, and the rules."""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from saltlm.config.reading import Section, in_a_row, read_yaml, validated
from saltlm.errors import ConfigError
from saltlm.files.json_object import parse_json

_OWN = Path(__file__).with_name("instructions.yaml")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
_EDGES = " \t\n\"'„“”«»`*"

OneOf = Annotated[tuple[str, ...], BeforeValidator(in_a_row)]


class Instruction(Section):
    """What a model is asked, and the rules that its answer must keep."""

    ask: str = Field(min_length=1)
    contains: OneOf = ()
    without: OneOf = ()
    begins: OneOf = ()
    ends: OneOf = ()
    words: tuple[int, int] | None = None
    lines: int | None = None
    number: float | None = None
    case: Literal["upper", "lower"] | None = None
    json_: bool = Field(False, alias="json")

    @model_validator(mode="after")
    def _has_a_rule(self) -> "Instruction":
        if not self.model_fields_set - {"ask"}:
            raise ValueError(f"the instruction {self.ask!r} has no rule")
        return self

    def is_followed(self, answer: str) -> bool:
        """Tell whether an answer keeps all rules; an empty one keeps none."""
        bare = answer.strip(_EDGES)
        folded = bare.casefold()
        numbers = _NUMBER.findall(bare)
        return bool(bare) and all(
            (
                not self.contains or any(text.casefold() in folded for text in self.contains),
                not any(text.casefold() in folded for text in self.without),
                not self.begins or folded.startswith(_folded(self.begins)),
                not self.ends or folded.endswith(_folded(self.ends)),
                self.words is None or self.words[0] <= len(bare.split()) <= self.words[1],
                self.lines is None or len(re.findall(r"\S[^\n]*", bare)) == self.lines,
                self.number is None
                or (bool(numbers) and float(numbers[0].replace(",", ".")) == self.number),
                self.case is None
                or bare == (bare.upper() if self.case == "upper" else bare.lower()),
                not self.json_ or _is_json(answer),
            )
        )


class Instructions(Section):
    """The instructions of a file, by language."""

    by_language: dict[str, tuple[Instruction, ...]]

    @cached_property
    def languages(self) -> str:
        """The languages' codes as text."""
        return ", ".join(self.by_language)

    def of(self, language: str) -> tuple[Instruction, ...]:
        """Return those of a language.

        Raises:
            ConfigError: there are none.
        """
        if not self.by_language.get(language):
            raise ConfigError(
                f"there are instructions in {self.languages}, and none in {language}",
                f"give some in a file with a list under {language}: --instructions FILE; it is laid"
                f" out as {_OWN}",
            )
        return self.by_language[language]


def read_instructions(file: Path | None) -> Instructions:
    """Return the instructions of a file; without one, saltlm's own.

    Raises:
        ConfigError: it cannot be read, has an unknown rule, or an instruction without one.
    """
    return validated(Instructions, {"by_language": read_yaml(file or _OWN)})


def _folded(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.casefold() for text in texts)


def _is_json(answer: str) -> bool:
    text = re.sub(r"^```\w*|```$", "", answer.strip())
    try:
        return isinstance(parse_json(text), dict | list)
    except ValueError:
        return False
