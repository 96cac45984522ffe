"""The report as Markdown with SVG files beside it, for a card."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from saltlm.files.markdown import as_markdown
from saltlm.inspection.report.content import Content
from saltlm.inspection.report.page import template_text
from saltlm.inspection.report.plots import draw_histogram, draw_intervals, draw_lines
from saltlm.inspection.report.tables import (
    NumberTable,
    earner_table,
    evaluation_tables,
    level_tables,
)

_EARNERS = 10


def markdown_of(content: Content, out: Path) -> dict[Path, str]:
    """Return the Markdown and the plots that it shows, by file.

    Args:
        content: what it shows.
        out: of the Markdown; the plots stand beside it, under names that begin with its own.
    """
    plots = {
        out.with_name(f"{out.stem}-{_file_name(name)}.svg"): (name, _alone(drawn))
        for name, drawn in _plots(content)
    }
    parts = [f"# {as_markdown(content.title)}"]
    if content.warnings:
        parts.append("\n".join(f"- **{as_markdown(warning)}**" for warning in content.warnings))
    parts += [f"## {as_markdown(table.title)}\n\n{_markdown(table)}" for table in _tables(content)]
    parts += [f"![{as_markdown(name)}]({file.name})" for file, (name, _) in plots.items()]
    text = "\n\n".join(parts) + "\n"
    return {out: text, **{file: svg for file, (_, svg) in plots.items()}}


def _tables(content: Content) -> Iterator[NumberTable]:
    for text in content.marks:
        rows = tuple((mark.stage, f"{mark.bits:.3f}", mark.note) for mark in text.marks)
        title = f"Bits per byte, {text.text} text, {text.where}"
        yield NumberTable(title, ("stage", "bits per byte", "of"), rows)
    manifest = content.manifest or {}
    if counts := manifest.get("counts"):
        found = {name: n for name, n in counts.items() if name in set(content.origins)}
        numbers = tuple((name, f"{n:,}") for name, n in found.items())
        yield NumberTable("Where the rows come from", ("origin", "tokens"), numbers)
    if content.words:
        before, after, what = content.words
        words = (f"tokens a word, {what}", f"{before:.2f}", f"{after:.2f}")
        yield NumberTable("Length of text", ("", "before", "after"), (words,))
    if text_record := manifest.get("text"):
        yield earner_table(text_record, slice(_EARNERS))
    yield from level_tables(content.saved)
    yield from evaluation_tables(content.saved)


def _plots(content: Content) -> Iterator[tuple[str, Markup]]:
    for chart in content.curves:
        yield f"{chart.title} over {chart.x_label}", draw_lines(chart)
    for histogram in content.histograms:
        yield histogram.title, draw_histogram(histogram)
    if content.yardsticks:
        title = "r2 on shared rows not shown, with 95 % intervals"
        yield title, draw_intervals(content.yardsticks, title)
    for chart in (*content.layers, *content.new_tokens):
        yield chart.title, draw_lines(chart)


def _markdown(table: NumberTable) -> str:
    cells = [
        tuple(
            f"**{as_markdown(cell)}**" if (row, column) in table.best else as_markdown(cell)
            for column, cell in enumerate(line)
        )
        for row, line in enumerate(table.rows)
    ]
    rule = ("---",) * len(table.heads)
    lines: Sequence[tuple[str, ...]] = [tuple(map(as_markdown, table.heads)), rule, *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _alone(drawn: Markup) -> str:
    """Return a plot that has its colours with it."""
    begin, end, rest = str(drawn).partition(">")
    return f"{begin}{end}<style>{template_text('plots.css')}</style>{rest}\n"


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
