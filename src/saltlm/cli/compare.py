"""``saltlm compare``."""

import json
from pathlib import Path

import click


@click.command("compare")
@click.argument("source", metavar="SOURCE")
@click.argument("plm", metavar="PLM")
@click.option("--methods", required=True, help="Separated by commas: salt,focus,global-residual")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory to fill.")
@click.option(
    "--heldout",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Text of the target language that nothing was made from. Repeatable.",
)
@click.option(
    "--english",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of SOURCE's language, to see what is kept. Repeatable.",
)
@click.option(
    "--corpus",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language, for --aux train and the yardstick. Repeatable.",
)
@click.option("--documents", default=100, show_default=True, help="Of each text, measured.")
@click.option("--aux", help="As in transfer.")
@click.option("--seed", type=int, help="As in transfer.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="As in transfer.")
@click.option("--config", type=click.Path(path_type=Path), help="As in transfer.")
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON on stdout.")
def command(
    source: str,
    plm: str,
    methods: str,
    out: Path,
    heldout: tuple[Path, ...],
    english: tuple[Path, ...],
    corpus: tuple[Path, ...],
    documents: int,
    aux: str | None,
    seed: int | None,
    assignments: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> None:
    """Transfer with several methods and put the results side by side.

    Each method's model and result go into --out; the same command again makes only what is
    missing. Before any training: how well the method predicts rows that it is not shown, bits per
    byte of held-out text, and how much probability goes to new rows.

    \b
      saltlm compare SOURCE PLM --methods salt,focus,global-residual --heldout test.txt --out DIR
    """
    from saltlm.config import load_config

    options = load_config(config, assignments, aux=aux, corpus=corpus or None, seed=seed)
    from saltlm.comparison import compare, rows_of

    comparison = compare(
        source,
        plm,
        [method.strip() for method in methods.split(",")],
        out,
        heldout=heldout,
        english=english,
        config=options,
        n_documents=documents,
    )
    if as_json:
        click.echo(json.dumps(comparison, indent=2))
    else:
        from saltlm.cli.tables import show, table

        heading, *lines = rows_of(comparison)
        show(table(f"comparison, in {out}", heading, lines))
    if any("error" in result for result in comparison["results"].values()):
        raise SystemExit(1)
