"""``saltlm export``."""

from pathlib import Path

import click


@click.command("export")
@click.argument("format", metavar="FORMAT", type=click.Choice(["gguf"]))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write this file.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PROBE",
    help="Write the file though these texts are tokenized otherwise; the refusal names them."
    " Repeatable.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(format: str, directory: Path, out: Path, allow: tuple[str, ...], force: bool) -> None:
    """Write a model directory in the format of another program.

    FORMAT is gguf, for llama.cpp. Before the file appears, llama.cpp's own tokenizer must give the
    same ids as tokenizer.json on 18 short texts.

    \b
      saltlm export gguf llama-german --out llama-german.gguf
    """
    from saltlm.models.gguf_export import export

    written = export(format, directory, out, allow=allow, force=force)
    by = {
        "llama.cpp": "llama.cpp's tokenizer gives the same ids as tokenizer.json",
        "fields": "the fields are those of tokenizer.json",
    }[written.checked_with]
    if written.differing:
        by += f", but for: {', '.join(written.differing)}"
    from saltlm.cli.ends import end
    from saltlm.cli.ends_runs import of_export

    click.echo(f"{written.file}: {written.dtype}, vocabulary {written.tokenizer}; {by}")
    end(of_export(written), "chat", out)
