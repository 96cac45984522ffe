"""Tables of what was trained or measured, apart from those of commands that need not load it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saltlm.adaptation.result import AdaptResult
from saltlm.adaptation.samples import Sample
from saltlm.cli.render import show, table
from saltlm.comparison.curves import convergence_rows
from saltlm.comparison.results import Comparison, Point
from saltlm.comparison.score import PairScores
from saltlm.comparison.show import comparison_rows
from saltlm.evaluation.results import Evaluation
from saltlm.evaluation.side_by_side import Row, evaluation_rows, labels_of, notes_of, text_of
from saltlm.files.progress import duration

_BAR_WIDTH = 50


def adaptation_table(result: AdaptResult, untouched: Mapping[str, float]) -> Table:
    """Return what training made of each held-out text, of its first documents."""
    rows = [
        (
            name,
            *(f"{one[name]:.3f}" if name in one else "" for one in (untouched, result.before)),
            after,
        )
        for name, after in result.bits_per_byte.items()
    ]
    title = f"{result.directory}: {result.n_tokens:,} tokens in {duration(result.seconds)}"
    measured = f"; bits per byte of held-out text, at most {result.documents} documents"
    title += measured if rows else "; no --heldout, so nothing measured"
    return table(title, ("text", "source", "before", "after"), rows)


def samples_table(samples: Sequence[Sample]) -> Table:
    """Return what a model wrote before and after."""
    columns = ("beginning", "before", "after")
    rows = [[" ".join(text.split()) for text in sample] for sample in samples]
    title = "what it writes after beginnings of the held-out text"
    return table(title, columns, rows, prose=columns)


def score_table(found: PairScores) -> Table:
    """Return what methods are worth on a pair, the best first."""
    columns = ("method", "r2", "95 % interval", "cosine", "norms", "retrieval", "s")
    rows: list[tuple[object, ...]] = []
    for score in sorted(found.scores, key=lambda score: -(score.r2.value if score.r2 else -9.0)):
        if score.error or not (score.r2 and score.cosine and score.norm_ratio and score.retrieval):
            rows.append((score.method, *[""] * 6, score.error or ""))
            continue
        interval = f"{score.r2.low:.3f} to {score.r2.high:.3f}"
        numbers = (score.cosine.value, score.norm_ratio.value, score.retrieval.value)
        cells = (*(f"{value:.3f}" for value in numbers), f"{score.seconds:.1f}", "")
        rows.append((score.method, f"{score.r2.value:.3f}", interval, *cells))
    title = f"{found.plm}: {found.n_shared:,} shared tokens; {found.auxiliary}"
    if any(row[-1] for row in rows):
        return table(title, (*columns, "why not"), rows, prose=("why not",), spare=columns[:2:-1])
    return table(title, columns, [row[:-1] for row in rows], spare=columns[:2:-1])


def curves_table(curves: Mapping[str, Sequence[Point]]) -> Table:
    """Return models' curves on the held-out text as bars; green where a model is ahead.

    Args:
        curves: name of the model -> its points, all after as many tokens.
    """
    longest = max(point.bits_per_byte["target"] for curve in curves.values() for point in curve)
    rows: list[tuple[object, ...]] = []
    for points in zip(*curves.values(), strict=True):
        values = [point.bits_per_byte["target"] for point in points]
        for name, point, value in zip(curves, points, values, strict=True):
            color = "green" if value == min(values) else "default"
            bar = Bar(longest, 0, value, width=_BAR_WIDTH, color=color)
            rows.append((f"{point.tokens:,}", name, f"{point.seconds:.0f}", value, bar))
    return table("bits a byte in training", ("tokens", "model", "seconds", "bits a byte", ""), rows)


def plm_table(pairs: Sequence[PairScores]) -> Table:
    """Return which PLM is worth most, each by its best method, the best first."""
    found: list[tuple[float, tuple[object, ...]]] = []
    for pair in pairs:
        scored = [(score.r2, score.method) for score in pair.scores if score.r2]
        r2, method = max(scored, default=(None, "none"))
        interval = (r2.value, f"{r2.low:.3f} to {r2.high:.3f}") if r2 else ("", "")
        row = (pair.plm, pair.n_shared, method, *interval)
        found.append((r2.value if r2 else -math.inf, row))
    ranked = [row for _, row in sorted(found, key=lambda pair: -pair[0])]
    return table("PLMs", ("PLM", "shared tokens", "best method", "r2", "95 % interval"), ranked)


def show_comparison(found: Comparison, out: Path) -> None:
    """Print methods side by side: before training, after it, and their evaluation."""
    heading, *lines = comparison_rows(found)
    show(table(f"comparison, in {out}", heading, lines))
    if found.curves:
        heading, *lines = convergence_rows(found)
        show(table(f"adapted; curves in {out / 'comparison.svg'}", heading, lines))
    if found.evaluation is not None:
        show_evaluation(found.evaluation, out / "evaluation")


def _tells(row: Row) -> bool:
    """Whether a row of an evaluation says anything; that no byte was lost is as it should be."""
    return row.metric != "bytes lost" or any(
        cell.metric and cell.metric["value"] for cell in row.cells
    )


def show_evaluation(found: Evaluation, out: Path) -> None:
    """Print all models side by side: the best in green, what is level with it marked."""
    rows = []
    for row in filter(_tells, evaluation_rows(found)):
        n = next(cell.metric["n"] for cell in row.cells if cell.metric)
        cells = [
            Text(text_of(cell, bold="*"), style="green" if cell.place == "best" else "")
            for cell in row.cells
        ]
        rows.append((row.task, row.metric, n, *cells))
    title = f"evaluation, in {out} (95 % intervals; *best*, ≈ level with it)"
    show(table(title, ("task", "metric", "n", *labels_of(found)), rows))
    for note in notes_of(found):
        Console(soft_wrap=True).print(note, highlight=False)
