"""Hashes of files and of tensors."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

_CHUNK = 8192  # rows hashed at a time


def sha256(file: Path) -> str:
    """Return the hash of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def table_hash(table: Tensor) -> str:
    """Return the hash of a tensor's bytes, as its file stores them."""
    digest = hashlib.sha256()
    for part in table.split(_CHUNK):
        digest.update(part.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
