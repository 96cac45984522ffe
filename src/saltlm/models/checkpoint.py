"""A model directory seen tensor by tensor: all of it is known, and none of it is loaded whole.

Byte ranges are parsed here because tensors are copied raw and, unless mapping is asked for, read
into memory, which keeps the peak at the tensors asked for. The safetensors library judges each
header first.
"""

import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saltlm.errors import CheckpointError
from saltlm.files.damage import check_fetched
from saltlm.files.json_object import parse_json, read_text
from saltlm.files.mapped import are_in_files, empty_table, mapped

CHUNK_BYTES = 8 * 2**20

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "F32": torch.float32,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
}
"""The safetensors name of each dtype that can be read; any other is still copied byte by byte."""

_BLOCK_NUMBERS = 2**19  # of a table that are looked at together
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies and what it is.

    Attributes:
        name: its name in the checkpoint.
        dtype: its safetensors dtype, such as ``BF16``.
        shape: its shape.
        file: the file that holds it.
        start: its first byte in a safetensors file; 0 in a ``.bin`` file.
        stop: one past its last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """The size of the data in bytes."""
        return self.stop - self.start


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a model directory.

    Attributes:
        directory: the model directory.
        tensors: every tensor by name, in the order of the shards.
        shards: the weight files' names, sorted.
        metadata: the ``__metadata__`` of the first safetensors shard.
        decoded: tensors that are not stored as such, with what makes them.
    """

    directory: Path
    tensors: dict[str, TensorEntry]
    shards: tuple[str, ...]
    metadata: dict[str, str]
    decoded: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The size of all tensors in bytes."""
        return sum(entry.nbytes for entry in self.tensors.values())

    def read(self, name: str) -> Tensor:
        """Read one tensor into fresh memory, in the file's dtype; or map it (`files.mapped`).

        Raises:
            CheckpointError: the file ends early or its dtype is unknown to torch.
        """
        entry = self.tensors[name]
        if entry.dtype not in DTYPES:
            raise CheckpointError(
                f"cannot read {name} of {entry.file}: dtype {entry.dtype} is not supported",
                "use a copy of the model whose tables are stored as BF16, F16 or F32",
            )
        if are_in_files() and entry.file.suffix != ".bin" and name not in self.decoded:
            whole = mapped(entry.file, entry.start, entry.nbytes)
            return whole.view(DTYPES[entry.dtype]).view(entry.shape)
        tensor = empty_table(entry.shape, DTYPES[entry.dtype])
        target = byte_view(tensor)
        done = 0
        for chunk in self.stream(name):
            target[done : done + len(chunk)] = chunk
            done += len(chunk)
        return tensor

    def read_rows(self, name: str, rows: Sequence[int]) -> Tensor:
        """Read some rows of a table, in the order asked for, in the file's dtype.

        Raises:
            CheckpointError: as in `read`.
        """
        entry = self.tensors[name]
        is_plain = entry.file.suffix != ".bin" and name not in self.decoded
        if not (is_plain and entry.dtype in DTYPES):
            return self.read(name)[list(rows)]
        table = torch.empty((len(rows), *entry.shape[1:]), dtype=DTYPES[entry.dtype])
        target, size = byte_view(table), entry.nbytes // max(1, entry.shape[0])
        with entry.file.open("rb") as file:
            for place, row in enumerate(rows):
                file.seek(entry.start + row * size)
                target[place * size : (place + 1) * size] = file.read(size)
        return table

    def stream(self, name: str) -> Iterator[memoryview]:
        """Yield the bytes of one tensor in chunks of `CHUNK_BYTES`; the last may be shorter.

        A chunk holds them until the next one is asked for.

        Raises:
            CheckpointError: the file ends early.
        """
        entry = self.tensors[name]
        if name in self.decoded or entry.file.suffix == ".bin":
            # Opened again for each tensor: the pages it touched are given back when it is done.
            made = self.decoded.get(name)
            data = byte_view((made() if made else _load_bin(entry.file)[name]).contiguous())
            for start in range(0, len(data), CHUNK_BYTES):
                yield data[start : start + CHUNK_BYTES]
            return
        with entry.file.open("rb") as file:
            file.seek(entry.start)
            left = entry.nbytes
            buffer = memoryview(bytearray(min(left, CHUNK_BYTES)))
            while left:
                chunk = buffer[: file.readinto(buffer[: min(left, CHUNK_BYTES)])]
                if not chunk:
                    raise CheckpointError(
                        f"{entry.file} ends {left} bytes before the end of {name}: it was cut off"
                        " or changed while it was read",
                        "fetch the file again",
                    )
                left -= len(chunk)
                yield chunk

    def sha256(self, *names: str) -> str:
        """The SHA-256 of tensors' bytes, one behind the other, in hexadecimal."""
        digest = hashlib.sha256()
        for chunk in chain.from_iterable(map(self.stream, names)):
            digest.update(chunk)
        return digest.hexdigest()

    def has_bytes_of(self, other: "Checkpoint", name: str) -> bool:
        """Tell whether a tensor is the same in another checkpoint, to the bit."""
        if self.tensors[name].nbytes != other.tensors[name].nbytes:
            return False
        return all(
            np.array_equal(np.frombuffer(ours, np.uint8), np.frombuffer(theirs, np.uint8))
            for ours, theirs in zip(self.stream(name), other.stream(name), strict=True)
        )


def byte_view(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor of any dtype as bytes, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def largest_in_rows(table: Float[Tensor, "rows w"]) -> Float[Tensor, " rows"]:
    """Return the size of each row's largest number: NaN or inf if one of them is not finite."""
    block = max(1, _BLOCK_NUMBERS // max(1, table.shape[1]))
    return torch.cat([part.abs().amax(1) for part in table.split(block)])


def dtype_name(dtype: torch.dtype) -> str:
    """The safetensors name of a torch dtype.

    Raises:
        CheckpointError: safetensors has no such dtype.
    """
    if dtype not in _DTYPE_NAMES:
        raise CheckpointError(
            f"safetensors cannot hold a tensor of dtype {dtype}",
            "use a copy of the model whose weights are stored as BF16, F16 or F32",
        )
    return _DTYPE_NAMES[dtype]


def open_checkpoint(directory: Path) -> Checkpoint:
    """List the tensors of a model directory and check that its files are whole.

    Looks for ``model.safetensors``, its index, ``pytorch_model.bin``, its index, in this order.
    Pickled files go only through torch's safe loader.

    Args:
        directory: a model directory in the Hugging Face layout.

    Returns:
        The checkpoint; no tensor is read.

    Raises:
        CheckpointError: no weights, a missing, corrupt or truncated file, an index that disagrees
            with its shards or points outside its folder, a ``.bin`` that needs unpickling.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = directory / f"{single}.index.json"
        if (directory / single).is_file():
            return _open_shards(directory, [single])
        if index.is_file():
            weight_map = _read_index(index)
            checkpoint = _open_shards(directory, sorted(set(weight_map.values())), index)
            _check_index(index, weight_map, checkpoint)
            return checkpoint
    found = sorted(
        path.name
        for path in directory.glob("*")
        if path.suffix in {".safetensors", ".bin", ".h5", ".msgpack", ".gguf", ".pt", ".pth"}
    )
    raise CheckpointError(
        f"{directory} holds neither model.safetensors nor pytorch_model.bin, nor an index of"
        f" either (other weight files there: {', '.join(found) or 'none'})",
        "load the model with transformers and save it there with save_pretrained()",
    )


def _open_shards(directory: Path, shards: list[str], index: Path | None = None) -> Checkpoint:
    tensors: dict[str, TensorEntry] = {}
    first_metadata: dict[str, str] | None = None
    for shard in shards:
        file = directory / shard
        if not file.is_file():
            raise CheckpointError(
                f"{index} names {shard}, which is not in {directory}", "fetch the missing file"
            )
        is_bin = file.suffix == ".bin"
        entries, metadata = _bin_entries(file) if is_bin else _safetensors_entries(file)
        for entry in entries:
            if entry.name in tensors:
                raise CheckpointError(
                    f"{entry.name} is in both {tensors[entry.name].file.name} and {shard}"
                    f" of {directory}",
                    "save the model again with save_pretrained()",
                )
            tensors[entry.name] = entry
        first_metadata = metadata if first_metadata is None else first_metadata
    return Checkpoint(directory, tensors, tuple(shards), first_metadata or {})


def _read_index(index: Path) -> dict[str, str]:
    try:
        weight_map = parse_json(read_text(index))["weight_map"]
        shards = [str(shard) for shard in weight_map.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is not an index of weights ({type(error).__name__}: {error})",
            "fetch the file again",
        ) from None
    for shard in shards:
        if not re.fullmatch(r"[^/\\]+\.(safetensors|bin)", shard):
            raise CheckpointError(
                f"{index} names {shard!r}, which is not a weight file in its own folder",
                "get this model from a source you trust: its index points elsewhere",
            )
    return dict(zip(weight_map, shards, strict=True))


def _check_index(index: Path, weight_map: dict[str, str], checkpoint: Checkpoint) -> None:
    held = {name: entry.file.name for name, entry in checkpoint.tensors.items()}
    for name in sorted(held.keys() | weight_map.keys()):
        if held.get(name) != weight_map.get(name):
            raise CheckpointError(
                f"{index} puts {name} in {weight_map.get(name, 'no file')},"
                f" but it is in {held.get(name, 'no file')}",
                "fetch the index and the shards again: they do not belong together",
            )


def _safetensors_entries(file: Path) -> tuple[list[TensorEntry], dict[str, str]]:
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(*_explain_corrupt(file, error)) from None
    with file.open("rb") as raw:
        (header_bytes,) = struct.unpack("<Q", raw.read(8))
        header = parse_json(raw.read(header_bytes))
    header.pop("__metadata__", None)
    data = 8 + header_bytes
    entries = [
        TensorEntry(
            name,
            item["dtype"],
            tuple(item["shape"]),
            file,
            data + item["data_offsets"][0],
            data + item["data_offsets"][1],
        )
        for name, item in header.items()
    ]
    return entries, metadata


def _explain_corrupt(file: Path, error: Exception) -> tuple[str, str]:
    check_fetched(file, CheckpointError)
    size = file.stat().st_size
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"{file} ({size} bytes) is corrupt or truncated: {reason}", "fetch the file again"


def _bin_entries(file: Path) -> tuple[list[TensorEntry], dict[str, str]]:
    entries = [
        TensorEntry(name, dtype_name(tensor.dtype), tuple(tensor.shape), file, 0, tensor.nbytes)
        for name, tensor in _load_bin(file).items()
    ]
    return entries, {}


def _load_bin(file: Path) -> dict[str, Tensor]:
    """Map a ``.bin`` file without running its pickle; torch < 1.6 files cannot be mapped."""
    try:
        state = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file} is refused by torch's safe loader: reading it could run code",
            "use a version of the model saved as safetensors",
        ) from None
    except Exception as error:  # torch lets its parsers' KeyError, EOFError, RuntimeError through
        raise CheckpointError(*_explain_corrupt(file, error)) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{file} is not a plain mapping of names to tensors",
            "save the model again with save_pretrained()",
        )
    return state
