"""Tables in the terminal, made of results."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from saltlm.check import Finding
from saltlm.explain import Explanation

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def show(table: Table) -> None:
    """Print a table to stdout; plain text where it is not a terminal."""
    Console().print(table)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table; numbers stand right."""
    made = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        is_number = all(isinstance(row[place], int | float) for row in rows)
        made.add_column(Text(column), justify="right" if rows and is_number else "left")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    return made


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def explanation_table(explanation: Explanation, top: int) -> Table:
    """Return the neighbours of a token by the size of their coefficient."""
    title = f"{explanation.text!r} (token {explanation.id}): {explanation.origin}"
    if explanation.residual is not None:
        title += (
            f", {len(explanation.influences)} neighbours, residual {explanation.residual:.2f}, "
            f"norm ratio {explanation.norm_ratio:.2f}"
        )
    elif explanation.source_id is not None:
        title += f", the source's row {explanation.source_id}"
    rows = [(i.token, i.coefficient, i.weight, i.cosine) for i in explanation.influences[:top]]
    return table(title, ("neighbour", "coefficient", "sparsemax", "cosine"), rows)


def finding_table(findings: Sequence[Finding]) -> Table:
    """Return the outcome of each check."""
    rows = [
        (Text(finding.outcome, style=_COLOURS[finding.outcome]), finding.check, finding.detail)
        for finding in findings
    ]
    return table("check", ("outcome", "check", "seen"), rows)
