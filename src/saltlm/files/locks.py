"""Locks of one process at a time, which say whose they are: pid, boot and machine."""

import fcntl
import logging
import os
import time
from pathlib import Path

from saltlm.files.said import say_once

_LOOK = 0.05  # seconds, longer than `is_held` has a lock


def take(path: Path) -> int:
    """Take a lock, which the system lets go when its owner dies; return its handle.

    Raises:
        BlockingIOError: another process has it.
        OSError: the file cannot be made.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(lock, path)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {_boot()} {os.uname().nodename}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(lock: int, path: Path) -> None:
    for is_last in (False, True):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if is_last:
                raise
            time.sleep(_LOOK)  # somebody may only have looked whether it is held
        except OSError as error:  # some network file systems have no locks
            say_once(
                f"nothing in {path.parent.parent} can be locked ({error}): do not start a second"
                " run into it",
                logging.WARNING,
            )
            return


def is_held(path: Path) -> bool:
    """Whether the process that took a lock still runs; its file may be gone."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return _runs(os.pread(lock, 200, 0).decode(errors="replace"))
    finally:
        os.close(lock)
    return False


def _runs(owner: str) -> bool:
    """Whether a process runs, by its pid and its machine's boot id; on another nobody knows."""
    pid, boot, machine = [*owner.split(), "", "", ""][:3]
    if machine not in ("", os.uname().nodename):
        return True
    if boot != _boot() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _boot() -> str:
    """Return what names this start of this machine; the machine's name where no system says."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename
