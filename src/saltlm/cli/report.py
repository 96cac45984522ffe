"""``saltlm report``, and the report at the end of other commands."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import click

logger = logging.getLogger(__name__)


@click.command("report")
@click.argument(
    "directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    metavar="FILE",
    type=click.Path(),
    help="Write this file: .html, or .md with SVG files beside it.",
)
def command(directories: tuple[Path, ...], out: str) -> None:
    """Make one page of all results, to read, search and share.

    DIR is a directory that transfer, adapt, compare, evaluate or demo has made; several go into one
    page. No model is run. The page is one file that loads nothing from the network: the main
    numbers, sentences cut into tokens before and after, how the row of each token was made, curves
    and tables.

    \b
      saltlm report llama-german llama-german-adapted results --out german.html
      saltlm report compared --out card/report.md
    """
    from saltlm.inspection.report.report import report

    made = report(directories, out)
    click.echo(f"{made.file}: {made.n_bytes / 1e6:.1f} MB, open it in a browser")


def report_at_end(directories: Sequence[Path], out: Path, *, is_wanted: bool) -> None:
    """Write the report of what a command has made; what fails of it is told, and no more.

    Args:
        directories: as in `report`.
        out: of the report.
        is_wanted: False where the user does not want one.
    """
    if not is_wanted:
        return
    from saltlm.inspection.report.report import report

    try:
        report(directories, out)
    except Exception as error:  # the command has done its own work
        if os.environ.get("SALTLM_DEBUG"):
            raise
        logger.warning("no report was written: %s", error)
        return
    logger.info("report: %s", out)
