"""``saltlm adapt``."""

import os
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import options, report_flag, settings
from saltlm.cli.report import report_at_end


def _print_launch_config(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo((files("saltlm.adaptation") / "launch" / f"{name}.yaml").read_text(), nl=False)
        context.exit()


@click.command("adapt")
@click.argument("model", metavar="MODEL")
@options("adapt", "data", "english", "teacher")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the adapted model into this directory.",
)
@options("adapt", "heldout", "tokens", "steps", "epochs", "preset", "keep")
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="auto|never|DIR",
    help="auto: continue from the last checkpoint in --out; never: start again; DIR: continue from"
    " this checkpoint.",
)
@report_flag
@settings
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
    out: Path,
    resume: str,
    is_reported: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Train MODEL on text of its new language, on one device or many.

    After a kill, give the same command again, and it continues.

    \b
      saltlm adapt llama-german --data german.txt --english english.txt \\
        --heldout german.heldout.txt --heldout english=english.heldout.txt \\
        --tokens 100M --out llama-german-adapted
      saltlm adapt --launch-config fsdp2 > fsdp2.yaml
      accelerate launch --config_file fsdp2.yaml --num_processes 8 -m saltlm adapt MODEL ...
    """
    from saltlm.adaptation.config import load_adapt_config

    options = load_adapt_config(config, assignments, **flags)
    _tell_missing(bool(options.english) or len(options.data) > 1, bool(options.heldout))
    from saltlm.adaptation.adapt import adapt

    result = adapt(model, out, resume=resume, config=options)
    from accelerate import PartialState

    if not PartialState().is_main_process:
        return
    from saltlm.adaptation.untouched import measure_untouched
    from saltlm.cli.ends import end
    from saltlm.cli.ends_runs import of_adaptation
    from saltlm.cli.render import show
    from saltlm.cli.render_runs import adaptation_table, samples_table

    untouched = measure_untouched(result, options)
    show(adaptation_table(result, untouched))
    if result.samples:
        show(samples_table(result.samples))
    verdict, words = of_adaptation(result, untouched, model, out, options.heldout)
    report_at_end([out], out / "saltlm" / "report.html", is_wanted=is_reported)
    _tell_checkpoints(out)
    end(verdict, *words)


def _tell_missing(has_english: bool, has_heldout: bool) -> None:
    """Say beforehand what a run of hours will lack for want of a file."""
    from saltlm.cli.ends import notes

    if os.environ.get("RANK", "0") != "0":  # one of many processes
        return
    if not has_english:
        notes(["no English is in this training: --english FILE keeps more of it"])
    if not has_heldout:
        notes(["nothing will be measured: --heldout FILE names text that is not trained on"])


def _tell_checkpoints(out: Path) -> None:
    """Say how large the checkpoints are, who needs them, and how to remove them."""
    from saltlm.adaptation.run_folder import RunFolder
    from saltlm.cli.ends import notes

    folder = RunFolder(out).checkpoints
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size:
        notes(
            [
                f"checkpoints take {size / 1e9:.1f} GB; only a longer run needs them. To remove"
                f" them: rm -r {shlex.quote(str(folder))}"
            ]
        )
