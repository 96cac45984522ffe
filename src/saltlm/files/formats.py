"""Which format a file has, by its content, and the documents in it."""

import logging
from collections.abc import Iterator
from pathlib import Path

from saltlm.files.bad_rows import BadRow
from saltlm.files.binary import refuse_binary, refuse_markup
from saltlm.files.characters import Characters, characters
from saltlm.files.columns import arrow_texts, parquet_texts
from saltlm.files.compression import Opened, opened
from saltlm.files.fields import field_texts
from saltlm.files.json_rows import SUFFIXES, is_json_array, is_json_lines, json_array, json_lines
from saltlm.files.plain_text import has_paragraphs, line_texts, paragraph_texts
from saltlm.files.source import Source

logger = logging.getLogger(__name__)

_PACKED = frozenset((".gz", ".xz", ".bz2", ".zst"))
_told: set[tuple[Path, str]] = set()


def file_texts(path: Path, source: Source) -> Iterator[str | BadRow]:
    """Yield the texts of a file of any format, and what is none.

    Raises:
        DataError: the file is not text, or cannot be read.
        MissingExtraError: its format needs a library that is not installed.
    """
    with opened(path) as file:
        if file.head.startswith(b"PAR1"):
            _tell(path, file, "Parquet")
            yield from parquet_texts(path, file, source)
        elif file.head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
            _tell(path, file, "Arrow")
            yield from arrow_texts(path, file, source)
        else:
            refuse_binary(path, file)
            yield from _character_texts(path, file, source)


def _character_texts(path: Path, file: Opened, source: Source) -> Iterator[str | BadRow]:
    found = characters(path, file, source)
    refuse_markup(path, found.head)
    suffix = suffix_of(path)
    if source.layout is None and is_json_array(found.head):
        _tell(path, file, "a JSON array", found)
        yield from field_texts(json_array(found), source, path)
    elif source.layout is None and (suffix in SUFFIXES or is_json_lines(found.head)):
        _tell(path, file, "JSON, one value a line", found)
        yield from field_texts(json_lines(found), source, path)
    elif source.layout == "paragraphs" or (source.layout is None and has_paragraphs(found)):
        _tell(path, file, "text, a blank line ends a document (else #layout:lines)", found)
        yield from paragraph_texts(found)
    else:
        _tell(path, file, "text, one document a line", found)
        yield from line_texts(found)


def suffix_of(path: Path) -> str:
    """Return the suffix that says what is in a file, packed or not."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _tell(path: Path, file: Opened, what: str, text: Characters | None = None) -> None:
    """Say once how a file is read, where that is not plain to see."""
    packed = f", packed by {file.packing}" if file.packing else ""
    said = f"{what}{packed}"
    level = logging.INFO
    if text is not None and text.encoding != "utf-8":
        said += f", in {text.encoding}"
        level = logging.WARNING if text.encoding == "cp1252" else level
    if text is not None and text.end == "\r":
        said += ", with the line ends of old Macs"
    if said != "text, one document a line" and (path, said) not in _told:
        _told.add((path, said))
        logger.log(level, "%s is read as %s", path, said)
