"""Files as they are stored: unpacked by their first bytes, and refused by name if not text."""

import bz2
import gzip
import importlib
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from saltlm.errors import DataError, MissingExtraError
from saltlm.files.damage import check_fetched

HEAD = 1 << 18  # bytes that decide how a file is read
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x2a\x4d\x18": "zstd",  # behind one byte: a frame to skip, which parallel zstd writes first
}


class Unpacked(NamedTuple):
    """A file's bytes, unpacked.

    Attributes:
        stream: the bytes, at their beginning.
        head: the first of them.
        packing: gzip, xz, bzip2, zstd or none.
    """

    stream: io.BufferedIOBase
    head: bytes
    packing: str | None


@contextmanager
def unpacked(path: Path) -> Iterator[Unpacked]:
    """Open a file, unpacked if it is packed, whatever its name is.

    Raises:
        DataError: it is not there but as a Git LFS pointer, cannot be read, or ends too early;
            also while it is read.
        MissingExtraError: nothing installed unpacks zstd.
    """
    try:
        check_fetched(path, DataError)
        with path.open("rb") as file:
            packing = packing_of(file.read(10))
            file.seek(0)
            with _through(file, packing, path) as stream:
                head = stream.read(HEAD)
                stream.seek(0)
                yield Unpacked(stream, head, packing)
    except Exception as error:
        if not _is_damage(error):
            raise
        raise unreadable(path, error) from error


def packing_of(head: bytes) -> str | None:
    """Return how bytes are packed, by the first ten of them."""
    for magic, packing in _MAGIC.items():
        at = 1 if magic == b"\x2a\x4d\x18" else 0
        if head[at : at + len(magic)] != magic:
            continue
        is_block = head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
        if (packing == "bzip2" and not is_block) or (at and head[0] >> 4 != 5):
            continue
        return packing
    return None


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error for a file that cannot be read to its end."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    return DataError(f"{path} cannot be read: {said}", "fetch or make it again")


def _through(file: io.BufferedIOBase, packing: str | None, path: Path) -> io.BufferedIOBase:
    if packing is None:
        return file
    if packing == "zstd":
        return cast("io.BufferedIOBase", _zstd(path).ZstdFile(file))
    unpack: dict[str, Any] = {"gzip": gzip.open, "xz": lzma.open, "bzip2": bz2.open}
    return cast("io.BufferedIOBase", unpack[packing](file, "rb"))


def _zstd(path: Path) -> Any:
    """Return Python's own module, or the same one for older Pythons."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError(f"{path} (packed by zstd)", "text")


def _is_damage(error: Exception) -> bool:
    """Whether an error says that packed bytes are damaged, or the disk that it cannot be read."""
    kinds = (OSError, EOFError, zlib.error, lzma.LZMAError)
    return isinstance(error, kinds) or type(error).__name__ == "ZstdError"
