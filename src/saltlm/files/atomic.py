"""A new directory that appears under its name only when it is complete.

Everything is written into the hidden sibling ``.NAME.saltlm-partial``, which the lock in it keeps
for one run at a time, and renamed at the end. A killed run leaves that sibling and nothing else;
the next run into the same place may take over its weight files, and removes it.
"""

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from saltlm.errors import OutputError, quoted
from saltlm.files.leftovers import FRESH, LOCK, aside, named_leftover, remove_dead, remove_dead_of
from saltlm.files.locks import take


def replace_text(file: Path, text: str) -> None:
    """Replace a file at once: a killed run leaves the old one or the new one."""
    with aside(file.parent) as folder:
        fresh = folder / file.name
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)


_LOG = logging.getLogger(__name__)

_EARLIER = "interrupted"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@contextmanager
def new_directory(out: Path, *, force: bool, expected_bytes: int) -> Iterator[Path]:
    """Check the place, yield a hidden directory to write into, and rename it at the end.

    An exception in the body removes what was written and leaves an old `out` as it was. What a
    killed run had written is not mixed in: `left_by_killed_run` says where it is.

    Args:
        out: the directory to make.
        force: replace `out` if it is a model directory or empty.
        expected_bytes: how much will be written.

    Yields:
        The hidden directory to write into.

    Raises:
        OutputError: `out` exists, is being written by another run, or cannot be written here; the
            disk is full or read-only.
    """
    out = out.expanduser().resolve()
    _check_parent(out.parent)
    partial = named_leftover(out)
    fresh, earlier, previous = (partial / name for name in (FRESH, _EARLIER, "previous"))
    with disk_errors(out):
        lock = _lock(partial, out)
        try:
            remove_dead(out.parent)
            _restore(previous, out)
            shutil.rmtree(previous, ignore_errors=True)  # of a run killed after its last rename
            left = _set_aside(fresh, earlier)
            _check_place(out, force, expected_bytes - left)
            fresh.mkdir()
            yield fresh
            sync(fresh)
            _publish(fresh, out, previous, force)
        finally:
            _restore(previous, out)
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)


def put_back(out: Path) -> None:
    """Put back a directory that a run was killed over while it replaced it, and say so.

    Between its two renames such a run has the old directory hidden, and the new one not yet there.
    A run that still goes on keeps its lock, and is left alone.
    """
    out = out.expanduser().absolute()
    previous = named_leftover(out) / "previous"
    if out.exists() or not previous.is_dir():
        return
    try:
        lock = _lock(named_leftover(out), out)
    except OutputError:
        return
    try:
        _restore(previous, out)
        _LOG.warning("%s is put back: a run that was to replace it was killed", out)
    finally:
        os.close(lock)


def check_place(out: Path, *, force: bool) -> None:
    """Make sure that `new_directory` will accept the place, before there is much work to lose.

    Raises:
        OutputError: `out` exists, or its parent is not there or not writable.
    """
    out = out.expanduser().resolve()
    _check_parent(out.parent)
    remove_dead_of(out)
    _check_place(out, force, expected_bytes=0)


def left_by_killed_run(fresh: Path) -> Path | None:
    """Return a directory with weight files of an earlier run into the same place, whole or not.

    Args:
        fresh: what `new_directory` has yielded.
    """
    earlier = fresh.parent / _EARLIER
    return earlier if earlier.is_dir() else None


def _set_aside(fresh: Path, earlier: Path) -> int:
    """Move weight files that a killed run has left, remove its other files, return their size."""
    if fresh.is_dir():
        earlier.mkdir(exist_ok=True)
        for file in fresh.glob("*.safetensors"):
            file.replace(earlier / file.name)
        shutil.rmtree(fresh)
    return sum(file.stat().st_size for file in earlier.glob("*"))


def no_folder(folder: Path) -> OutputError:
    """Return the refusal of a folder that is not there, or that is a file."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    way = f"mkdir -p {quoted(folder)}" if nearest.is_dir() else "choose another place with --out"
    return OutputError(f"{folder} is not a directory", way)


def _check_parent(parent: Path) -> None:
    if not parent.is_dir():
        raise no_folder(parent)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{parent} is not writable", "choose another place with --out")


def _check_place(out: Path, force: bool, expected_bytes: int) -> None:
    if out.exists():
        is_model = out.is_dir() and (not any(out.iterdir()) or (out / "config.json").is_file())
        if force and not is_model:
            raise OutputError(
                f"{out} is not a model directory, so --force does not replace it",
                "choose another --out",
            )
        if not force:
            or_replace = ", or replace it with --force" if is_model else ""
            raise OutputError(f"{out} exists", f"choose another --out{or_replace}")
    free = shutil.disk_usage(out.parent).free
    if free < expected_bytes:
        raise OutputError(
            f"{out.parent} has {free / 1e9:.2f} GB free, but {expected_bytes / 1e9:.2f} GB are"
            " needed",
            "free some space, or choose another disk with --out",
        )


def _lock(partial: Path, out: Path) -> int:
    """Take the lock of the hidden directory, which the system lets go when its owner dies."""
    busy = OutputError(f"{out} is being written by another run", "wait for it, or change --out")
    partial.mkdir(exist_ok=True)
    path = partial / LOCK
    try:
        lock = take(path)
    except (BlockingIOError, FileNotFoundError):  # or the other has just removed its directory
        raise busy from None
    except OSError:
        with suppress(OSError):
            partial.rmdir()
        raise
    if not path.exists() or not os.path.samestat(os.fstat(lock), path.stat()):
        os.close(lock)
        raise busy
    return lock


def _restore(previous: Path, out: Path) -> None:
    """Put back the old directory if a run ended between moving it away and replacing it."""
    if previous.exists() and not out.exists():
        previous.rename(out)


def sync(directory: Path) -> None:
    """Wait until a directory and all that is in it are on the disk."""
    for path in [*directory.rglob("*"), directory]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _publish(fresh: Path, out: Path, previous: Path, force: bool) -> None:
    if out.exists():
        if not force:
            raise OutputError(
                f"{out} was made by someone else meanwhile", "choose another --out, or use --force"
            )
        out.rename(previous)
    fresh.rename(out)


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an `OutputError`, also when Rust code reports it."""
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        if match := re.search(r"\(os error (\d+)\)", str(error)):
            code = int(match[1])
        if code not in _DISK_ERRORS:
            raise
        free = shutil.disk_usage(out.parent).free
        raise OutputError(
            f"cannot write {out}: {os.strerror(code)} ({free / 1e9:.2f} GB free)",
            "free some space, or choose another disk with --out",
        ) from error
