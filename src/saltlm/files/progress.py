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
