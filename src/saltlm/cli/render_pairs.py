"""Tables of a pair, before and after a transfer, and how its inspection is judged."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from saltlm.cli.render import special_tokens_table, table
from saltlm.files.progress import duration
from saltlm.inspection.pair import Inspection
from saltlm.record.verdicts import Verdict, of_occurrences, of_saving, together
from saltlm.tokenizer.budget import times
from saltlm.vocabulary_transfer.result import TransferResult

_MOST_ROWS = 20
_CHOSEN = ("what, why, and how otherwise",)


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
            times(point["occurrences"]),
        )
        for point in budget["curve"]
    ]
    columns = ("new tokens", "tokens a word", "tokens saved", "occurrences of the rarest")
    return table(f"{budget['tokens']:,} tokens of training: {budget['verdict']}", columns, rows)


def _first(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
