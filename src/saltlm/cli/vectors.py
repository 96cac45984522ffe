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
    help="Text to train on; convert keeps only its words. Repeatable.",
)
@click.option(
    "--tokenizer",
    metavar="DIR",
    help="Take the tokens of this model (a directory or Hub id) as the words.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write this file: .vec or .vec.gz has a list of words, .bin also n-grams for other words.",
)
@click.option("--seed", type=click.INT, default=0, show_default=True, help="Seed of the training.")
@click.option("--force", is_flag=True, help="Replace --out if it exists.")
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
    """Train fastText vectors, or make a file of vectors smaller.

    convert reads FILE in any format of docs/vectors.md. saltlm transfer takes the result with --aux
    vectors:FILE. --set takes the options under fasttext in docs/options.md, with that name or
    without it. The same text and seed give the same bytes on any machine.

    \b
      saltlm vectors train --corpus german.txt --out german.bin
      saltlm vectors convert cc.de.300.bin --corpus german.txt --out german.vec.gz
    """
    from saltlm.config.reading import read_values, validated
    from saltlm.config.transfer import FasttextConfig

    options = validated(
        FasttextConfig,
        read_values(config, [assignment.removeprefix("fasttext.") for assignment in assignments]),
    )
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
