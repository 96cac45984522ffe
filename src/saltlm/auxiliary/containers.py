"""Compressed files, opened by their first bytes and read as a stream; archives by name."""

import bz2
import gzip
import io
import lzma
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from saltlm.errors import AuxiliaryVectorsError

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_TO_STDOUT = {b"\x1f\x8b": "gzip -dc", b"BZh": "bzip2 -dc", b"\xfd7zXZ\0": "xz -dc"}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with files, and empty
_UNREAD = (  # where the mark stands, the mark, what it is, the command that opens it
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -d {file}"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4", "lz4 -d {file}"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x {file}"),
    (0, b"Rar!\x1a\x07", "a rar archive", "unrar x {file}"),
    (257, b"ustar", "a tar archive", "tar -xf {file}"),
)
_BLOCK = 2**16
_MARKS = 512  # bytes that hold every mark


@contextmanager
def opened_vectors(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading: as it is, or what gzip, bzip2, xz or zip packed into it.

    Raises:
        AuxiliaryVectorsError: it cannot be read, is damaged, or is an archive of several files.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_MARKS)
        _refuse_unread(path, start)
        if start.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive, archive.open(only_member(path, archive)) as file:
                yield io.BufferedReader(cast(io.RawIOBase, file), _BLOCK)
            return
        opener = next((_OPENERS[mark] for mark in _OPENERS if start.startswith(mark)), open)
        with opener(path, "rb") as file:
            yield file if opener is open else io.BufferedReader(file, _BLOCK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        hint = "get the file again" if path.is_file() else f"see what is there: ls {path.parent}"
        raise AuxiliaryVectorsError(f"cannot read the vectors {path}: {reason}", hint) from error


def is_packed(path: Path) -> bool:
    """Tell whether the file is compressed in a way that `opened_vectors` undoes."""
    with path.open("rb") as file:
        return file.read(8).startswith((*_OPENERS, *_ZIP))


def to_stdout(path: Path) -> str:
    """Return the shell command that prints what is in the file."""
    with path.open("rb") as file:
        start = file.read(8)
    name = shlex.quote(str(path))
    if start.startswith(_ZIP):
        return f"unzip -p {name}"
    commands = [_TO_STDOUT[mark] for mark in _TO_STDOUT if start.startswith(mark)]
    return f"{[*commands, 'cat'][0]} {name}"


def python_command(code: str) -> str:
    """Return the shell command that runs a line of Python."""
    return f"python -c {shlex.quote(code)}" if set(code) & set('"$`\\!') else f'python -c "{code}"'


def only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file of a zip archive.

    Raises:
        AuxiliaryVectorsError: it holds none, several, or one with a password.
    """
    members = [
        entry
        for entry in archive.infolist()
        if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
    ]
    name = shlex.quote(str(path))
    if len(members) != 1:
        names = ", ".join(entry.filename for entry in members[:6])
        chosen = shlex.quote(members[0].filename) if members else "FILE"
        raise AuxiliaryVectorsError(
            f"{path} is a zip archive of {len(members)} files ({names})",
            f"take one out and name it, such as: unzip -p {name} {chosen} > vectors.vec",
        )
    if members[0].flag_bits & 1:
        raise AuxiliaryVectorsError(f"{path} is a zip archive with a password", f"unzip {name}")
    return members[0]


def _refuse_unread(path: Path, start: bytes) -> None:
    for place, mark, what, command in _UNREAD:
        if start[place : place + len(mark)] == mark:
            raise AuxiliaryVectorsError(
                f"{path} is {what}, which saltlm does not open",
                "unpack it and name the file inside: "
                + command.format(file=shlex.quote(str(path))),
            )


def beginning(path: Path, size: int) -> bytes:
    """Return the first bytes of what is in the file.

    Raises:
        AuxiliaryVectorsError: as `opened_vectors`; or what is packed inside is an archive itself.
    """
    with opened_vectors(path) as file:
        start = read_up_to(file, size)
    if is_packed(path):
        _refuse_unread(path, start)
    return start


def read_up_to(file: io.BufferedIOBase, size: int) -> bytes:
    """Read until there are ``size`` bytes or no more; a packed stream may give fewer at a time."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
