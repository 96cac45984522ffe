"""Locks of one process at a time, which say whose they are: pid, and the boot it belongs to."""

import fcntl
import logging
import os
from pathlib import Path

_LOG = logging.getLogger(__name__)


def take(path: Path) -> int:
    """Take a lock, which the system lets go when its owner dies; return its handle.

    Raises:
        BlockingIOError: another process has it.
        OSError: the file cannot be made.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError as error:  # some network file systems have no locks
        _LOG.warning("%s cannot be locked (%s): do not start a second run into it", path, error)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {_boot()}\n".encode(), 0)
    return lock


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
    """Whether a process runs, by its pid and the boot id of its machine."""
    pid, _, boot = owner.strip().partition(" ")
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
