"""``saltlm inspect``."""

import json
from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import json_flag, options, settings


@click.command("inspect")
@click.argument("source", metavar="SOURCE")
@click.argument("plm", metavar="PLM")
@options("transfer", "preset", "method", "corpus", "mode", "vocabulary", "budget", "keep")
@options("transfer", "prune_to", "target_tokenizer", "untie")
@settings
@json_flag
def command(
    source: str,
    plm: str,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Check two models before you use compute time.

    Shows what the two vocabularies share, how their tokenizers cut the corpus, special tokens,
    suspicious rows, and the time and memory that a transfer takes. Writes nothing.

    \b
      saltlm inspect meta-llama/Llama-3.2-1B deepset/gbert-base --corpus german.txt
    """
    from saltlm.config.recommended import load_recommended

    options = load_recommended(config, assignments, **flags)
    from saltlm.inspection.pair import inspect

    inspection = inspect(source, plm, config=options)
    if as_json:
        click.echo(json.dumps(inspection.to_json(), indent=2, ensure_ascii=False))
        return
    from saltlm.cli.render import show
    from saltlm.cli.render_pairs import inspection_tables, of_inspection

    for table in inspection_tables(inspection):
        show(table)
    from saltlm.cli.ends import (
        after_stop,
        end,
        flags_again,
        free_name,
        notes,
    )

    notes(inspection.notes)
    for warning in inspection.warnings:
        click.echo(f"warning: {warning}", err=True)
    verdict, corpus = of_inspection(inspection), flags["corpus"]
    if verdict.level == "stop" and corpus:
        end(verdict, *after_stop(source, corpus))
        return
    again = flags_again(config, assignments, flags)
    end(verdict, "transfer", source, plm, *again, "--out", free_name(source, "transferred"))
