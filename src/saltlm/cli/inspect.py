"""``saltlm inspect``."""

import json
from pathlib import Path

import click


@click.command("inspect")
@click.argument("source", metavar="SOURCE")
@click.argument("plm", metavar="PLM")
@click.option(
    "--corpus",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language; docs/formats.md. Repeatable.",
)
@click.option("--mode", help="As in transfer.")
@click.option("--prune-to", type=int, metavar="N", help="As in transfer.")
@click.option("--target-tokenizer", metavar="DIR", help="As in transfer.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="As in transfer.")
@click.option("--config", type=click.Path(path_type=Path), help="As in transfer.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
def command(
    source: str,
    plm: str,
    corpus: tuple[Path, ...],
    mode: str | None,
    prune_to: int | None,
    target_tokenizer: str | None,
    assignments: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> None:
    """Look at a pair of models before anything is spent.

    Vocabularies, what they share, what the corpus says about them, special tokens, suspicious
    rows, and the memory and time that a transfer takes.

    \b
      saltlm inspect meta-llama/Llama-3.2-1B deepset/gbert-base --corpus german.txt
    """
    from saltlm.config.transfer import load_config

    options = load_config(
        config,
        assignments,
        corpus=corpus or None,
        mode=mode,
        prune_to=prune_to,
        target_tokenizer=target_tokenizer,
    )
    from saltlm.inspection.pair import inspect

    inspection = inspect(source, plm, config=options)
    if as_json:
        click.echo(json.dumps(inspection.to_json(), indent=2, ensure_ascii=False))
        return
    from saltlm.cli.render import inspection_tables, show

    for table in inspection_tables(inspection):
        show(table)
    for warning in inspection.warnings:
        click.echo(f"warning: {warning}", err=True)
