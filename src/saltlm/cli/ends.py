"""How a command ends: one line of judgement, and the command that comes next, to be pasted."""

import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from saltlm.adaptation.merge import MergeResult
from saltlm.adaptation.result import AdaptResult
from saltlm.comparison.score import Scores
from saltlm.errors import CheckpointError
from saltlm.evaluation.results import Evaluation
from saltlm.inspection.finding import Check
from saltlm.inspection.pair import Inspection
from saltlm.record.manifest import read_manifest
from saltlm.record.verdicts import (
    Verdict,
    of_english,
    of_occurrences,
    of_r2,
    of_saving,
    of_training,
    together,
)
from saltlm.tokenizer.fit import is_loud

logger = logging.getLogger(__name__)


def end(verdict: Verdict, *words: object) -> None:
    """Say a verdict, and the next command if there is one."""
    logger.info("verdict: %s", verdict)
    if words:
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


def free_name(source: str, ending: str) -> str:
    """Return a new directory for what is made of a model: beside it, or here.

    Here, if it is the Hub's or stands where nothing may be written.
    """
    place = Path(source)
    if place.name in ("", ".."):
        place = place.resolve()
    if place.is_file():  # GGUF
        place = place.with_suffix("")
    is_beside = Path(source).exists() and os.access(place.parent, os.W_OK)
    name = f"{place if is_beside else place.name}-{ending}"
    found, number = name, 2
    while Path(found).exists():
        found, number = f"{name}-{number}", number + 1
    return found


def notes(lines: Iterable[str]) -> None:
    """Say notes, and as warnings those that are loud."""
    for line in lines:
        if is_loud(line):
            logger.warning(line)
        else:
            logger.info("note: %s", line)


def of_inspection(found: Inspection) -> Verdict:
    """Judge a pair before anything is made of it."""
    verdicts = []
    if found.budget is not None:
        verdicts.append(of_saving(found.budget["saved"]))
    elif found.new_on_corpus and found.source.on_corpus:
        before, after = found.source.on_corpus, found.new_on_corpus
        verdicts.append(of_saving(1 - after.tokens_per_word / before.tokens_per_word))
    if found.seen is not None and found.budget is None:
        verdicts.append(of_occurrences(found.seen))
    if found.warnings:
        verdicts.append(Verdict("weak", f"{len(found.warnings)} warnings above"))
    if not verdicts:
        return Verdict("weak", "without --corpus FILE there is nothing to judge by")
    return together(verdicts)


def of_scores(found: Scores) -> Verdict:
    """Judge the best method with the best PLM."""
    plm, method = found.best
    best = next(
        one.r2
        for pair in found.pairs
        if pair.plm == plm
        for one in pair.scores
        if one.method == method
    )
    verdict = of_r2(best.value if best else 0.0)
    return verdict._replace(reason=f"{method} with {plm}: {verdict.reason}")


def of_adaptation(
    result: AdaptResult,
    untouched: Mapping[str, float],
    model: str,
    out: Path,
    heldout: Mapping[str, Path],
) -> tuple[Verdict, list[str]]:
    """Judge a run by its held-out texts, and say what to measure next."""
    verdicts = []
    for name, after in result.bits_per_byte.items():
        first = untouched.get(name, result.before.get(name))
        if name == "english" and first is not None:
            verdicts.append(of_english(first, after))
        elif name != "english":
            verdicts.append(of_training(untouched.get(name), result.before.get(name), after))
    if not verdicts:
        text = "nothing was measured: add --heldout FILE, text that is not in the training"
        return Verdict("weak", text), ["chat", str(out)]
    flags = []
    for name, file in heldout.items():
        flags += ["--english" if name == "english" else "--heldout", str(file)]
    words = ["evaluate", source_of(out) or model, str(out), *flags]
    return together(verdicts), [*words, "--out", free_name(str(out), "evaluation")]


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
    data = [word for file in corpus for word in ("--data", file)]
    return ["adapt", str(directory), *data, "--out", free_name(str(directory), "adapted")]


def of_evaluation(found: Evaluation) -> Verdict:
    """Judge the last model beside the first, which is taken for the source."""
    first, last = (
        {result["task"]: result["metrics"] for result in results}
        for results in (found.results[0], found.results[-1])
    )
    verdicts = []
    for task in first.keys() & last.keys():
        before, after = (one[task].get("bits per byte") for one in (first, last))
        if before is None or after is None or len(found.models) < 2:
            continue
        if task == "target text":
            verdicts.append(of_training(before["value"], None, after["value"]))
        elif task.startswith("English text"):
            verdicts.append(of_english(before["value"], after["value"]))
    if found.failures:
        verdicts.append(Verdict("weak", f"{len(found.failures)} tasks could not be measured"))
    return together(verdicts)


def after_evaluation(found: Evaluation, model: str, flags: Mapping[str, Any]) -> list[str]:
    """Return a merge where English was lost and can be measured, or else a look at the model."""
    source, texts = source_of(Path(model)), (flags["heldout"], flags["english"])
    has_lost = "English" in of_evaluation(found).reason and of_evaluation(found).level != "good"
    if source is None or not all(texts) or not has_lost:
        return ["chat", model]
    words = ["merge", source, model, "--select"]
    for flag, files in zip(("--heldout", "--english"), texts, strict=True):
        words += [word for file in files for word in (flag, str(file))]
    return [*words, "--out", free_name(model, "merged")]


def of_merge(result: MergeResult) -> Verdict:
    """Judge a merge by what its weight gives of each text, beside no merge at all."""
    curve = result.bits_per_byte
    if not curve:
        return Verdict("weak", "the weight was not measured: --select chooses it by held-out text")
    chosen, alone = curve[result.weight], curve[max(curve)]
    text = ", ".join(f"{name} {alone[name]:.3f} to {chosen[name]:.3f}" for name in chosen)
    is_worth = result.weight < max(curve)
    return Verdict(
        "good" if is_worth else "weak",
        f"bits per byte {text}" if is_worth else f"no merge is better ({text})",
    )
