"""Compressed files, opened by their first bytes and read as a stream; archives by name."""

import io
import shlex
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from saltlm.errors import AuxiliaryVectorsError, DataError, quoted
from saltlm.files.compression import packing_of, unpacked
from saltlm.files.damage import check_fetched

_TO_STDOUT = {"gzip": "gzip -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc", "zstd": "zstd -dc"}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with files, and empty
_UNREAD = (  # where the mark stands, the mark, what it is, the command that opens it
    (0, b"\x04\x22\x4d\x18", "compressed by lz4", "lz4 -d {file}"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x {file}"),
    (0, b"Rar!\x1a\x07", "a rar archive", "unrar x {file}"),
    (257, b"ustar", "a tar archive", "tar -xf {file}"),
)
_BLOCK = 2**16
_MARKS = 512  # bytes that hold every mark


@contextmanager
def opened_vectors(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading: as it is, or what gzip, bzip2, xz, zstd or zip packed into it.

    Raises:
        AuxiliaryVectorsError: it cannot be read, is damaged, a Git LFS pointer, or an archive of
            several files.
        MissingExtraError: nothing installed unpacks zstd.
    """
    try:
        check_fetched(path, AuxiliaryVectorsError)
        start = _start(path)
        _refuse_unread(path, start)
        if start.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive, archive.open(only_member(path, archive)) as file:
                yield io.BufferedReader(cast(io.RawIOBase, file), _BLOCK)
            return
        with unpacked(path) as packed:
            yield packed.stream
    except DataError as error:
        raise _unreadable(path, error.what.partition(" cannot be read: ")[2]) from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or error) from error


def is_packed(path: Path) -> bool:
    """Tell whether the file is compressed in a way that `opened_vectors` undoes."""
    start = _start(path)
    return packing_of(start) is not None or start.startswith(_ZIP)


def to_stdout(path: Path) -> str:
    """Return the shell command that prints what is in the file."""
    start = _start(path)
    command = "unzip -p" if start.startswith(_ZIP) else _TO_STDOUT.get(packing_of(start) or "")
    return f"{command or 'cat'} {shlex.quote(str(path))}"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MARKS)


def _unreadable(path: Path, reason: object) -> AuxiliaryVectorsError:
    hint = (
        "get the file again" if path.is_file() else f"see what is there: ls {quoted(path.parent)}"
    )
    return AuxiliaryVectorsError(f"cannot read the vectors {path}: {reason}", hint)


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
