"""Weight files that a new model shares with its source, where the disk can do so.

A reflink is a copy that takes no room until one side is written to; a hard link is the same file
under two names. saltlm writes no weight file in place: it writes aside and renames, so neither side
changes with the other.
"""

import fcntl
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from saltlm.models.checkpoint import Checkpoint, TensorEntry

Sharing = Literal["reflink", "hard link"]

_FICLONE = 0x40049409  # of Linux: btrfs, XFS and others


def share(file: Path, place: Path) -> Sharing | None:
    """Give a file a second name; None where the disk cannot, or both are not on one.

    Args:
        file: that is there; of a symbolic link, what it leads to.
        place: where nothing is yet.
    """
    file = file.resolve()
    try:
        with file.open("rb") as old, place.open("xb") as new:
            fcntl.ioctl(new, _FICLONE, old.fileno())
        return "reflink"
    except OSError:
        place.unlink(missing_ok=True)
    try:
        os.link(file, place)
    except OSError:
        return None
    return "hard link"


def same_file(
    checkpoint: Checkpoint, entries: Iterable[TensorEntry], replaced: Collection[str]
) -> Path | None:
    """Return the file of a checkpoint that holds just these tensors; None if none does.

    Args:
        checkpoint: the source's.
        entries: what a new file is to hold.
        replaced: tensors that get other values.
    """
    wanted = {entry.name: (entry.dtype, entry.shape) for entry in entries}
    files = {checkpoint.tensors[name].file for name in wanted}
    if len(files) != 1 or not wanted.keys().isdisjoint({*replaced, *checkpoint.decoded}):
        return None
    (file,) = files
    held = {
        entry.name: (entry.dtype, entry.shape)
        for entry in checkpoint.tensors.values()
        if entry.file == file
    }
    return file if held == wanted and file.suffix == ".safetensors" else None
