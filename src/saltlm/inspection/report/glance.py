"""What one sees first: warnings, bits per byte on the way, tokens a word, and English kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltlm.inspection.report.saved import SavedFiles, last_part
from saltlm.record.manifest import Manifest

_FEW_ANCHORS = 1000
_WEAK = 0.1  # r2 of the yardstick: little more than the mean row
_LOST_ENGLISH = 1.1  # times as many bits per byte
BEFORE, STEP_0, AFTER, NO_TRANSFER = (
    "before",
    "transferred, untrained",
    "trained",
    "trained without a transfer",
)
_ORDER = (BEFORE, STEP_0, AFTER, NO_TRANSFER)


@dataclass(frozen=True)
class Mark:
    """Bits per byte of one text at one point of the way.

    Attributes:
        stage: which point.
        bits: per byte.
        note: of which model, and after how much training.
    """

    stage: str
    bits: float
    note: str


@dataclass(frozen=True)
class TextMarks:
    """Bits per byte of one text, all measured alike.

    Attributes:
        text: its name.
        where: what measured it.
        marks: in the order of the way.
    """

    text: str
    where: str
    marks: tuple[Mark, ...]

    def at(self, stage: str) -> float | None:
        """The value at a stage, None if it was not measured."""
        return next((mark.bits for mark in self.marks if mark.stage == stage), None)


def marks_of(saved: Sequence[SavedFiles]) -> list[TextMarks]:
    """Return bits per byte on the way, of whatever measured most of it.

    Numbers of different measurements are of different texts, and are not put side by side.
    """
    found = [
        group
        for one in saved
        for group in (_of_comparison(one), _of_evaluation(one, saved), _of_run(one))
        if any(text.marks for text in group)
    ]
    return max(found, key=lambda group: len(group[0].marks), default=[])


def _of_comparison(one: SavedFiles) -> list[TextMarks]:
    results = (one.comparison or {}).get("results", {})
    untouched = results.get("untouched", {})
    name, best = best_method(results)
    found = []
    for text in ("target", "English"):
        marks = []
        for stage, result, note in (
            (BEFORE, untouched, "the source as it is"),
            (STEP_0, best, name),
        ):
            if text in result:
                marks.append(Mark(stage, result[text]["bits_per_byte"], note))
        for stage, result, note in ((AFTER, best, name), (NO_TRANSFER, untouched, "the source")):
            if (end := _end(result, text)) is not None:
                bits, tokens = end
                marks.append(Mark(stage, bits, f"{note}, {tokens:,} tokens"))
        found.append(TextMarks(text, f"compared in {one.name}", tuple(marks)))
    return [text for text in found if text.marks]


def best_method(results: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the method of a comparison that ends lowest, or begins so without training."""
    methods = {
        name: result
        for name, result in results.items()
        if name != "untouched" and "target" in result
    }
    if not methods:
        return "", {}

    def end(name: str) -> tuple[bool, float]:
        reached = _end(methods[name], "target")
        bits = methods[name]["target"]["bits_per_byte"]
        return (False, reached[0]) if reached else (True, bits)

    name = min(methods, key=end)
    return name, methods[name]


def _end(result: Mapping[str, Any], text: str) -> tuple[float, int] | None:
    """Return the mean over seeds of the last bits per byte, and after how many tokens."""
    ends = [run["curve"][-1] for run in result.get("adapted", ()) if run.get("curve")]
    ends = [end for end in ends if text in end["bits_per_byte"]]
    if not ends:
        return None
    return sum(end["bits_per_byte"][text] for end in ends) / len(ends), ends[-1]["tokens"]


def _of_evaluation(one: SavedFiles, saved: Sequence[SavedFiles]) -> list[TextMarks]:
    evaluation = one.evaluation or {}
    stages = _stages(saved)
    found: dict[str, list[Mark]] = {"target text": [], "English text": []}
    for result in evaluation.get("results", ()):
        metric = result["metrics"].get("bits per byte")
        stage = stages.get(_place(result["model"]["name"]))
        if stage and metric and result["task"] in found:
            note = last_part(result["model"]["name"])
            found[result["task"]].append(Mark(stage, metric["value"], note))
    return [
        TextMarks(
            task.removesuffix(" text"),
            f"evaluated in {one.name}",
            tuple(sorted(marks, key=lambda mark: _ORDER.index(mark.stage))),
        )
        for task, marks in found.items()
        if marks
    ]


def _stages(saved: Sequence[SavedFiles]) -> dict[str, str]:
    """Return the stage of each model that a manifest speaks of, by its place."""
    stages = {}
    for one in saved:
        kind = None if one.manifest is None else one.manifest.get("kind")
        if kind == "adapted":
            stages[_place(str(one.directory))] = NO_TRANSFER
        if one.manifest is None or kind != "transfer":
            continue
        stages[_place(one.manifest["source"]["name"])] = BEFORE
        is_adapted = bool(one.manifest.get("adaptations"))
        stages[_place(str(one.directory))] = AFTER if is_adapted else STEP_0
    return stages


def _place(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name


def _of_run(one: SavedFiles) -> list[TextMarks]:
    measured = [row for row in one.metrics if row.get("bits_per_byte")]
    if not measured:
        return []
    first, last = measured[0], measured[-1]
    found = []
    for text, bits in first["bits_per_byte"].items():
        marks = [Mark(STEP_0, bits, "before the first step")] if first["step"] == 0 else []
        if last["step"] and text in last["bits_per_byte"]:
            marks.append(Mark(AFTER, last["bits_per_byte"][text], f"{last['tokens']:,} tokens"))
        found.append(TextMarks(text, f"measured while {one.name} was trained", tuple(marks)))
    return found


def tokens_per_word(saved: Sequence[SavedFiles]) -> tuple[float, float, str] | None:
    """Return tokens a word with the source's vocabulary and with the new one, and of which text."""
    for one in saved:
        text = (one.manifest or {}).get("text")
        if text and text["words"]:
            old, new = text["source_tokens"] / text["words"], text["new_tokens"] / text["words"]
            return old, new, "the corpus"
    for one in saved:
        results = (one.comparison or {}).get("results", {})
        _, best = best_method(results)
        texts = [result.get("target") for result in (results.get("untouched", {}), best)]
        if texts[0] and texts[1]:
            return texts[0]["tokens_per_word"], texts[1]["tokens_per_word"], "held-out text"
    return None


def warnings_of(
    saved: Sequence[SavedFiles], manifest: Manifest | None, marks: Sequence[TextMarks]
) -> list[str]:
    """Return what to know before the numbers are believed, the gravest first."""
    found = list(_warnings_of_model(manifest)) if manifest else []
    is_trained = any(one.metrics for one in saved) or any(mark.at(AFTER) for mark in marks)
    if (
        manifest
        and manifest.get("kind") == "transfer"
        and not (is_trained or manifest.get("adaptations"))
    ):
        found.insert(
            0,
            "Not adapted: the new rows are initial values, and the model writes nonsense until its"
            " pre-training is continued (saltlm adapt).",
        )
    return found + list(_warnings_of_marks(marks))


def _warnings_of_model(manifest: Manifest) -> Iterator[str]:
    if manifest.get("options", {}).get("lossy"):
        yield (
            "Lossy: the new vocabulary cannot write all that the source could; the notes say what"
            " does not come back."
        )
    r2 = (manifest.get("yardstick") or {}).get("r2")
    if r2 and r2["value"] < _WEAK:
        than = "hardly better than" if r2["value"] > 0 else "worse than"
        yield (
            "Weak small model: it predicts shared rows that it was not shown with an r2 of"
            f" {r2['value']:.3f}, {than} their mean row (0)."
        )
    anchors = manifest.get("counts", {}).get("anchors")
    if anchors is not None and anchors < _FEW_ANCHORS:
        yield f"Few anchors: the two vocabularies share {anchors:,} tokens to map new rows with."


def _warnings_of_marks(marks: Sequence[TextMarks]) -> Iterator[str]:
    for text in marks:
        before, after, other = text.at(BEFORE), text.at(AFTER), text.at(NO_TRANSFER)
        if text.text.casefold() == "english":
            if before and after and after > _LOST_ENGLISH * before:
                yield (
                    f"English is worse than before: {after:.3f} bits per byte, {before:.3f} before."
                    " More English among the training text keeps it (saltlm adapt --english)."
                )
        elif after and other and after > other:
            yield (
                f"No transfer is ahead so far on {text.text} text: {other:.3f} bits per byte after"
                f" the same training, {after:.3f} with the transfer."
            )
        elif before and after and after > before:
            yield (
                f"Not yet better than before on {text.text} text: {after:.3f} bits per byte,"
                f" {before:.3f} before."
            )
