"""How a command ends: one line of judgement, and the command that comes next, to be pasted."""

import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from saltlm.adaptation.merge import MergeResult
from saltlm.adaptation.result import AdaptResult
from saltlm.comparison.results import TARGET, UNTOUCHED, Comparison
from saltlm.comparison.score import Scores
from saltlm.errors import CheckpointError
from saltlm.evaluation.device import chosen_device
from saltlm.evaluation.results import Evaluation
from saltlm.evaluation.side_by_side import of_evaluation
from saltlm.inspection.finding import Check
from saltlm.inspection.pair import Inspection
from saltlm.models.gguf_export import Export
from saltlm.pretraining.pretrain import PretrainResult
from saltlm.record.manifest import read_manifest
from saltlm.record.verdicts import (
    Grade,
    Verdict,
    of_english,
    of_feeding,
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


def after_stop(source: str, corpus: Iterable[str | Path]) -> list[str]:
    """Return what is better than a transfer of which nothing is to be expected: plain training."""
    words = [*_repeated("--data", corpus), *_laptop()]
    return ["adapt", source, *words, "--out", free_name(source, "adapted")]


def _laptop() -> list[str]:
    """Return the preset of `saltlm adapt` for a machine without a GPU, where this is one."""
    return ["--preset", "laptop"] if chosen_device(None) == "cpu" else []


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
    words = [*_repeated("--data", corpus), *_laptop()]
    if budget := manifest["options"].get("budget"):
        words += ["--tokens", str(budget)]
    return ["adapt", str(directory), *words, "--out", free_name(str(directory), "adapted")]


def after_evaluation(found: Evaluation, model: str, flags: Mapping[str, Any]) -> list[str]:
    """Return a merge where English was lost and can be measured, or else a look at the model."""
    source, texts = source_of(Path(model)), (flags["heldout"], flags["english"])
    has_lost = "English" in of_evaluation(found).reason and of_evaluation(found).level != "good"
    if source is None or not all(texts) or not has_lost:
        return ["chat", model]
    words = ["merge", source, model, "--select"]
    for flag, files in zip(("--heldout", "--english"), texts, strict=True):
        words += _repeated(flag, files)
    return [*words, "--out", free_name(model, "merged")]


def of_comparison(found: Comparison) -> Verdict:
    """Judge the best method: beside plain training, or before training by its r2."""
    failed = [Verdict("weak", f"{len(found.failures)} failed, as said above")] * bool(
        found.failures
    )
    best, rival = found.best, found.results[UNTOUCHED]
    if best is None:
        return Verdict("stop", "no method gave a model")
    text = f"{best.method} leads with {best.last:.3f} bits per byte"
    if not best.curves:
        r2 = best.yardstick.r2 if best.yardstick else None
        judged = of_r2(r2.value) if r2 else Verdict("weak", "no r2: too few shared tokens")
        reason = f"{text} before training (source {rival.last:.3f}); {judged.reason}"
        return together([judged._replace(reason=reason), *failed])
    if rival.curves:
        level: Grade = "good" if best.last < rival.last else "weak"
        judged = Verdict(level, f"{text} after training (plain training {rival.last:.3f})")
    else:
        before = best.texts[TARGET].bits_per_byte
        judged = of_training(rival.last, before, best.last)
        judged = judged._replace(reason=f"{best.method} leads: {judged.reason}")
    return together([judged, *failed])


def after_comparison(
    found: Comparison,
    out: Path,
    heldout: Sequence[Path],
    english: Sequence[Path],
    corpus: Sequence[Path],
) -> list[str]:
    """Return what comes next for the best model: training, a measurement, or a chat."""
    best = found.best
    if best is None or best.directory is None:
        return ["score", found.source, found.plm]
    adapted = [run.directory for run in best.adapted if run.directory]
    model = str(out / (adapted[0] if adapted else best.directory))
    if not adapted and corpus:
        words = [model, *_repeated("--data", corpus), *_laptop(), "--heldout", str(heldout[0])]
        return ["adapt", *words, "--out", free_name(model, "adapted")]
    if not adapted or found.evaluation:
        return ["chat" if adapted else "check", model]
    texts = [*_repeated("--heldout", heldout), *_repeated("--english", english)]
    return ["evaluate", found.source, model, *texts, "--out", free_name(model, "evaluation")]


def _repeated(flag: str, files: Iterable[str | Path]) -> list[str]:
    return [word for file in files for word in (flag, str(file))]


def of_pretraining(result: PretrainResult) -> Verdict:
    """Judge a PLM by what it has read, and by held-out text that it did not read."""
    verdicts = [of_feeding(result.n_read, result.n_layers)]
    verdicts += [
        of_training(None, result.before.get(name), after)
        for name, after in result.bits_per_byte.items()
    ]
    return together(verdicts)


def of_export(written: Export) -> Verdict:
    """Judge a file by whose tokenizer was compared, and what differs."""
    if written.differing:
        return Verdict("weak", f"llama.cpp reads otherwise: {', '.join(written.differing)}")
    if written.checked_with == "fields":
        return Verdict("weak", "llama.cpp's own tokenizer was not asked: pip install xllamacpp")
    return Verdict("good", "llama.cpp's tokenizer gives the same ids")


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
