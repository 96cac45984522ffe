"""Where saltlm keeps what it need not make again."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return ``saltlm/NAME`` where the system keeps caches: ``XDG_CACHE_HOME``, or ``~/.cache``.

    It may not be there yet.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "saltlm" / name
