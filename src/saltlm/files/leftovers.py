"""Folders to write aside in, and what processes that died have left of theirs."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saltlm.files.locks import is_held, take
from saltlm.files.said import say_once

LOCK = "lock"
FRESH = "model"  # in what has a name: the half of the directory of that name
_NAMELESS = ".saltlm-partial-"  # begins what nobody can go on with
_NAMED = ".saltlm-partial"  # ends what the same command goes on with
_YOUNG = 60  # seconds within which a folder may still be without its lock

_LOG = logging.getLogger(__name__)


@contextmanager
def aside(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in another one, to be renamed or thrown away; its process holds it.

    Raises:
        OSError: it cannot be made.
    """
    remove_dead(parent)
    held = Path(tempfile.mkdtemp(prefix=_NAMELESS, dir=parent))
    lock = None
    try:
        lock = take(held / LOCK)
        (held / "new").mkdir()
        yield held / "new"
    finally:
        shutil.rmtree(held, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def temporary() -> Iterator[Path]:
    """Yield an empty folder among the system's temporary files, and remove what died there.

    Raises:
        OSError: it cannot be made.
    """
    with aside(Path(tempfile.gettempdir())) as folder:
        yield folder


def named_leftover(made: Path) -> Path:
    """Return the folder beside what is being made that the same command goes on with."""
    return made.with_name(f".{made.name}{_NAMED}")


def left_in(parent: Path) -> list[Path]:
    """Return what processes that died have left in a folder."""
    found = [*parent.glob(f"{_NAMELESS}*"), *parent.glob(f".*{_NAMED}")]
    return sorted(path for path in found if path.is_dir() and _is_dead(path))


def remove_dead(parent: Path) -> None:
    """Remove what died with its process, and name what the same command would go on with."""
    for path in left_in(parent):
        if path.name.startswith(_NAMELESS) or _is_done(path):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                _LOG.info("%s is removed: a run that was killed had left it", path)
        else:
            say_once(
                f"a run that was killed has left {path} ({size_of(path) / 1e6:.1f} MB): the same"
                " command takes it over; rm -r frees its room",
                logging.WARNING,
            )


def remove_dead_of(model: Path) -> None:
    """Remove or name what died beside a model directory, in it and among its record."""
    for place in (model.parent, model, model / "saltlm"):
        remove_dead(place)


def _is_done(path: Path) -> bool:
    """Tell whether a run had given a directory its name, and was killed while it tidied up."""
    made = path.with_name(path.name[1:].removesuffix(_NAMED))
    return made.exists() and not (path / FRESH).exists()


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all in a folder; what vanishes meanwhile is not counted."""
    total = 0
    for file in [path, *path.rglob("*")]:
        try:
            total += file.lstat().st_size if not file.is_dir() else 0
        except OSError:
            continue
    return total


def _is_dead(path: Path) -> bool:
    lock = path / LOCK
    try:
        if lock.exists() and lock.stat().st_size:  # an empty one is just being taken
            return not is_held(lock)
        return time.time() - path.stat().st_mtime > _YOUNG
    except OSError:
        return False
