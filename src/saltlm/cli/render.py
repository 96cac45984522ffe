"""Tables in the terminal, made of results."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from saltlm.cli.layout import print_table
from saltlm.errors import printable
from saltlm.files.caches import Cache
from saltlm.files.progress import duration
from saltlm.inspection.explain import Explanation
from saltlm.inspection.finding import Finding
from saltlm.inspection.pair import Inspection
from saltlm.vocabulary_transfer.result import TransferResult

_MOST_ROWS = 20
_NUMBER = re.compile(r"-?[\d,.]+ ?%?|")
_CHOSEN = ("what, why, and how otherwise",)
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
    made = Table(title=printable(title), box=None, pad_edge=False)
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
    if explanation.residual is not None:
        title += (
            f", {len(explanation.influences)} neighbours, residual {explanation.residual:.2f}, "
            f"norm ratio {explanation.norm_ratio:.2f}"
        )
    elif explanation.source_id is not None:
        title += f", the source's row {explanation.source_id}"
    if explanation.plm_pieces:
        title += f", PLM row the mean of its tokens {', '.join(map(str, explanation.plm_pieces))}"
    rows = [(i.token, i.coefficient, i.weight, i.cosine) for i in explanation.influences[:top]]
    return table(title, ("neighbour", "coefficient", "sparsemax", "cosine"), rows)


def finding_table(findings: Sequence[Finding]) -> Table:
    """Return the outcome of each check."""
    rows = [
        (Text(finding.outcome, style=_COLOURS[finding.outcome]), finding.check, finding.detail)
        for finding in findings
    ]
    return table("check", ("outcome", "check", "seen"), rows, prose=("check", "seen"))


def transfer_table(result: TransferResult) -> Table:
    """Return what a transfer has made."""
    maps = result.provenance
    counts = result.counts.items()
    rows: list[tuple[str, object]] = [(f"{origin} rows", n) for origin, n in counts if n]
    if len(maps.new_ids):
        k = maps.neighbours.k
        rows += [
            ("neighbours a token, median", int(k.median())),
            ("neighbours a token, most", int(k.max())),
            ("residual, median", float(maps.fit.residual.median())),
            ("norm ratio, median", float(maps.norm_ratio.median())),
        ]
    if result.score and result.score.r2:
        r2, low, high = result.score.r2
        seen = f"r2 of {result.score.n_tokens:,} shared rows not shown (saltlm score takes all)"
        rows.append((seen, f"{r2:.3f} ({low:.3f} to {high:.3f})"))
    return table(f"rows; auxiliary space: {result.auxiliary}", ("", ""), rows, prose=("",))


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


def inspection_tables(inspection: Inspection) -> list[Table]:
    """Return what is known of a pair, in the order in which it matters."""
    sides = [("source", inspection.source), ("PLM", inspection.plm)]
    columns = ("", "tokenizer", "tokens", "padding rows", "width")
    models = [(n, s.family, s.n_tokens, s.n_padding_rows, s.width) for n, s in sides]
    overlap = inspection.vocabularies
    shared = [("all", overlap.n_shared, overlap.n_new_model)]
    shared += [(kind, *counts) for kind, counts in overlap.shared_by_kind.items()]
    shared += [(script, *counts) for script, counts in overlap.shared_by_script.items()]
    tables = [
        table("models", columns, models),
        table("shared tokens", ("", "shared", "of"), shared[:_MOST_ROWS]),
    ]
    texts = [(name, side.on_corpus) for name, side in sides if side.on_corpus]
    if texts:
        columns = ("", "tokens a word", "bytes a token", "documents that come back", "lost")
        tables.append(
            table(
                f"on the corpus (shared tokens cover {inspection.coverage:.1%})",
                columns,
                [
                    (
                        n,
                        t.tokens_per_word,
                        t.bytes_per_token,
                        f"{t.round_trip:.1%}",
                        f"{t.lost:.2%}",
                    )
                    for n, t in texts
                ],
            )
        )
    if inspection.budget:
        tables.append(budget_table(inspection.budget))
    kinds = {"zero rows": inspection.zero_rows, "repeated rows": inspection.repeated_rows}
    suspicious = [(kind, len(ids), _first(ids)) for kind, ids in kinds.items() if ids]
    memory, time = f"{inspection.memory_bytes / 2**30:.1f} GiB", duration(inspection.seconds)
    cost = [("saltlm transfer", f"{time}, {memory} of memory")]
    if inspection.training:
        n_tokens, seconds = inspection.training
        cost.append((f"saltlm adapt, {n_tokens:,} tokens", duration(seconds)))
    if inspection.chosen:
        chosen = [line.partition(": ")[::2] for line in inspection.chosen]
        tables.append(table("chosen", ("", "what, why, and how otherwise"), chosen, prose=_CHOSEN))
    if suspicious:
        what = ("", "count", "ids")
        tables.append(table("suspicious rows of the source", what, suspicious, prose=("ids",)))
    return [
        *tables,
        special_tokens_table(inspection.roles),
        table("about how long it takes", ("", ""), cost),
    ]


def budget_table(budget: Mapping[str, Any]) -> Table:
    """Return what more and more new tokens come to, for a budget of training."""
    rows = [
        (
            f"{point['n_new']:,}" + " (chosen)" * (point["n_new"] == budget["n_chosen"]),
            point["tokens_per_word"],
            f"{point['saved']:.1%}",
            f"{point['occurrences']:.0f}",
        )
        for point in budget["curve"]
    ]
    columns = ("new tokens", "tokens a word", "tokens saved", "occurrences of the rarest")
    return table(f"{budget['tokens']:,} tokens of training: {budget['verdict']}", columns, rows)


def _first(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
