"""Several models side by side: which is best at what, and whether that is beyond chance."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from saltlm.errors import ConfigError
from saltlm.evaluation.results import BUSY, Evaluation, Metric, Result, difference_interval
from saltlm.evaluation.speed import SPEED, TIMES
from saltlm.files.atomic import replace_text
from saltlm.files.markdown import as_markdown
from saltlm.record.card import with_section
from saltlm.record.manifest import FOLDER
from saltlm.record.verdicts import Verdict, of_english, of_training, together

LEGEND = (
    "Brackets: 95 % bootstrap intervals over documents, sentences or questions. **Bold**: the best;"
    " ≈: not distinguishable from it (paired bootstrap of the difference, 95 %)."
)
_BUSY_NOTE = " The machine was busy with other work meanwhile: measure again."


@dataclass(frozen=True)
class Cell:
    """One model at one metric.

    Attributes:
        metric: what was measured; None if it was not.
        place: whether it is the best, as good as the best within chance, or worse; None if there
            is nothing to compare with, no better and worse, or no difference at all.
    """

    metric: Metric | None
    place: Literal["best", "level", "behind"] | None


@dataclass(frozen=True)
class Row:
    """All models at one metric of a task."""

    task: str
    metric: str
    cells: tuple[Cell, ...]


def evaluation_rows(evaluation: Evaluation) -> Iterator[Row]:
    """Yield a row for each metric, in the order of the model that most was measured of."""
    by_task = [{result["task"]: result for result in results} for results in evaluation.results]
    names = dict.fromkeys(
        (task, metric)
        for results in sorted(evaluation.results, key=len, reverse=True)
        for result in results
        for task, metric in [(result["task"], name) for name in result["metrics"]]
    )
    for task, metric in names:
        found = [results.get(task) for results in by_task]
        yield Row(task, metric, tuple(_cells(found, metric)))


def _cells(results: Sequence[Result | None], name: str) -> Iterator[Cell]:
    metrics = [result["metrics"].get(name) if result else None for result in results]
    there = [metric for metric in metrics if metric]
    if len({metric["value"] for metric in there}) < 2 or there[0]["better"] is None:
        yield from (Cell(metric, None) for metric in metrics)
        return
    pick = max if there[0]["better"] == "higher" else min
    best = pick(there, key=lambda metric: metric["value"])
    seed = next(result["seed"] for result in results if result)
    for metric in metrics:
        if metric is None or metric is best:
            yield Cell(metric, "best" if metric else None)
            continue
        interval = difference_interval(metric, best, seed)
        is_level = interval is None or interval[0] <= 0 <= interval[1]
        yield Cell(metric, "level" if is_level else "behind")


def speed_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield how many times as fast as the first model each other one writes, in turns with it."""
    for model, results in zip(evaluation.models, evaluation.results, strict=True):
        for result in results:
            if result["task"] != SPEED:
                continue
            times, details = result["metrics"][TIMES], result["details"]
            own, first = (details["tokens per second"][who] for who in ("own", "first"))
            interval = times["interval"]
            sure = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
            yield (
                f"{model['name']} writes the same text {times['value']:.2f} times{sure} as fast as"
                f" {evaluation.models[0]['name']}, in turns: {own['middle']:.1f} tokens a second"
                f" ({own['slowest']:.1f} to {own['fastest']:.1f}) and {first['middle']:.1f}"
                f" ({first['slowest']:.1f} to {first['fastest']:.1f})."
                + (_BUSY_NOTE if details["processor share"] < BUSY else "")
            )


def notes_of(evaluation: Evaluation) -> Iterator[str]:
    """Yield what a reader should know: speeds, and items that could not be scored."""
    yield from speed_notes(evaluation)
    for model, results in zip(evaluation.models, evaluation.results, strict=True):
        for result in results:
            if reasons := result["details"].get("not scored"):
                yield (
                    f"{result['task']} of {model['name']}: items left out that could not be"
                    f" scored: {len(reasons)} ({reasons[0]})."
                )


def of_evaluation(found: Evaluation) -> Verdict:
    """Judge the last model beside the first, which is taken for the source."""
    if len(found.models) < 2:
        return Verdict("weak", "one model by itself is not judged: put its source beside it")
    first, last = (
        {result["task"]: result["metrics"] for result in results}
        for results in (found.results[0], found.results[-1])
    )
    verdicts = []
    for task in first:
        before, after = (one.get(task, {}).get("bits per byte") for one in (first, last))
        if before is None or after is None:
            continue
        if task == "target text":
            verdicts.append(of_training(before["value"], None, after["value"]))
        elif task.startswith("English text"):
            verdicts.append(of_english(before["value"], after["value"]))
    if found.failures:
        verdicts.append(Verdict("weak", f"{len(found.failures)} tasks could not be measured"))
    return together(verdicts)


def text_of(cell: Cell, *, bold: str) -> str:
    """Return a cell as text: value, interval, and ≈ if it is level with the best.

    Args:
        cell: one model at one metric.
        bold: what stands around the best value.
    """
    metric = cell.metric
    if metric is None:
        return ""
    digits = 1 if abs(metric["value"]) >= 100 else 2 if abs(metric["value"]) >= 10 else 3
    text = f"{metric['value']:.{digits}f}"
    if cell.place == "best":
        text = f"{bold}{text}{bold}"
    elif cell.place == "level":
        text = f"≈ {text}"
    if metric["interval"] is not None:
        low, high = metric["interval"]
        text += f" ({low:.{digits}f} to {high:.{digits}f})"
    return text


def labels_of(evaluation: Evaluation) -> list[str]:
    """Return short names of the models: the last part of a path where that tells them apart."""
    names = [model["name"] for model in evaluation.models]
    short = [Path(name).name or name for name in names]
    return short if len(set(short)) == len(short) else names


def evaluation_markdown(evaluation: Evaluation, *, heading: str = "# Evaluation") -> str:
    """Return the table, what it means, and what failed."""
    labels = labels_of(evaluation)
    lines = [
        "| task | metric | n | " + " | ".join(map(as_markdown, labels)) + " |",
        "|---" * (3 + len(labels)) + "|",
    ]
    for row in evaluation_rows(evaluation):
        n = next(cell.metric["n"] for cell in row.cells if cell.metric)
        cells = " | ".join(text_of(cell, bold="**") for cell in row.cells)
        names = f"{as_markdown(row.task)} | {as_markdown(row.metric)}"
        lines.append(f"| {names} | {n:,} | {cells} |")
    parts = [heading, "\n".join(lines), LEGEND, *map(as_markdown, notes_of(evaluation))]
    if evaluation.failures:
        parts.append("\n".join(f"- {as_markdown(str(failure))}" for failure in evaluation.failures))
    return "\n\n".join(parts) + "\n"


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything but the items and the details, which the results' own files have."""
    results: list[dict[str, Any]] = []
    for found in evaluation.results:
        for result in found:
            metrics = {
                name: {key: value for key, value in metric.items() if key != "items"}
                for name, metric in result["metrics"].items()
            }
            results.append({**result, "metrics": metrics, "details": {}})
    return {
        "models": list(evaluation.models),
        "results": results,
        "places": [
            {"task": row.task, "metric": row.metric, "places": [cell.place for cell in row.cells]}
            for row in evaluation_rows(evaluation)
        ],
        "failures": [asdict(failure) for failure in evaluation.failures],
    }


def own_directories(models: Sequence[str]) -> list[Path]:
    """Return those of some models that saltlm has made: their cards may be changed.

    Raises:
        ConfigError: there is none.
    """
    directories = [Path(model).expanduser() for model in models]
    own = [path for path in directories if (path / FOLDER / "manifest.json").is_file()]
    if not own:
        raise ConfigError(
            f"saltlm made none of {', '.join(models)}, so no card of theirs is changed",
            "leave out --card; the table is in evaluation.md",
        )
    return own


def write_cards(evaluation: Evaluation, directories: Sequence[Path]) -> None:
    """Put the table into the ``README.md`` of each directory."""
    section = evaluation_markdown(evaluation, heading="## Evaluation")
    for directory in directories:
        card = directory / "README.md"
        text = card.read_text(encoding="utf-8") if card.is_file() else f"# {directory.name}\n"
        replace_text(card, with_section(text, "saltlm evaluate", section))


def write_summary(evaluation: Evaluation, out: Path) -> None:
    """Write ``evaluation.md`` and ``evaluation.json`` over all results."""
    text = json.dumps(as_json(evaluation), indent=2, ensure_ascii=False) + "\n"
    replace_text(out / "evaluation.json", text)
    replace_text(out / "evaluation.md", evaluation_markdown(evaluation))
