"""Write a checkpoint like another one with a few tensors replaced, one chunk at a time.

The files are safetensors; their bytes depend on the tensors and the options alone.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saltlm.errors import OutputError
from saltlm.files.progress import progress
from saltlm.models.checkpoint import (
    CHUNK_BYTES,
    DTYPES,
    Checkpoint,
    TensorEntry,
    byte_view,
    open_checkpoint,
)
from saltlm.models.shards import header_of, plan_shards
from saltlm.models.sharing import Sharing, same_file, share

_LOG = logging.getLogger(__name__)

Replacement = Tensor | Callable[[], Tensor]
"""A new tensor, or what makes one of the old shape in its turn, so that few exist at once."""


@dataclass(frozen=True)
class TensorHashes:
    """SHA-256 of one tensor's bytes, in hexadecimal.

    Attributes:
        source: as read from the source; None if the tensor was replaced, or never read.
        written: as read back from the new file. It is the same for a tensor that was copied, and
            another for one that was converted; None if its file is the source's.
        converted_from: the source's dtype, if the new one is another; else None.
        shared: how its file is the source's, if it is.
    """

    source: str | None
    written: str | None
    converted_from: str | None = None
    shared: Sharing | None = None


def write_checkpoint(
    checkpoint: Checkpoint,
    out_dir: Path,
    replaced: Mapping[str, Replacement],
    *,
    dtype: str | None = None,
    max_shard_bytes: int | None = None,
    earlier: Path | None = None,
    may_share: bool = False,
) -> dict[str, TensorHashes]:
    """Stream all tensors of a checkpoint into new safetensors files.

    Each tensor is hashed on its way in, read back from the new file, and hashed again.

    Args:
        checkpoint: the source's weights.
        out_dir: an existing directory without weights.
        replaced: new tensors by name, or what makes them; each is stored in the dtype of the one
            that it replaces.
        dtype: safetensors name of the dtype that floating-point tensors are to have.
        max_shard_bytes: of tensors in one file; by default sharded as the source.
        earlier: what an interrupted run left. Files that hold byte for byte what is to be written
            are moved from there; the others are removed.
        may_share: take the source's own file where it holds nothing that changes; see `share`.
            Its tensors are not read, and have no hashes.

    Returns:
        The hashes of every tensor by name.

    Raises:
        OutputError: what is read back is not what was written, or a number is too large for dtype.
        CheckpointError: the source ends early.
    """
    unknown = sorted(replaced.keys() - checkpoint.tensors.keys())
    if unknown:
        raise ValueError(f"{checkpoint.directory} has no tensors {unknown} to replace")
    shapes = {name: tuple(new.shape) for name, new in replaced.items() if isinstance(new, Tensor)}
    shards = plan_shards(checkpoint, out_dir, shapes, dtype=dtype, max_bytes=max_shard_bytes)
    entries = [entry for shard in shards for entry in shard]
    if earlier is not None:
        _remove_others(earlier, {entry.file.name for entry in entries})
    hashes: dict[str, TensorHashes] = {}
    with _progress("write weights", sum(entry.nbytes for entry in entries)) as bar:
        for shard in shards:
            shared = _shared(checkpoint, shard, replaced) if may_share else {}
            hashes |= shared or _write_shard(checkpoint, shard, replaced, earlier, bar)
    if shards[0][0].file.name != "model.safetensors":
        _write_index(out_dir, entries)
    _verify(out_dir, hashes)
    return {name: hashes[name] for name in checkpoint.tensors}


def _remove_others(directory: Path, kept: set[str]) -> None:
    """Make room for what is to be written."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()


def _shared(
    checkpoint: Checkpoint, entries: list[TensorEntry], replaced: Mapping[str, Replacement]
) -> dict[str, TensorHashes]:
    """Give the source's file a second name, if it holds what is wanted; nothing if it does not."""
    old = same_file(checkpoint, entries, replaced)
    kind = None if old is None else share(old, entries[0].file)
    return {} if kind is None else {e.name: TensorHashes(None, None, shared=kind) for e in entries}


def _write_shard(
    checkpoint: Checkpoint,
    entries: list[TensorEntry],
    replaced: Mapping[str, Replacement],
    earlier: Path | None,
    bar: Any,
) -> dict[str, TensorHashes]:
    """Write one file, or take it from an earlier run if it is the same to the last byte."""
    file = entries[0].file
    hashes: dict[str, TensorHashes] = {}
    content = _content(checkpoint, entries, replaced, hashes, bar)
    if earlier is not None and (earlier / file.name).is_file():
        done = bar.n
        is_own = (earlier / file.name).stat().st_nlink == 1  # not the source's under another name
        if is_own and _holds(earlier / file.name, content):
            (earlier / file.name).rename(file)
            _LOG.info("%s is whole from an interrupted run and is kept", file.name)
            return hashes
        (earlier / file.name).unlink()
        bar.n = done
        content = _content(checkpoint, entries, replaced, hashes, bar)
    with file.open("xb") as opened:
        for chunk in content:
            opened.write(chunk)
    return hashes


def _holds(file: Path, content: Iterator[memoryview]) -> bool:
    """Tell whether a file has this content and nothing else."""
    with file.open("rb") as opened:
        return all(opened.read(len(part)) == part for part in content) and not opened.read(1)


def _content(
    checkpoint: Checkpoint,
    entries: list[TensorEntry],
    replaced: Mapping[str, Replacement],
    hashes: dict[str, TensorHashes],
    bar: Any,
) -> Iterator[memoryview]:
    """Yield the bytes of a file and enter the hash of each tensor when it is done."""
    yield memoryview(header_of(entries, checkpoint.metadata))
    for entry in entries:
        old = checkpoint.tensors[entry.name]
        read, given = hashlib.sha256(), hashlib.sha256()
        is_copied = entry.name not in replaced and entry.dtype == old.dtype
        if entry.name in replaced:
            new = replaced[entry.name]
            chunks = _blocks_as(entry, new if isinstance(new, Tensor) else new())
        elif is_copied:
            chunks = checkpoint.stream(entry.name)
        else:
            chunks = _converted(entry, old, checkpoint.stream(entry.name), read.update)
        for chunk in chunks:
            given.update(chunk)
            yield chunk
            bar.update(len(chunk))
        source = given if is_copied else read
        hashes[entry.name] = TensorHashes(
            source=None if entry.name in replaced else source.hexdigest(),
            written=given.hexdigest(),
            converted_from=None if entry.dtype == old.dtype else old.dtype,
        )


def _converted(
    entry: TensorEntry,
    old: TensorEntry,
    chunks: Iterator[memoryview],
    seen: Callable[[memoryview], None],
) -> Iterator[memoryview]:
    for chunk in chunks:
        seen(chunk)
        numbers = torch.frombuffer(bytearray(chunk), dtype=DTYPES[old.dtype])
        yield _as_dtype(entry, numbers)


def _blocks_as(entry: TensorEntry, tensor: Tensor) -> Iterator[memoryview]:
    flat = tensor.detach().contiguous().reshape(-1)
    for block in flat.split(CHUNK_BYTES // DTYPES[entry.dtype].itemsize):
        yield _as_dtype(entry, block)


def _as_dtype(entry: TensorEntry, numbers: Tensor) -> memoryview:
    if numbers.dtype == DTYPES[entry.dtype]:
        return byte_view(numbers)
    converted = numbers.to(DTYPES[entry.dtype])
    if converted.isinf().any() and (converted.isinf() & numbers.isfinite()).any():
        raise OutputError(
            f"{entry.name} has a number of size {numbers.abs().max():.4g}, but {converted.dtype}"
            f" ends at {torch.finfo(converted.dtype).max:.4g}",
            f"--dtype {'float32' if converted.dtype == torch.bfloat16 else 'bfloat16'}",
        )
    return byte_view(converted)


def _write_index(out_dir: Path, entries: list[TensorEntry]) -> None:
    index = {
        "metadata": {"total_size": sum(entry.nbytes for entry in entries)},
        "weight_map": {e.name: e.file.name for e in sorted(entries, key=lambda entry: entry.name)},
    }
    file = out_dir / "model.safetensors.index.json"
    file.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _verify(out_dir: Path, hashes: Mapping[str, TensorHashes]) -> None:
    written = open_checkpoint(out_dir)
    with _progress("check weights", written.nbytes) as bar:
        for name, entry in written.tensors.items():
            if hashes[name].shared:
                continue
            found = written.sha256(name)
            bar.update(entry.nbytes)
            if found != hashes[name].written:
                raise OutputError(
                    f"{name} was written to {entry.file} with SHA-256 {hashes[name].written}, but"
                    f" reads back as {found}",
                    "check the disk, or write to another one with --out",
                )


def _progress(what: str, total: int) -> Any:
    return progress(total=total, desc=what, unit="B", unit_scale=True)
