"""Links in a model folder: none may lead out of it, to a file that is not the model's."""

from collections.abc import Iterator
from pathlib import Path

from saltlm.errors import CheckpointError, quoted

_FOLDERS = ("saltlm", "additional_chat_templates")  # that are read beside the folder itself


def check_links(directory: Path) -> None:
    """Refuse a model folder with a link out of it; the Hub cache's own lead to its blobs.

    Raises:
        CheckpointError: a link leads elsewhere, or nowhere.
    """
    directory = directory.resolve()
    home = directory.parents[1] if directory.parent.name == "snapshots" else directory
    for path in _entries(directory):
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise CheckpointError(
                f"{path} is a link out of the model's folder, to {path.resolve()}",
                f"if you trust it, copy what it leads to: cp -rL {quoted(directory)} COPY; then"
                " give COPY",
            )


def _entries(directory: Path) -> Iterator[Path]:
    yield from directory.iterdir()
    for name in _FOLDERS:
        folder = directory / name
        if folder.is_dir() and not folder.is_symlink():
            yield from folder.iterdir()
