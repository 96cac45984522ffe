"""``saltlm vectors``."""

from pathlib import Path

import click

from saltlm.cli.options import settings


@click.command("vectors")
@click.argument("action", metavar="train|convert", type=click.Choice(["train", "convert"]))
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--corpus",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Train on this text; of a conversion, take the words in it. Repeatable.",
)
@click.option(
    "--tokenizer",
    metavar="DIR",
    help="Take the tokens of this model, a directory or Hub id; training takes them for words.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write this file: .vec or .vec.gz, a list of words; .bin, with n-grams for all others.",
)
@click.option("--seed", type=click.INT, default=0, show_default=True, help="Seed of the training.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@settings
def command(
    action: str,
    file: Path | None,
    corpus: tuple[Path, ...],
    tokenizer: str | None,
    out: Path,
    seed: int,
    force: bool,
    config: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Train fastText vectors, or write those of a file anew and small.

    The same text and seed give the same bytes on any machine. FILE is of any format of
    docs/vectors.md; what is written goes into --aux vectors:FILE. The options of --set are those
    under fasttext in docs/options.md: --set dimension=100.

    \b
      saltlm vectors train --corpus german.txt --out german.bin
      saltlm vectors convert cc.de.300.bin --corpus german.txt --out german.vec.gz
    """
    from saltlm.config.reading import read_values, validated
    from saltlm.config.transfer import FasttextConfig

    options = validated(FasttextConfig, read_values(config, assignments))
    from saltlm.auxiliary.make import vectors

    made = vectors(
        "train" if action == "train" else "convert",
        file,
        out=out,
        corpus=corpus,
        tokenizer=tokenizer,
        seed=seed,
        force=force,
        config=options,
    )
    click.echo(str(made))
