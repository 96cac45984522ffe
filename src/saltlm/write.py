"""Write a checkpoint like another one with a few tensors replaced, one chunk at a time.

The files are safetensors, sharded as the source was; their bytes depend on the tensors alone.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from saltlm.checkpoint import (
    CHUNK_BYTES,
    DTYPES,
    Checkpoint,
    TensorEntry,
    byte_view,
    open_checkpoint,
)
from saltlm.errors import OutputError


@dataclass(frozen=True)
class TensorHashes:
    """SHA-256 of one tensor's bytes, in hexadecimal.

    Attributes:
        source: as read from the source; None if the tensor was replaced.
        written: as read back from the new file.
    """

    source: str | None
    written: str


def write_checkpoint(
    checkpoint: Checkpoint, out_dir: Path, replaced: dict[str, Tensor]
) -> dict[str, TensorHashes]:
    """Stream all tensors of a checkpoint into new safetensors files.

    Each tensor is hashed on its way in, read back from the new file, and hashed again.

    Args:
        checkpoint: the source's weights.
        out_dir: an existing directory without weights.
        replaced: new tensors by name; each is stored in the dtype of the one it replaces.

    Returns:
        The hashes of every tensor by name.

    Raises:
        OutputError: what is read back is not what was written.
        CheckpointError: the source ends early.
    """
    unknown = sorted(replaced.keys() - checkpoint.tensors.keys())
    if unknown:
        raise ValueError(f"{checkpoint.directory} has no tensors {unknown} to replace")
    shards = {
        shard: _lay_out(checkpoint, shard, out_dir / _safetensors_name(shard), replaced)
        for shard in checkpoint.shards
    }
    given: dict[str, str] = {}
    total = sum(entry.nbytes for entries in shards.values() for entry in entries)
    with _progress("write weights", total) as bar:
        for entries in shards.values():
            given |= _write_shard(checkpoint, entries, replaced, bar)
    if [_safetensors_name(shard) for shard in shards] != ["model.safetensors"]:
        _write_index(out_dir, [entry for entries in shards.values() for entry in entries])
    written = _verify(out_dir, given)
    return {
        name: TensorHashes(None if name in replaced else given[name], written[name])
        for name in checkpoint.tensors
    }


def _safetensors_name(shard: str) -> str:
    if shard.endswith(".safetensors"):
        return shard
    return shard.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"


def _lay_out(
    checkpoint: Checkpoint, shard: str, file: Path, replaced: dict[str, Tensor]
) -> list[TensorEntry]:
    """The entries of a new shard, widest dtype first so that every tensor stays aligned."""
    sized = []
    for name, old in checkpoint.tensors.items():
        if old.file.name != shard:
            continue
        shape, nbytes = old.shape, old.nbytes
        if name in replaced:
            shape = tuple(replaced[name].shape)
            nbytes = math.prod(shape) * DTYPES[old.dtype].itemsize
        width = nbytes / max(1, math.prod(shape))
        sized.append((-width, name, old.dtype, shape, nbytes))
    entries, start = [], 0
    for _, name, dtype, shape, nbytes in sorted(sized):
        entries.append(TensorEntry(name, dtype, shape, file, start, start + nbytes))
        start += nbytes
    return entries


def _write_shard(
    checkpoint: Checkpoint,
    entries: list[TensorEntry],
    replaced: dict[str, Tensor],
    bar: "tqdm[None]",
) -> dict[str, str]:
    """Write one file and return the hash of each tensor as it came in."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **checkpoint.metadata}}
    for entry in entries:
        header[entry.name] = {
            "dtype": entry.dtype,
            "shape": entry.shape,
            "data_offsets": (entry.start, entry.stop),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    hashes = {}
    with entries[0].file.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in entries:
            digest = hashlib.sha256()
            if entry.name in replaced:
                chunks = _stream_as(replaced[entry.name], entry.dtype)
            else:
                chunks = checkpoint.stream(entry.name)
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
            hashes[entry.name] = digest.hexdigest()
    return hashes


def _stream_as(tensor: Tensor, dtype: str) -> Iterator[memoryview]:
    flat = tensor.detach().contiguous().reshape(-1)
    for block in flat.split(CHUNK_BYTES // DTYPES[dtype].itemsize):
        yield byte_view(block.to(DTYPES[dtype]))


def _write_index(out_dir: Path, entries: list[TensorEntry]) -> None:
    index = {
        "metadata": {"total_size": sum(entry.nbytes for entry in entries)},
        "weight_map": {e.name: e.file.name for e in sorted(entries, key=lambda entry: entry.name)},
    }
    file = out_dir / "model.safetensors.index.json"
    file.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _verify(out_dir: Path, given: dict[str, str]) -> dict[str, str]:
    written = open_checkpoint(out_dir)
    hashes = {}
    with _progress("check weights", written.nbytes) as bar:
        for name, entry in written.tensors.items():
            hashes[name] = written.sha256(name)
            bar.update(entry.nbytes)
            if hashes[name] != given.get(name):
                raise OutputError(
                    f"{name} was written to {entry.file} with SHA-256 {given.get(name)}, but reads"
                    f" back as {hashes[name]}",
                    "check the disk, or write to another one with --out",
                )
    return hashes


def _progress(what: str, total: int) -> "tqdm[None]":
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False, disable=None)
