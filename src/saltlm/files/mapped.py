"""Large tables in files instead of memory, where a user asks for it.

A system gives memory that is only a view of a file to whoever needs it, and reads the file again.
So what is mapped counts for nothing where memory is short, and is slow only then.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_SCRATCH: ContextVar[Path | None] = ContextVar("scratch", default=None)
_LARGE = 1 << 26  # bytes; less is not worth a file
_CPU = torch.device("cpu")


@contextmanager
def tables_in_files(scratch: Path | None) -> Iterator[None]:
    """Inside, tables are read and made in files; None changes nothing.

    Args:
        scratch: an existing folder, on the disk that has room for what is made.
    """
    token = _SCRATCH.set(scratch)
    try:
        yield
    finally:
        _SCRATCH.reset(token)


def are_in_files() -> bool:
    """Whether tables are to be in files."""
    return _SCRATCH.get() is not None


def mapped(file: Path, first: int, n_bytes: int) -> Tensor:
    """Return bytes of a file; what is written into them stays in memory."""
    view = np.memmap(file, np.uint8, mode="c", offset=first, shape=(n_bytes,))
    return torch.from_numpy(view)


def empty_table(shape: Sequence[int], dtype: torch.dtype, device: torch.device = _CPU) -> Tensor:
    """Return numbers of any value, to be filled, in a file without a name where that is asked for.

    What is to lie on another device than the CPU is in no file.

    Raises:
        OSError: there is no room for the file.
    """
    scratch, count = _SCRATCH.get(), math.prod(shape)
    if scratch is None or count * dtype.itemsize < _LARGE or device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    with tempfile.NamedTemporaryFile(dir=scratch) as file:  # its name is gone with this block
        if hasattr(os, "posix_fallocate"):  # else a full disk would end the process
            os.posix_fallocate(file.fileno(), 0, count * dtype.itemsize)
        return torch.from_file(file.name, shared=True, size=count, dtype=dtype).view(*shape)


def rows_of(table: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Return some rows of a table in another dtype, a few at a time."""
    rows = empty_table((len(ids), *table.shape[1:]), dtype, table.device)
    step = max(1, _LARGE // max(1, rows[:1].nbytes))
    for first in range(0, len(ids), step):
        part = slice(first, first + step)
        rows[part] = table[ids[part]].to(dtype)
    return rows
