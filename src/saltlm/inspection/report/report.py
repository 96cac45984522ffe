"""``saltlm report``: one self-contained page, or Markdown with plots, of what was saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saltlm.errors import CheckpointError, OutputError
from saltlm.files.atomic import replace_text
from saltlm.files.damage import reading
from saltlm.inspection.report.content import content_of
from saltlm.inspection.report.markdown import markdown_of
from saltlm.inspection.report.page import page_of
from saltlm.inspection.report.saved import read_saved_files


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        file: the page, or the Markdown.
        plots: SVG files beside the Markdown.
        n_bytes: of the file.
        warnings: that stand at its top.
    """

    file: Path
    plots: tuple[Path, ...]
    n_bytes: int
    warnings: tuple[str, ...]


def report(
    directories: str | Path | Sequence[str | Path], out: str | Path = "report.html"
) -> Report:
    """Write a report of what the stages have saved; no model is run.

    Args:
        directories: what transfer, adapt, compare, evaluate or demo has made, one or several. The
            vocabulary of the last model is shown; of a comparison, that of the best method.
        out: ``.html`` for one self-contained page, ``.md`` for Markdown with SVG files beside it.

    Raises:
        CheckpointError: saltlm has saved nothing there, or a file is damaged.
        OutputError: ``out`` is of another format, or cannot be written.
    """
    out = Path(out)
    if out.suffix not in (".html", ".md"):
        raise OutputError(f"--out {out} is neither .html nor .md", "saltlm report DIR --out r.html")
    several = [directories] if isinstance(directories, str | Path) else directories
    names = ", ".join(map(str, several))
    with reading(names, CheckpointError, "give the command again that wrote there"):
        content = content_of(read_saved_files([Path(one) for one in several]))
        files = {out: page_of(content)} if out.suffix == ".html" else markdown_of(content, out)
    try:
        for file, text in files.items():
            replace_text(file, text)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror}", "choose another --out"
        ) from error
    plots = tuple(file for file in files if file != out)
    return Report(out, plots, len(files[out].encode()), tuple(content.warnings))
