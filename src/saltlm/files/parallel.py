"""Sentences and their translations, in whatever file they come."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from saltlm.errors import DataError
from saltlm.files.bad_rows import BadRow, checked, good_rows
from saltlm.files.binary import refuse_binary, refuse_markup, refuse_xml
from saltlm.files.characters import Characters, characters
from saltlm.files.columns import parquet_rows
from saltlm.files.compression import unpacked
from saltlm.files.json_rows import json_rows
from saltlm.files.markup import tmx_units, xml_root
from saltlm.files.said import say_once
from saltlm.files.source import Source, suffix_of
from saltlm.files.tables import TextTable, column_number, read_table, table_rows

_ENGLISH = ("english", "en", "eng")  # then the first side of a pair, as corpora call it
_WRITE_PAIRS = (
    "write English, a tab and the translation into each line, or give two files:"
    " ENGLISH,TRANSLATIONS"
)
_FIRST = ("source", "src", "sentence1", "premise")
_LOOKED_AT = 200  # pairs
_COMMON = frozenset(
    ("the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "as", "with")
    + ("be", "this", "not", "you", "a", "have", "i", "at", "by", "from", "they", "we", "he", "she")
)

Fields = tuple[str, dict[str, Any]] | BadRow


class _Row(NamedTuple):
    """A place, its two texts, and whether it is known which is English."""

    place: str
    first: str
    second: str
    is_known: bool


class SentencePair(NamedTuple):
    """An English sentence and its translation into the target language."""

    english: str
    target: str


def pairs(file: str | Path) -> Iterator[SentencePair]:
    """Yield the pairs of a file: a table (English first, or named), JSON, Parquet, TMX; or of two.

    Two files with a sentence a line are written ``english.txt,german.txt``. Numbers, codes of
    languages, licences and a header are noticed and left out; sides that are swapped are turned. A
    pair whose sentences are the same, and one of which a sentence has occurred before, are left
    out: what is its translation could not be told.

    Raises:
        DataError: the file cannot be read, its sides cannot be told, or too many rows are no pair.
    """
    source = Source.parse(file)
    seen: set[str] = set()
    for pair in good_rows(source, _turned(_rows(source), source)):
        if pair.english != pair.target and not seen.intersection(pair):
            seen.update(pair)
            yield pair


def first_pairs(file: str | Path, n: int) -> list[SentencePair]:
    """Return the first pairs of a file, `n` or fewer.

    Raises:
        DataError: there are fewer than two, or as in `pairs`.
    """
    found = list(islice(pairs(file), n))
    if len(found) < min(n, 2):
        raise DataError(
            f"{file} has {len(found)} usable pairs: too few to tell a translation from others",
            "give a file with more",
        )
    return found


def _rows(source: Source) -> Iterator[_Row | BadRow]:
    """Yield place, first and second text of each row, and whether the sides are known."""
    two = source.place.split(",")
    if not Path(source.place).exists() and len(two) == 2:
        yield from _side_by_side(*(replace(source, place=place) for place in two))
        return
    for path in source.files():
        yield from _rows_of(path, source)


def _rows_of(path: Path, source: Source) -> Iterator[_Row | BadRow]:
    with unpacked(path) as file:
        if file.head.startswith(b"PAR1"):
            yield from _fields(parquet_rows(path, file), source, path)
            return
        refuse_binary(path, file)
        root = xml_root(file.head)
        if root == "tmx":
            yield from _fields(tmx_units(path, file), source, path)
            return
        refuse_xml(path, root)
        text = characters(path, file, source)
        refuse_markup(path, text.head)
        if (rows := json_rows(text)) is not None:
            yield from _fields(rows[1], source, path)
            return
        yield from _table_rows(text, source)


def _table_rows(text: Characters, source: Source) -> Iterator[_Row | BadRow]:
    path = text.path
    table = read_table(text, ".csv" if suffix_of(path) == ".csv" else ".tsv")
    if table is None or table.width < 2:
        raise DataError(
            f"{path} is not in columns",
            _WRITE_PAIRS,
        )
    english, target = _columns_of(text, table, source)
    is_known = source.english is not None or source.target is not None
    if table.header is not None:
        say_once(f"{path}: the first row is a header: {', '.join(table.header)}")
        is_known = is_known or table.header[english].lower() in _ENGLISH
    if table.width > 2:
        both = f"{table.name(english)} and {table.name(target)}"
        say_once(f"{path}: of {table.width} columns, {both} are the pairs")
    for row in table_rows(text, table):
        if isinstance(row, BadRow):
            yield row
        else:
            yield _Row(row[0], row[1][english], row[1][target], is_known)


def _columns_of(text: Characters, table: TextTable, source: Source) -> tuple[int, int]:
    """Return which columns hold the English side and the other."""
    texts = table.texts(2)
    if table.header is not None:
        names = [table.header[column].lower() for column in texts]
        english = [column for column, name in zip(texts, names, strict=True) if name in _ENGLISH]
        texts = english[:1] + [column for column in texts if column not in english[:1]]
    if source.english is not None:
        named = column_number(table, source.english, text)
        texts = [named, *(column for column in texts if column != named)]
    if source.target is not None:
        named = column_number(table, source.target, text)
        texts = [*[column for column in texts if column != named][:1], named]
    if len(texts) != 2:
        columns = "column" if len(texts) == 1 else "columns"
        shown = ", ".join(table.name(column) for column in texts) or "none"
        raise DataError(
            f"{text.path} has {len(texts)} {columns} of text, not two: {shown}",
            f"say which to read: {source.with_options(english='1', target='2')}"
            if len(texts) > 2
            else _WRITE_PAIRS,
        )
    return texts[0], texts[1]


def _fields(rows: Iterable[Fields], source: Source, path: Path) -> Iterator[_Row | BadRow]:
    """Yield the two texts of rows with fields, or of what a field ``translation`` holds."""
    rows = iter(rows)
    first = [_inner(row) for row in islice(rows, _LOOKED_AT)]
    names = Counter(
        name
        for row in first
        if not isinstance(row, BadRow)
        for name, value in row[1].items()
        if isinstance(value, str)
    )
    english, target = _names_of(list(names), source, path)
    for row in chain(first, map(_inner, rows)):
        if isinstance(row, BadRow):
            yield row
        else:
            sides = [str(row[1].get(name) or "") for name in (english, target)]
            yield _Row(row[0], sides[0], sides[1], english not in _FIRST)


def _inner(row: Fields) -> tuple[str, dict[str, Any]] | BadRow:
    if isinstance(row, BadRow):
        return row
    place, content = row
    if isinstance(content, dict) and isinstance(content.get("translation"), dict):
        content = content["translation"]
    return (place, content) if isinstance(content, dict) else BadRow(place, "no fields")


def _names_of(names: Sequence[str], source: Source, path: Path) -> tuple[str, str]:
    lowered = {name.lower().replace("_", "-").partition("-")[0]: name for name in names}
    known = [lowered[name] for name in (*_ENGLISH, *_FIRST) if name in lowered]

    def meant(wanted: str) -> str | None:
        """Return the field of that name, or of that language: en also stands for en-US."""
        return wanted if wanted in names else lowered.get(wanted.lower())

    english = meant(source.english) if source.english else next(iter(known), None)
    others = [name for name in names if name != english and name.lower() not in ("id", "url")]
    only = others[0] if len(others) == 1 else None
    target = meant(source.target) if source.target else only
    if english is None or target is None:
        shown = ", ".join(names) or "no field with text"
        first = [name for name in (english, *known) if name][:1]
        proposed = [*first, *(name for name in others if name not in first), "NAME", "NAME"]
        raise DataError(
            f"{path} does not say which of its fields are the two sides of a pair: {shown}",
            f"name them: {source.with_options(english=proposed[0], target=proposed[1])}",
        )
    return english, target


def _side_by_side(english: Source, target: Source) -> Iterator[_Row | BadRow]:
    """Yield the lines of two files, which belong together by their numbers."""
    ((first,), (second,)) = (list(side.files()) for side in (english, target))
    with unpacked(first) as left, unpacked(second) as right:
        for path, file in ((first, left), (second, right)):
            refuse_binary(path, file)
        texts = characters(first, left, english), characters(second, right, target)
        both = zip_longest(texts[0].lines(), texts[1].lines())
        for number, (one, other) in enumerate(both, 1):
            if one is None or other is None:
                short, long = (first, second) if one is None else (second, first)
                raise DataError(
                    f"{short} has {number - 1} lines, and {long} more",
                    "give two files whose lines are translations of each other",
                )
            yield _Row(f"line {number}", one, other, False)


def _turned(rows: Iterator[_Row | BadRow], source: Source) -> Iterator[SentencePair | BadRow]:
    """Yield the pairs, the English side first, also where it came second."""
    first = list(islice(rows, _LOOKED_AT))
    sides = [row for row in first if not isinstance(row, BadRow)]
    is_known = any(row.is_known for row in sides)
    left = _share_of_english(row.first for row in sides)
    right = _share_of_english(row.second for row in sides)
    is_swapped = not is_known and right > 0.05 and right > 3 * left
    if is_swapped:
        say_once(
            f"{source.name}: English stands second ({right:.0%} of its words are common English"
            f" ones, of the first side's {left:.0%}); the sides are read the other way round",
            logging.WARNING,
        )
    for row in chain(first, rows):
        if isinstance(row, BadRow):
            yield row
            continue
        both = (row.second, row.first) if is_swapped else (row.first, row.second)
        texts = [checked(row.place, text) for text in both]
        bad = [text for text in texts if isinstance(text, BadRow)]
        yield bad[0] if bad else SentencePair(str(texts[0]), str(texts[1]))


def _share_of_english(texts: Iterable[str]) -> float:
    words = [word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())]
    return sum(word in _COMMON for word in words) / max(1, len(words))
