"""Progress bars on stderr: on a terminal, for work that takes a while, unless told to be quiet."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(work: Iterable[Any] | None = None, *, is_hidden: bool = False, **settings: Any) -> Any:
    """Return tqdm over some work, or over ``total`` steps that are reported with ``update``."""
    is_quiet = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    usual = {"delay": 1, "leave": False}
    return tqdm(work, disable=is_quiet or is_hidden or None, **usual | settings)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
