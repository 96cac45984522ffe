"""Progress bars on stderr: on a terminal, for work that takes a while, unless told to be quiet."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(work: Iterable[Any] | None = None, **settings: Any) -> Any:
    """Return tqdm over some work, or over ``total`` steps that are reported with ``update``."""
    is_quiet = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(work, delay=1, leave=False, disable=is_quiet or None, **settings)
