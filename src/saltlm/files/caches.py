"""Where saltlm keeps what it need not make again: what lies there, and how it is cleared."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saltlm.errors import ConfigError, OutputError, quoted
from saltlm.files.leftovers import left_in, size_of

KINDS = {
    "packed": "texts as tokens, for saltlm adapt",
    "gguf": "models read from GGUF files",
    "auxiliary": "vectors that were trained on a corpus",
    "demo": "the models of saltlm demo",
}


@dataclass(frozen=True)
class CacheEntry:
    """One thing that is kept.

    Attributes:
        kind: of `KINDS`.
        path: file or folder.
        n_bytes: of it.
        days: since it was made.
        is_left: a process that was killed has left it.
    """

    kind: str
    path: Path
    n_bytes: int
    days: float
    is_left: bool


@dataclass(frozen=True, repr=False)
class Cache:
    """What is kept, or what was removed.

    Attributes:
        folder: where all of it lies.
        entries: the largest of each kind first.
        is_cleared: they were removed.
    """

    folder: Path
    entries: tuple[CacheEntry, ...]
    is_cleared: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        entries = [{**asdict(entry), "path": str(entry.path)} for entry in self.entries]
        return {"folder": str(self.folder), "entries": entries, "is_cleared": self.is_cleared}

    def __repr__(self) -> str:
        total = sum(entry.n_bytes for entry in self.entries) / 1e6
        done = ", removed" if self.is_cleared else ""
        return f"Cache({self.folder}: {len(self.entries)} entries, {total:,.1f} MB{done})"


def cache_folder(name: str) -> Path:
    """Return ``saltlm/NAME`` where the system keeps caches: ``XDG_CACHE_HOME``, or ``~/.cache``.

    It may not be there yet.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "saltlm" / name


def cache(*, clear: str | Sequence[str] = ()) -> Cache:
    """List what saltlm keeps to save time, or remove some of it; a later run makes it again.

    Args:
        clear: kinds to remove: "packed", "gguf", "auxiliary", "demo", or "all" of them.

    Returns:
        What is kept; with ``clear``, what was removed.

    Raises:
        ConfigError: there is no such kind.
        OutputError: something cannot be removed.
    """
    kinds = [clear] if isinstance(clear, str) else list(clear)
    if unknown := [kind for kind in kinds if kind not in (*KINDS, "all")]:
        raise ConfigError(f"the cache has no {unknown[0]!r}", f"it has {', '.join(KINDS)}; or all")
    wanted = [kind for kind in KINDS if not kinds or kind in kinds or "all" in kinds]
    entries = tuple(entry for kind in wanted for entry in _entries(kind))
    if kinds:
        for entry in entries:
            _remove(entry.path)
    return Cache(cache_folder("."), entries, bool(kinds))


def _entries(kind: str) -> list[CacheEntry]:
    folder = cache_folder(kind)
    if not folder.is_dir():
        return []
    left = left_in(folder)
    kept = [path for path in folder.iterdir() if not path.name.startswith(".")]
    made = [
        CacheEntry(kind, path, size_of(path), _age(path), path in left) for path in [*kept, *left]
    ]
    return sorted(made, key=lambda entry: (-entry.n_bytes, entry.path))


def _age(path: Path) -> float:
    return round(max(0.0, time.time() - path.lstat().st_mtime) / 86_400, 1)


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"{path} cannot be removed: {error.strerror}",
            f"look at its permissions: ls -ld {quoted(path)}",
        ) from error
