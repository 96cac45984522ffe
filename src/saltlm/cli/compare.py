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
@click.option(
    "--adapt",
    metavar="KEY=VALUE ...",
    help='Then adapt each model on --corpus with these options of saltlm adapt, such as "tokens=1M'
    ' batch_tokens=8192 sequence_length=512".',
)
@click.option(
    "--adapt-seeds",
    metavar="N,N",
    help="Adapt each model once with each of these seeds. Default: the seed in --adapt, or 0.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Then run the suite quick of saltlm evaluate on SOURCE and on each model, adapted if it"
    " was; results in --out/evaluation and in the models' cards.",
)
@click.option(
    "--parallel",
    type=click.Path(path_type=Path),
    help="Sentences for --quick: English, a tab, the target language.",
)
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
    adapt: str | None,
    adapt_seeds: str | None,
    quick: bool,
    parallel: Path | None,
    as_json: bool,
) -> None:
    """Transfer with several methods and put the results side by side.

    Each method's model and result go into --out; the same command again makes only what is
    missing. Before any training: how well the method predicts rows that it is not shown, bits per
    byte of held-out text, and how much probability goes to new rows.

    With --adapt each model is then trained on the same text in the same order, and curves and the
    tokens to reach a value are added; "untouched" among the methods adapts SOURCE as it is.

    \b
      saltlm compare SOURCE PLM --methods salt,focus,global-residual --heldout test.txt --out DIR
      saltlm compare SOURCE PLM --methods salt,focus --corpus german.txt --heldout test.txt \\
        --out DIR --adapt "tokens=1M batch_tokens=8192 sequence_length=512"
    """
    from saltlm.config.transfer import load_config

    options = load_config(config, assignments, aux=aux, corpus=corpus, seed=seed)
    from saltlm.comparison.compare import compare

    found = compare(
        source,
        plm,
        out,
        methods=methods,
        heldout=heldout,
        english=english,
        documents=documents,
        adapt=adapt,
        adapt_seeds=adapt_seeds or (),
        quick=quick,
        parallel=parallel,
        config=options,
    )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        from saltlm.cli.render import show_comparison

        show_comparison(found, out)
    if found.failures:
        raise SystemExit(1)
