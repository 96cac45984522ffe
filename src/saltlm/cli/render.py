"""Tables in the terminal, made of results."""

import re
from collections.abc import Sequence

from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from saltlm.cli.layout import print_table
from saltlm.errors import printable
from saltlm.files.caches import Cache
from saltlm.inspection.explain import Explanation
from saltlm.inspection.finding import Finding

_NUMBER = re.compile(r"-?[\d,.]+ ?%?|")
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def show(table: Table) -> None:
    """Print a table to stdout; nothing in it is cut, however narrow the terminal is."""
    print_table(table)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    prose: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> Table:
    """Return a table; numbers stand right.

    Args:
        title: above it.
        columns: their names.
        rows: of cells.
        prose: columns of sentences, which may be broken into lines.
        spare: columns that a narrow terminal can do without, the first one first.
    """
    made = Table(title=printable(title), box=None, pad_edge=False, show_header=any(columns))
    made.caption = " ".join(spare)
    for place, column in enumerate(columns):
        is_number = all(_NUMBER.fullmatch(_text(row[place])) for row in rows)
        made.add_column(
            Text(column),
            justify="right" if rows and is_number else "left",
            no_wrap=column not in prose,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text | Bar) else Text(_text(cell)) for cell in row))
    return made


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else printable(str(cell))


def explanation_table(explanation: Explanation, top: int) -> Table:
    """Return the neighbours of a token by the size of their coefficient."""
    title = f"{explanation.text!r} (token {explanation.id}): {explanation.origin}"
    if explanation.mapped is not None:
        title += f" by one map of {explanation.mapped}, corrected by neighbours"
    if explanation.residual is not None:
        title += (
            f", {len(explanation.influences)} neighbours, residual {explanation.residual:.2f}, "
            f"norm ratio {explanation.norm_ratio:.2f}"
        )
    elif explanation.source_id is not None:
        title += f", the source's row {explanation.source_id}"
    if explanation.plm_pieces:
        title += f", PLM row the mean of its tokens {', '.join(map(str, explanation.plm_pieces))}"
    if explanation.then:
        title += f"; then {explanation.then}"
    rows = [(i.token, i.coefficient, i.weight, i.cosine) for i in explanation.influences[:top]]
    return table(title, ("neighbour", "coefficient", "sparsemax", "cosine"), rows)


def finding_table(findings: Sequence[Finding]) -> Table:
    """Return the outcome of each check."""
    rows = [
        (Text(finding.outcome, style=_COLOURS[finding.outcome]), finding.check, finding.detail)
        for finding in findings
    ]
    return table("check", ("outcome", "check", "seen"), rows, prose=("check", "seen"))


def cache_table(found: Cache) -> Table:
    """Return what is kept, or was removed."""
    rows = [
        (
            entry.kind,
            f"{entry.n_bytes / 1e6:,.1f}",
            f"{entry.days:.1f}",
            entry.path.name + (" (left by a killed run)" if entry.is_left else ""),
        )
        for entry in found.entries
    ]
    done = "removed" if found.is_cleared else "kept"
    return table(f"{done} in {found.folder}", ("kind", "MB", "days old", "name"), rows)


def special_tokens_table(rows: Sequence[Sequence[object]]) -> Table:
    """Return the special tokens of the new model and where their rows come from."""
    groups: dict[object, list[Sequence[object]]] = {}
    for row in rows:  # one with a role stands by itself, all others of a kind stand together
        groups.setdefault(tuple(row) if row[0] else row[-1], []).append(row)
    cells = []
    for group in groups.values():
        cells += [tuple("" if cell is None else cell for cell in row) for row in group[:2]]
        if len(group) > 2:
            cells.append(("", f"and {len(group) - 2:,} more", "", "", group[0][-1]))
    columns = ("role", "token", "new id", "source id", "row")
    return table("special tokens", columns, cells, prose=("row",))
