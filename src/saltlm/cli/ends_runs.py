"""How commands end that train, measure or export: their verdicts, and what comes next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saltlm.adaptation.merge import MergeResult
from saltlm.adaptation.result import AdaptResult
from saltlm.cli.ends import flags_again, free_name, laptop, repeated, source_of
from saltlm.comparison.results import TARGET, UNTOUCHED, Comparison
from saltlm.comparison.score import Scores
from saltlm.evaluation.results import Evaluation
from saltlm.evaluation.side_by_side import of_evaluation
from saltlm.models.gguf_export import Export
from saltlm.pretraining.pretrain import PretrainResult
from saltlm.record.verdicts import (
    Grade,
    Verdict,
    of_feeding,
    of_held_out,
    of_r2,
    of_training,
    together,
)


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
    verdict = of_held_out(result.bits_per_byte, result.before, untouched)
    if verdict is None:
        text = "nothing was measured: add --heldout FILE, text that is not in the training"
        return Verdict("weak", text), ["chat", str(out)]
    flags = []
    for name, file in heldout.items():
        flags += ["--english" if name == "english" else "--heldout", str(file)]
    words = ["evaluate", source_of(out) or model, str(out), *flags]
    return verdict, [*words, "--out", free_name(str(out), "evaluation")]


def after_evaluation(found: Evaluation, model: str, flags: Mapping[str, Any]) -> list[str]:
    """Return a merge where English was lost and can be measured, or else a look at the model.

    A model that was measured by itself is to be put beside its source.
    """
    source, texts = source_of(Path(model)), (flags["heldout"], flags["english"])
    if len(found.models) < 2 and source is not None:
        return ["evaluate", source, model, *flags_again(None, (), flags)]
    has_lost = "English" in of_evaluation(found).reason and of_evaluation(found).level != "good"
    if source is None or not all(texts) or not has_lost:
        return ["chat", model]
    words = ["merge", source, model, "--select"]
    for flag, files in zip(("--heldout", "--english"), texts, strict=True):
        words += repeated(flag, files)
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
        words = [model, *repeated("--data", corpus), *laptop(), "--heldout", str(heldout[0])]
        return ["adapt", *words, "--out", free_name(model, "adapted")]
    if not adapted or found.evaluation:
        return ["chat" if adapted else "check", model]
    texts = [*repeated("--heldout", heldout), *repeated("--english", english)]
    return ["evaluate", found.source, model, *texts, "--out", free_name(model, "evaluation")]


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
