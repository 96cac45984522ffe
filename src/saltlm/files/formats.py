"""Which format a file has, by its content, and the documents in it."""

import logging
from collections.abc import Iterator
from pathlib import Path

from saltlm.files.bad_rows import BadRow
from saltlm.files.binary import refuse_binary, refuse_markup, refuse_xml
from saltlm.files.characters import Characters, characters
from saltlm.files.columns import arrow_texts, parquet_texts
from saltlm.files.compression import Unpacked, unpacked
from saltlm.files.fields import field_texts
from saltlm.files.json_rows import LINES, json_lines, json_rows
from saltlm.files.markup import tmx_texts, wikipedia_texts, xml_root
from saltlm.files.plain_text import has_paragraphs, line_texts, paragraph_texts
from saltlm.files.said import say_once
from saltlm.files.source import JSON_SUFFIXES, PACKED_SUFFIXES, Source, suffix_of
from saltlm.files.tables import read_table, table_texts, text_column


def file_texts(path: Path, source: Source) -> Iterator[str | BadRow]:
    """Yield the texts of a file of any format, and what is none.

    Raises:
        DataError: the file is not text, or cannot be read.
        MissingExtraError: its format needs a library that is not installed.
    """
    with unpacked(path) as file:
        if file.head.startswith(b"PAR1"):
            _tell(path, file, "Parquet")
            yield from parquet_texts(path, file, source)
        elif file.head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
            _tell(path, file, "Arrow")
            yield from arrow_texts(path, file, source)
        else:
            refuse_binary(path, file)
            root = xml_root(file.head)
            if root == "tmx":
                _tell(path, file, "a translation memory (TMX)")
                yield from tmx_texts(path, file, source)
            elif root == "mediawiki":
                _tell(path, file, "a Wikipedia dump, an article a document")
                yield from wikipedia_texts(path, file)
            else:
                refuse_xml(path, root)
                yield from _character_texts(path, file, source)


def _character_texts(path: Path, file: Unpacked, source: Source) -> Iterator[str | BadRow]:
    found = characters(path, file, source)
    refuse_markup(path, found.head)
    suffix = suffix_of(path)
    named = (LINES, json_lines(found)) if suffix in JSON_SUFFIXES else None
    if source.layout is None and (rows := json_rows(found) or named):
        _tell(path, file, rows[0], found)
        yield from field_texts(rows[1], source, path)
    elif source.layout is None and (table := read_table(found, suffix)):
        column, table = text_column(found, table, source)
        _tell(path, file, f"a table of {table.width} columns, text in {table.name(column)}", found)
        yield from table_texts(found, table, column)
    elif source.layout == "paragraphs" or (source.layout is None and has_paragraphs(found)):
        _tell(path, file, "text, a blank line ends a document (else #layout:lines)", found)
        yield from paragraph_texts(found)
    else:
        _tell(path, file, "text, one document a line", found)
        yield from line_texts(found)


_OWN = Path(__file__).parents[1]  # texts that come with saltlm need no word


def _tell(path: Path, file: Unpacked, what: str, text: Characters | None = None) -> None:
    """Say once how a file is read, where that is not plain to see."""
    is_named = path.suffix.lower() in PACKED_SUFFIXES
    packed = f", packed by {file.packing}" if file.packing and not is_named else ""
    said = f"{what}{packed}"
    level = logging.INFO
    if text is not None and text.encoding != "utf-8":
        said += f", in {text.encoding}"
        level = logging.WARNING if text.encoding == "cp1252" else level
    if text is not None and text.end == "\r":
        said += ", with the line ends of old Macs"
    if said != "text, one document a line" and not path.is_relative_to(_OWN):
        say_once(f"{path} is read as {said}", level)
