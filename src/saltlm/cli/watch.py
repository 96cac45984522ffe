"""``saltlm watch``."""

from pathlib import Path

import click


@click.command("watch")
@click.argument(
    "directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--port", default=8765, show_default=True, metavar="N", help="Listen on this port; 0: any."
)
def command(directories: tuple[Path, ...], port: int) -> None:
    """Show the report of a run while it grows, to this machine alone.

    DIR is what saltlm adapt writes into, or anything that saltlm report takes; it may not exist
    yet. The page shows new metrics as they come. Ctrl-C ends it.

    \b
      saltlm watch llama-german-adapted
      saltlm watch llama-german llama-german-adapted --port 9000
    """
    from saltlm.inspection.report.watch import watch

    with watch(directories, port=port) as watched:
        click.echo(f"{watched.url}  (Ctrl-C ends it)")
        watched.wait()
