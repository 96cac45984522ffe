"""``saltlm watch``."""

from pathlib import Path

import click


@click.command("watch")
@click.argument(
    "directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--port",
    default=8765,
    show_default=True,
    metavar="N",
    help="Serve the page on this port; 0: any free one.",
)
def command(directories: tuple[Path, ...], port: int) -> None:
    """Show the report of a run in a browser, while it runs.

    DIR is the --out of saltlm adapt, or anything that saltlm report takes; it need not exist yet.
    The page is for this machine alone, and shows new numbers as they come. Ctrl-C ends it.

    \b
      saltlm watch llama-german-adapted
      saltlm watch llama-german llama-german-adapted --port 9000
    """
    from saltlm.inspection.report.watch import watch

    with watch(directories, port=port) as watched:
        click.echo(f"{watched.url}  (Ctrl-C ends it)")
        watched.wait()
