"""What is no text: containers, documents of programs, and unknown bytes, refused by name."""

import re
import shlex
import tarfile
import zipfile
from pathlib import Path
from typing import NoReturn

from saltlm.errors import DataError
from saltlm.files.compression import Unpacked, packing_of

_KINDS = {
    b"%PDF-": "a PDF document",
    b"%!PS": "a PostScript document",
    b"\xd0\xcf\x11\xe0": "a document of an old Microsoft Office",
    b"{\\rtf": "a Rich Text document",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x04\x22\x4d\x18": "packed by lz4",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x7fELF": "a program",
    b"GGUF": "a GGUF model",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"\x1f\x9d": "packed by compress",
    **dict.fromkeys((b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"), "a Python pickle"),
}
_INSIDE = {  # of a zip
    "word/document.xml": "a Word document",
    "xl/workbook.xml": "an Excel table",
    "ppt/presentation.xml": "a PowerPoint document",
    "META-INF/container.xml": "an EPUB book",
    "content.xml": "an OpenDocument text",
}
_FORMATS = (
    "write its text into a .txt or .jsonl file and give that; docs/formats.md has what is read"
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b\x1c\x1d\x1e\x1f"))


def refuse_binary(path: Path, file: Unpacked) -> None:
    """Do nothing for what may be text.

    Raises:
        DataError: it is a container or something else that is no text, named if it is known.
    """
    head = file.head
    packed = f" inside {file.packing}" if file.packing else ""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _refuse_zip(path, packed)
    if head[257:262] == b"ustar":
        _refuse_container(path, f"a tar archive{packed}", _tar_names(path), "tarfile")
    if inner := packing_of(head):
        raise DataError(f"{path} is packed twice: {inner}{packed}", "unpack it once and give that")
    for magic, kind in _KINDS.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {kind}{packed}, not text", _FORMATS)


def refuse_bytes(path: Path, head: bytes) -> None:
    """Refuse what its encoding cannot be text in: zero bytes, and many other control bytes.

    Raises:
        DataError: the file is no text.
    """
    quoted = shlex.quote(str(path))
    n_control = len(head) - len(head.translate(None, _CONTROL))
    try:
        head[: head.rfind(b"\n") + 1].decode()
        is_utf8 = True
    except UnicodeDecodeError:
        is_utf8 = False
    if is_utf8 and 0 in head:
        raise DataError(
            f"{path} has {head.count(0)} zero bytes in its first {len(head):,} bytes",
            f"if it is text, take them out: tr -d '\\000' < {quoted} > {quoted}.clean",
        )
    if 0 in head or (not is_utf8 and n_control > 0.01 * len(head)):
        begin = head[:8].hex(" ")
        raise DataError(f"{path} is not text: unknown bytes that begin with {begin}", _FORMATS)


def refuse_markup(path: Path, head: str) -> None:
    """Refuse text that is the packaging of text.

    Raises:
        DataError: it is HTML, WARC, CoNLL-U, or a file of subtitles or of a program's messages.
    """
    head = head[:4096].lstrip()
    quoted = shlex.quote(str(path))
    if head.startswith("WARC/"):
        raise DataError(
            f"{path} is a WARC or WET archive of web pages",
            'write the texts of its records as {"text": ...}, one a line, into a .jsonl file',
        )
    if re.match(r"<!doctype html|<html\b", head, re.IGNORECASE):
        raise DataError(f"{path} is an HTML page", "save its text as a .txt file and give that")
    if re.match(r"<doc id=", head):
        raise DataError(
            f"{path} is the output of WikiExtractor",
            f"take the marks away: sed -E 's|^</?doc.*||' {quoted} > {quoted}.txt",
        )
    if re.search(r"^# text = ", head, re.MULTILINE) and re.search(
        r"^\d+(?:\t[^\t\n]*){9}$", head, re.MULTILINE
    ):
        raise DataError(
            f"{path} is a treebank in CoNLL-U",
            f"take its sentences: sed -n 's/^# text = //p' {quoted} > {quoted}.txt",
        )
    if len(re.findall(r"^(?:\d+:)?\d\d:\d\d[,.]\d{3} +--> ", head, re.MULTILINE)) > 1:
        raise DataError(
            f"{path} is a file of subtitles",
            f"take its lines: sed -E '/^([0-9]*\\r?$|WEBVTT|.*-->)/d' {quoted} > {quoted}.txt",
        )
    if all(re.search(rf'^{word} "', head, re.MULTILINE) for word in ("msgid", "msgstr")):
        raise DataError(
            f"{path} holds a program's messages and their translations (gettext)",
            'write the texts behind msgstr as {"text": ...}, one a line, into a .jsonl file',
        )


def refuse_xml(path: Path, root: str | None) -> None:
    """Refuse XML that is none of the kinds which are read.

    Raises:
        DataError: it is.
    """
    if root is not None:
        kind = "an HTML page" if root.lower() == "html" else f"XML of an unknown kind (<{root}>)"
        raise DataError(f"{path} is {kind}", _FORMATS)


def _refuse_zip(path: Path, packed: str) -> NoReturn:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    for name, kind in _INSIDE.items():
        if name in names:
            raise DataError(f"{path} is {kind}, not text", _FORMATS)
    _refuse_container(path, f"a zip archive{packed}", names, "zipfile")


def _refuse_container(path: Path, kind: str, names: list[str], module: str) -> NoReturn:
    quoted = shlex.quote(str(path))
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise DataError(
        f"{path} is {kind}" + (f" with {shown}" if names else ""),
        f"unpack it, and give what you want of it: python -m {module} -e {quoted} {quoted}.d",
    )


def _tar_names(path: Path) -> list[str]:
    try:
        with tarfile.open(path) as archive:
            return [member.name for member, _ in zip(archive, range(6), strict=False)]
    except (OSError, tarfile.TarError):
        return []
