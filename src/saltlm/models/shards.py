"""Which tensor of a new checkpoint goes where, and in how many files."""

import dataclasses
import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from saltlm.models.checkpoint import DTYPES, Checkpoint, TensorEntry

_CONVERTIBLE = ("F16", "BF16", "F32", "F64")  # not packed numbers, nor integers


def plan_shards(
    checkpoint: Checkpoint,
    out_dir: Path,
    new_shapes: Mapping[str, tuple[int, ...]],
    *,
    dtype: str | None = None,
    max_bytes: int | None = None,
) -> list[list[TensorEntry]]:
    """Return the entries of each file to be written, in the order of their data.

    Args:
        checkpoint: the source's weights.
        out_dir: where the files will be.
        new_shapes: of the tensors that are replaced.
        dtype: what floating-point tensors become, by its safetensors name; None leaves them.
        max_bytes: of tensors in one file, unless a single one is larger; None keeps together what
            the source keeps together.
    """
    changed = [_changed(entry, new_shapes, dtype) for entry in checkpoint.tensors.values()]
    if max_bytes is None:
        groups = [[e for e in changed if e.file.name == shard] for shard in checkpoint.shards]
        files = [_safetensors_name(shard) for shard in checkpoint.shards]
    else:
        groups = _filled(changed, max_bytes)
        files = [f"model-{i + 1:05}-of-{len(groups):05}.safetensors" for i in range(len(groups))]
        if len(files) == 1:
            files = ["model.safetensors"]
    return [_laid_out(group, out_dir / file) for group, file in zip(groups, files, strict=True)]


def planned_bytes(
    checkpoint: Checkpoint, new_shapes: Mapping[str, tuple[int, ...]], dtype: str | None
) -> int:
    """Return how large all tensors will be; the arguments are those of `plan_shards`."""
    return sum(_changed(entry, new_shapes, dtype).nbytes for entry in checkpoint.tensors.values())


def header_of(entries: Iterable[TensorEntry], metadata: Mapping[str, str]) -> bytes:
    """Return what stands before the data of a safetensors file."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    for entry in entries:
        header[entry.name] = {
            "dtype": entry.dtype,
            "shape": entry.shape,
            "data_offsets": (entry.start, entry.stop),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _changed(
    old: TensorEntry, new_shapes: Mapping[str, tuple[int, ...]], dtype: str | None
) -> TensorEntry:
    """Return an entry with its new dtype, shape and size, still in its old file."""
    kind = dtype if dtype is not None and old.dtype in _CONVERTIBLE else old.dtype
    shape = new_shapes.get(old.name, old.shape)
    if (kind, shape) == (old.dtype, old.shape):  # of any dtype, also one unknown to torch
        return dataclasses.replace(old, start=0, stop=old.nbytes)
    size = math.prod(shape) * DTYPES[kind].itemsize
    return dataclasses.replace(old, dtype=kind, shape=shape, start=0, stop=size)


def _filled(entries: Iterable[TensorEntry], max_bytes: int) -> list[list[TensorEntry]]:
    """Fill one file after the other, in the source's order."""
    groups: list[list[TensorEntry]] = [[]]
    room = max_bytes
    for entry in entries:
        if entry.nbytes > room and groups[-1]:
            groups.append([])
            room = max_bytes
        groups[-1].append(entry)
        room -= entry.nbytes
    return groups


def _laid_out(entries: Iterable[TensorEntry], file: Path) -> list[TensorEntry]:
    """Return the entries of one file, widest dtype first so that every tensor stays aligned."""

    def width(entry: TensorEntry) -> float:
        return entry.nbytes / max(1, math.prod(entry.shape))

    placed, start = [], 0
    for entry in sorted(entries, key=lambda entry: (-width(entry), entry.name)):
        stop = start + entry.nbytes
        placed.append(dataclasses.replace(entry, file=file, start=start, stop=stop))
        start = stop
    return placed


def _safetensors_name(shard: str) -> str:
    if shard.endswith(".safetensors"):
        return shard
    return shard.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"
