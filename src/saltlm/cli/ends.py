"""How a command ends: one line of judgement, and the command that comes next, to be pasted."""

import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from saltlm.errors import CheckpointError
from saltlm.inspection.finding import Check
from saltlm.record.manifest import read_manifest
from saltlm.record.verdicts import Verdict, is_loud

logger = logging.getLogger(__name__)


def end(verdict: Verdict, *words: object) -> None:
    """Say a verdict, and the next command if there is one."""
    if words[:1] == ("adapt",) and not {"--english", "--heldout"} & {*words}:
        logger.info("note: --english FILE keeps English in adapt, --heldout FILE measures")
    logger.info("verdict: %s", verdict)
    if words:
        next_line(*words)


def next_line(*words: object) -> None:
    """Say the command that comes next."""
    logger.info("next: %s", shlex.join(["saltlm", *map(str, words)]))


def flags_again(
    config: Path | None, assignments: Iterable[str], flags: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the words of options as they were given, for another command that has them too."""
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            yield flag
        elif isinstance(value, tuple):
            for one in value:
                yield from (flag, str(one))
        elif value not in (None, False):
            yield from (flag, str(value))
    if config is not None:
        yield from ("--config", str(config))
    for assignment in assignments:
        yield from ("--set", assignment)


def free_name(source: str, ending: str, suffix: str = "") -> str:
    """Return a new name for what is made of a model: beside it, or here.

    Here, if it is the Hub's or stands where nothing may be written.
    """
    place = Path(source)
    if place.name in ("", ".."):
        place = place.resolve()
    if place.is_file():  # GGUF
        place = place.with_suffix("")
    is_beside = Path(source).exists() and os.access(place.parent, os.W_OK)
    name = f"{place if is_beside else place.name}-{ending}"
    found, number = name + suffix, 2
    while Path(found).exists():
        found, number = f"{name}-{number}{suffix}", number + 1
    return found


def notes(lines: Iterable[str]) -> None:
    """Say notes, and as warnings those that are loud."""
    for line in lines:
        if is_loud(line):
            logger.warning(line)
        else:
            logger.info("note: %s", line)


def after_stop(source: str, corpus: Iterable[str | Path]) -> list[str]:
    """Return what is better than a transfer of which nothing is to be expected: plain training."""
    words = [*repeated("--data", corpus), *laptop()]
    return ["adapt", source, *words, "--out", free_name(source, "adapted")]


def laptop() -> list[str]:
    """Return the preset of `saltlm adapt` for a machine without a GPU, where this is one."""
    from saltlm.evaluation.device import chosen_device  # which loads torch

    return ["--preset", "laptop"] if chosen_device(None) == "cpu" else []


def source_of(directory: Path) -> str | None:
    """Return the name of the LLM that a model was made of, if saltlm made it."""
    try:
        return read_manifest(directory)["source"]["name"]
    except (KeyError, CheckpointError):
        return None


def of_check(found: Check) -> Verdict:
    """Judge a model directory by what was looked at."""
    told = [one.check for one in found if one.outcome != "ok"]
    if not found.is_sound:
        failed = [one.check for one in found if one.outcome == "failed"]
        return Verdict("stop", f"failed: {', '.join(failed)}")
    if told:
        return Verdict("weak", f"sound; to know: {', '.join(told)}")
    return Verdict("good", "sound")


def after_check(directory: Path) -> list[str]:
    """Return the command that follows on a sound model: training, or a look at what was trained."""
    try:
        manifest = read_manifest(directory)
    except CheckpointError:
        return ["chat", str(directory)]
    corpus = manifest.get("options", {}).get("corpus", ())
    if manifest.get("adaptations") or not corpus:
        return ["chat", str(directory)]
    words = [*repeated("--data", corpus), *laptop()]
    if budget := manifest["options"].get("budget"):
        from saltlm.tokenizer.budget import ngrams_teach

        words += ["--tokens", str(budget)]
        words += ["--teacher", "ngrams"] if ngrams_teach(budget) else []
    return ["adapt", str(directory), *words, "--out", free_name(str(directory), "adapted")]


def repeated(flag: str, files: Iterable[str | Path]) -> list[str]:
    """Return the words of a flag that is given once for each file."""
    return [word for file in files for word in (flag, str(file))]
