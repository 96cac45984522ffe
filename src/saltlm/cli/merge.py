"""``saltlm merge``."""

from pathlib import Path
from typing import Any

import click

from saltlm.config.merge import MERGE_METHODS, SHARED_ROWS, SPECIAL_ROWS


@click.command("merge")
@click.argument("base", metavar="BASE")
@click.argument("adapted", metavar="ADAPTED")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the merged model into this directory.",
)
@click.option(
    "--method",
    type=click.Choice(MERGE_METHODS),
    default="linear",
    show_default=True,
    help="How two tensors are combined.",
)
@click.option(
    "--weight",
    metavar="X",
    type=click.FLOAT,
    help="0 is BASE, 1 is ADAPTED; for chat-vector, its length.  [default: 0.5; chat-vector: 1]",
)
@click.option(
    "--ends",
    metavar="X,X",
    help="Weights of the first layers and, mirrored, of the last layers, the outermost first."
    " ElChat: --method slerp --weight 1 --ends 0.7,0.5.",
)
@click.option(
    "--special",
    type=click.Choice(SPECIAL_ROWS),
    default="base",
    show_default=True,
    help="Which model gives the rows of special tokens.",
)
@click.option(
    "--shared",
    type=click.Choice(SHARED_ROWS),
    default="adapted",
    show_default=True,
    help="Which model gives the rows of tokens that both have.",
)
@click.option(
    "--pretrained",
    metavar="MODEL",
    help="The model that BASE, a chat model, was tuned from; for --method chat-vector.",
)
@click.option(
    "--select", is_flag=True, help="Choose the weight by bits per byte of --heldout and --english."
)
@click.option(
    "--heldout",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language that no model has seen, for --select. Repeatable.",
)
@click.option(
    "--english",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="English text that no model has seen, for --select. Repeatable.",
)
@click.option(
    "--documents",
    metavar="N",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Number of documents of each text to measure.",
)
@click.option("--device", help="Measure on cpu, cuda, cuda:1 ...  [default: a GPU if any]")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with a model.")
@click.option("--force", is_flag=True, help="Replace --out if it exists.")
def command(base: str, adapted: str, out: Path, ends: str | None, **flags: Any) -> None:
    """Move an adapted model part of the way back to its source.

    This gives back some of what training took away, such as English or chat. BASE is the model that
    ADAPTED was made of by saltlm transfer, saltlm adapt, or both. The layers of the two are
    combined tensor by tensor; the vocabulary, its new rows and all settings are those of ADAPTED.

    \b
      saltlm merge SOURCE llama-german-adapted --out merged --select \\
        --heldout german.heldout.txt --english english.heldout.txt
    """
    from saltlm.adaptation.merge import merge

    result = merge(base, adapted, out, ends=ends or (), **flags)
    click.echo(str(result))
    from saltlm.cli.ends import end
    from saltlm.cli.ends_runs import of_merge

    end(of_merge(result), "chat", out)
