"""Where options come from: a YAML file, assignments, and flags, checked against their schema.

Unknown keys are refused with the nearest known one.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from saltlm.config.yaml_text import parse_yaml
from saltlm.errors import ConfigError, shown

_OPTIONS = "docs/options.md lists every option, and saltlm VERB --help those with a flag"


class Section(BaseModel):
    """Options that belong together; a field may be a section itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_LARGEST = 10**6  # bytes of a file of options
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def read_count(value: Any) -> Any:
    """Return ``100M`` as 100000000; anything else is left to pydantic."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", str(value).replace("_", "").lower())
    return round(float(found[1]) * _UNITS[found[2]]) if found else value


def in_a_row(value: Any) -> Any:
    """Return one file as several of which there is one; anything else as it is."""
    return [value] if isinstance(value, str | Path) else value


Files = Annotated[tuple[Path, ...], BeforeValidator(in_a_row)]
SomeSection = TypeVar("SomeSection", bound=Section)


def read_values(start: Section | str | Path | None, assignments: Iterable[str]) -> dict[str, Any]:
    """Return what a file and assignments say; an assignment wins over the file.

    Args:
        start: YAML with options as ``key: value``, or options that were read already.
        assignments: ``key=value`` or ``section.key=value``; the value is read as YAML.

    Raises:
        ConfigError: the file cannot be read, or an assignment is none.
    """
    if isinstance(start, Section):
        values = start.model_dump(exclude_unset=True)
    else:
        values = read_yaml(Path(start)) if start else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--set takes key=value, not {assignment!r}", f"write --set KEY=VALUE; {_OPTIONS}"
            )
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{section!r} in --set {assignment} is not a section", _OPTIONS)
        try:
            place[last] = parse_yaml(text)
        except ValueError as error:
            raise ConfigError(
                f"--set {assignment}: the value is not YAML ({error})",
                f"put it in quotes: --set '{key}=\"VALUE\"'",
            ) from error
    return values


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say something: None, and no item of several, is not given.

    A path may name a model wherever its name may.
    """
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in options.items()
        if value not in (None, (), [])
    }


def validated(schema: type[SomeSection], values: dict[str, Any]) -> SomeSection:
    """Return values as their schema has them.

    Raises:
        ConfigError: an unknown key, or a value that does not fit; only the first is told.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if not where:  # values that do not fit together
            raise ConfigError(message, _OPTIONS) from error
        if first["type"] != "extra_forbidden":
            value = shown(repr(first["input"]))
            raise ConfigError(f"option {where}={value}: {message}", _OPTIONS) from error
        known = option_names(schema)
        near = difflib.get_close_matches(where, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
        raise ConfigError(f"there is no option {where!r}", hint) from error


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the options that a file holds as ``key: value``.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise ValueError(f"it has {size:,} bytes; options take fewer than {_LARGEST:,}")
        values = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {error}", _OPTIONS) from error
    if not isinstance(values, dict | None):
        raise ConfigError(
            f"{file} holds a {type(values).__name__}, not options as 'key: value'", _OPTIONS
        )
    return {str(key): value for key, value in (values or {}).items()}


def option_names(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the names of all options, those of sections under joined names."""
    names = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += option_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
