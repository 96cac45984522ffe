"""The suite ``modern``: benchmarks of today, in every language that the installed harness has.

Families of tasks are known by how their names are made, and a language by all of its codes, so a
task that a later harness adds for another language is found too.
"""

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from saltlm.errors import ConfigError

_CODE = r"(?P<code>[a-z]{2,3})(?:_(?P<script>[A-Za-z]{4}))?"  # sw, swh, swh_Latn
_PLACE = r"(?:_[a-z]{4})?"  # of Global PIQA: por_latn_braz
FAMILIES: dict[str, tuple[str, ...]] = {
    "reading": (rf"belebele_{_CODE}",),
    "knowledge": (
        r"global_mmlu_(?P<code>[a-z]{2})",
        r"global_mmlu_full_(?P<code>[a-z]{2,3})",
        r"include_base_44_(?P<code>[a-z_]+)",
    ),
    "everyday reasoning": (
        rf"global_piqa_parallel_cloze_{_CODE}{_PLACE}",
        rf"global_piqa_nonparallel_cloze_{_CODE}{_PLACE}",
    ),
    "topics": (rf"sib_{_CODE}_prompt_1", rf"sib200_{_CODE}"),
    "questions in texts": (rf"xquad_{_CODE}", r"mlqa_(?P<code>[a-z]{2})_(?P=code)"),
    "grammar": (rf"multiblimp_{_CODE}",),
    "translation": (
        rf"flores_eng_Latn-{_CODE}_prompt_1",
        rf"flores_{_CODE}-eng_Latn_prompt_1",
        r"\w+_bench_flores_en-(?P<code>[a-z]{2})",
        r"\w+_bench_flores_(?P<code>[a-z]{2})-en",
    ),
    "instructions": (r"ifeval_(?P<code>[a-z]{2})",),
}
"""Purpose -> what the names of its tasks look like."""

_ENGLISH = "English kept"
_ENGLISH_ALSO = ("ifeval",)  # names that say nothing of a language

SCRIPTS: dict[str, str] = {
    "facebook/flores": "give its sentences as --parallel of the suite quick: the archive of"
    " FLORES-200 has them, and openlanguagedata/flores_plus",
    "facebook/mlqa": "give its own files as questions of a suite: docs/evaluate.md",
}
"""Data sets that are programs, which datasets 4 and later do not run, and what to do instead."""


class Named(NamedTuple):
    """What a task's name says: what it is for, its family, and the language."""

    task: str
    purpose: str
    family: str
    code: str
    script: str


def modern_tasks(language: str | None, known: Collection[str]) -> dict[str, list[str]]:
    """Return the tasks of a language by what they are for, then the English ones.

    Args:
        language: any of its codes, with or without a script, or its English name.
        known: the names that the installed harness has.

    Raises:
        ConfigError: no language is given, or no task knows it.
    """
    if not language:
        raise ConfigError("the suite modern needs a language", "name one: --suite modern --lang sw")
    index = _index(frozenset(known))
    of_language = _of_language(language, index)
    if not of_language:
        raise ConfigError(
            f"no task of the suite modern knows the language {language!r}",
            "give its code of two or three letters; saltlm evaluate --list --lang sw shows what one"
            " has, and lm-eval ls tasks all that there is",
        )
    found: dict[str, list[str]] = {}
    for named in of_language:
        found.setdefault(named.purpose, []).append(named.task)
    if "en" not in codes_of(language):
        families = {named.family for named in of_language}
        english = [it.task for it in _of_language("en", index) if it.family in families]
        found[_ENGLISH] = [*english, *(name for name in _ENGLISH_ALSO if name in known)]
    return found


def codes_of(language: str) -> frozenset[str]:
    """Return the codes and names of a language, without a script; an unknown one stands alone."""
    word = (
        language.lower().partition("_")[0] if language.lower() not in _all() else language.lower()
    )
    return _all().get(word, frozenset({word}))


def replacement_of(dataset: str | None, datasets_version: str) -> str | None:
    """Return what to do about a data set that cannot load; None if nothing is known against it."""
    is_old = int(datasets_version.partition(".")[0]) < 4
    return None if is_old or dataset is None else SCRIPTS.get(dataset)


def _of_language(language: str, index: tuple[Named, ...]) -> list[Named]:
    codes, script = codes_of(language), language.lower().partition("_")[2]
    found = [
        named
        for named in index
        if named.code in codes and (not (script and named.script) or script == named.script)
    ]
    # Global-MMLU's small, checked part stands for the whole.
    whole = [it for it in found if it.task.startswith("global_mmlu_full_")]
    has_small = len(whole) < sum(it.task.startswith("global_mmlu_") for it in found)
    return [named for named in found if not (has_small and named in whole)]


@cache
def _index(known: frozenset[str]) -> tuple[Named, ...]:
    """Return what the names of tasks say, family by family."""
    index = []
    for purpose, patterns in FAMILIES.items():
        for family in patterns:
            form = re.compile(family)
            for name in sorted(known):
                if found := form.fullmatch(name):
                    parts = found.groupdict()
                    code, script = parts["code"].lower(), (parts.get("script") or "").lower()
                    index.append(Named(name, purpose, family, code, script))
    return tuple(index)


@cache
def _all() -> Mapping[str, frozenset[str]]:
    """Return each code and name with all of its language."""
    lines = Path(__file__).with_name("languages.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, frozenset[str]] = {}
    for line in lines:
        words = frozenset(line.split())
        for word in words:
            found.setdefault(word, words)
    return found
