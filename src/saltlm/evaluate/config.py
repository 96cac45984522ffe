"""What a suite consists of: the fields of ``saltlm evaluate --suite FILE.yaml``.

Every field's description is its help text.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from saltlm.errors import ConfigError
from saltlm.options import Section, read_yaml


def _as_files(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


Files = Annotated[tuple[Path, ...], BeforeValidator(_as_files)]


class QuickConfig(Section):
    """The measurements that need no network, from files of the user."""

    heldout: Files = Field((), description="text of the target language, one document a line")
    english: Files = Field((), description="English text, to see what is kept")
    parallel: Path | None = Field(None, description="English, a tab, the target language")
    prompts: int = Field(8, ge=1, description="beginnings of the held-out text to go on with")
    distractors: int = Field(3, ge=1, description="wrong translations beside the right one")


class SuiteConfig(Section):
    """All that is measured."""

    limit: int | None = Field(
        None, ge=1, description="of each task, so many documents, pairs or questions"
    )
    seed: int = Field(0, ge=0, description="of distractors, intervals and few-shot examples")
    quick: QuickConfig | None = Field(None, description="measurements on files of yours")


def read_suite(file: Path) -> SuiteConfig:
    """Return the suite that a YAML file describes.

    Raises:
        ConfigError: it cannot be read, has an unknown key, or a value that does not fit.
    """
    return _validated(read_yaml(file), str(file))


def with_options(suite: SuiteConfig, **options: Any) -> SuiteConfig:
    """Return the suite with what was given as flags; None or empty means not given.

    Args:
        suite: as it was.
        **options: ``limit`` and ``seed``, and fields of `QuickConfig`.
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    quick = {key: given.pop(key) for key in list(given) if key in QuickConfig.model_fields}
    values = suite.model_dump(exclude_unset=True) | given
    if quick:
        values["quick"] = (values.get("quick") or {}) | quick
    return _validated(values, "the command line")


def _validated(values: dict[str, Any], where: str) -> SuiteConfig:
    try:
        return SuiteConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(SuiteConfig.model_fields)
            raise ConfigError(
                f"{where}: a suite has no {place!r}", f"it has: {known}; see docs/evaluate.md"
            ) from error
        raise ConfigError(f"{where}: {place}={first['input']!r}: {first['msg']}") from error
