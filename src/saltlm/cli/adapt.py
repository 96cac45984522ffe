"""``saltlm adapt``."""

from importlib.resources import files
from pathlib import Path

import click


def _print_launch_config(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo((files("saltlm.adaptation") / "launch" / f"{name}.yaml").read_text(), nl=False)
        context.exit()


@click.command("adapt")
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    multiple=True,
    metavar="TEXT[=SHARE]",
    help="Text to train on: a file (docs/formats.md), a folder, or a"
    " dataset of the Hub, with its share of the training tokens. May be repeated.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The directory to make."
)
@click.option(
    "--heldout",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Text to measure bits per byte on; NAME is 'target' if not given. May be repeated.",
)
@click.option("--tokens", metavar="N", help="Length of the run in tokens: 500k, 100M, 2B.")
@click.option("--steps", type=int, help="Length of the run in steps.")
@click.option("--epochs", type=float, help="Length of the run in passes over the text.")
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="auto|never|PATH",
    help="Go on from the last checkpoint in --out; begin anew; or go on from this checkpoint.",
)
@click.option("--keep", type=int, help="Checkpoints to keep.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="A YAML file with options; see docs/options.md.",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One more option.")
@click.option(
    "--launch-config",
    type=click.Choice(["ddp", "fsdp2"]),
    is_eager=True,
    expose_value=False,
    callback=_print_launch_config,
    help="Print a file for accelerate launch --config_file, and stop.",
)
def command(
    model: str,
    data: tuple[str, ...],
    out: Path,
    heldout: tuple[str, ...],
    tokens: str | None,
    steps: int | None,
    epochs: float | None,
    resume: str,
    keep: int | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Train MODEL on text of its new language, on one device or many.

    A killed run goes on where it was when the same command is given again.

    \b
      saltlm adapt llama-german --data german.txt --data english.txt=0.1 \\
        --heldout german.heldout.txt --heldout english=english.heldout.txt \\
        --tokens 100M --out llama-german-adapted
      saltlm adapt --launch-config fsdp2 > fsdp2.yaml
      accelerate launch --config_file fsdp2.yaml --num_processes 8 -m saltlm adapt MODEL ...
    """
    from saltlm.adaptation.config import load_adapt_config
    from saltlm.errors import MissingExtraError

    config = load_adapt_config(
        config_file,
        assignments,
        data=data,
        heldout=heldout,
        tokens=tokens,
        steps=steps,
        epochs=epochs,
        keep=keep,
    )
    try:
        from accelerate import PartialState

        from saltlm.adaptation.adapt import adapt
    except ModuleNotFoundError as error:
        if error.name != "accelerate":
            raise
        raise MissingExtraError("saltlm adapt", "adapt") from error
    result = adapt(model, out, resume=resume, config=config)
    if not PartialState().is_main_process:
        return
    measured = ", ".join(f"{name} {value:.3f}" for name, value in result.bits_per_byte.items())
    click.echo(f"{result.directory}: {result.n_tokens:,} tokens; bits per byte: {measured or '-'}")
