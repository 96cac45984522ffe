"""The suite ``paper``: the benchmarks of the paper, pinned per language in ``paper.yaml``."""

from pathlib import Path

import yaml

from saltlm.errors import ConfigError


def paper_tasks(language: str | None) -> dict[str, list[str]]:
    """Return the harness tasks of a language, by what they are for.

    Raises:
        ConfigError: the paper has no such language.
    """
    pinned = all_paper_tasks()
    if language not in pinned:
        raise ConfigError(
            f"the suite paper has {', '.join(pinned)}, not {language or 'a language of its own'}",
            "name one with --lang; for another one, a file with such tasks as multiblimp_isl:"
            " --suite FILE.yaml",
        )
    return pinned[language]


def all_paper_tasks() -> dict[str, dict[str, list[str]]]:
    """Return the harness tasks of each language, by what they are for."""
    text = Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8")
    pinned: dict[str, dict[str, list[str]]] = yaml.safe_load(text)
    return pinned
