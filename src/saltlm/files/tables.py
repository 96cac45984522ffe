"""Text in tables of characters: CSV, TSV, and numbered sentences as from Leipzig or Tatoeba."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from saltlm.errors import DataError
from saltlm.files.bad_rows import BadRow, checked
from saltlm.files.characters import LONGEST, Characters
from saltlm.files.fields import TEXT_FIELDS, choose_field
from saltlm.files.source import TABLE_SUFFIXES, Source

_NAMES = frozenset(  # of columns
    TEXT_FIELDS
    + ("id", "lang", "language", "label", "url", "title", "source", "target", "src", "tgt")
    + ("english", "translation", "sentence1", "sentence2")
)
_CODE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]+)?")
_NUMBER = re.compile(r"-?[\d.,]*")
_ASIDE = re.compile(rf"{_CODE.pattern}|CC-BY.*|https?://\S*")  # language, licence, address
_LOOKED_AT = 200  # rows
_ONE_COLUMN = "\x1f"  # no text has it, so nothing is split


class TextTable(NamedTuple):
    """How a table is written, by its beginning.

    Attributes:
        delimiter: between columns.
        is_quoted: whether a column may stand in quotation marks.
        width: number of columns.
        header: their names; None if the first row has none.
        rows: some of the first rows, without the header.
    """

    delimiter: str
    is_quoted: bool
    width: int
    header: list[str] | None
    rows: list[list[str]]

    def name(self, column: int) -> str:
        """Return what a column is called, or its number from 1."""
        return repr(self.header[column]) if self.header else f"column {column + 1}"

    def texts(self, wanted: int) -> list[int]:
        """Return the columns that may be text: no numbers, and if there are many, no codes.

        A code that is the same in all rows, as Tatoeba has the language, is never text.
        """
        columns = [
            number
            for number in range(self.width)
            if not self._all(number, _NUMBER) and not self._is_one_code(number)
        ]
        if len(columns) > wanted:
            columns = [number for number in columns if not self._all(number, _ASIDE)]
        return columns

    def _is_one_code(self, column: int) -> bool:
        values = {row[column].strip() for row in self.rows}
        return len(values) == 1 < len(self.rows) and self._all(column, _ASIDE)

    def _all(self, column: int, pattern: re.Pattern[str]) -> bool:
        return all(pattern.fullmatch(row[column].strip()) for row in self.rows)


def read_table(characters: Characters, suffix: str) -> TextTable | None:
    """Return how a table is written; None if the text is none.

    Args:
        characters: the file.
        suffix: ``.csv`` and ``.tsv`` make a table of whatever is in it; else every line has to have
            the same number of tabs.
    """
    lines = [line + "\n" for line in characters.head.split(characters.end)]
    if suffix not in TABLE_SUFFIXES:
        widths = {line.count("\t") for line in lines if line.strip()}
        n_lines = sum(1 for line in lines if line.strip())
        is_table = n_lines > 1 and len(widths) == 1 and widths != {0}
        return _table(lines, "\t", False) if is_table else None
    ways = [("\t", False), ("\t", True)]
    if suffix == ".csv":
        ways = [(",", True), (";", True), ("|", True), *ways]
    tried = [_table(lines, delimiter, is_quoted) for delimiter, is_quoted in ways]
    found = [table for table in tried if table is not None and table.width > 1]
    return max(found, key=_fit, default=None) or _table(lines, _ONE_COLUMN, True)


def table_texts(characters: Characters, table: TextTable, column: int) -> Iterator[str | BadRow]:
    """Yield the texts of a column.

    Raises:
        DataError: the table is damaged.
    """
    for row in table_rows(characters, table):
        if isinstance(row, BadRow):
            yield row
        else:
            yield checked(row[0], row[1][column])


def table_rows(
    characters: Characters, table: TextTable
) -> Iterator[tuple[str, list[str]] | BadRow]:
    """Yield the place and the columns of each row, the header aside.

    Raises:
        DataError: a quotation mark has no end.
    """
    lines = (line + "\n" for line in characters.lines())
    rows = _reader(lines, table.delimiter, table.is_quoted, strict=True)
    try:
        if table.header is not None:
            next(rows, None)
        for row in rows:
            if len(row) == table.width:
                yield f"line {rows.line_num}", row
            elif any(map(str.strip, row)):
                yield BadRow(f"line {rows.line_num}", f"{len(row)} columns, not {table.width}")
    except csv.Error as error:
        raise DataError(
            f"{characters.path}, line {rows.line_num}: {error}",
            "close its quotation marks, or read it as it is: "
            f"{Source.parse(characters.path).with_options(layout='lines')}",
        ) from error


def column_number(table: TextTable, wanted: str, characters: Characters) -> int:
    """Return the index of a column that was named, or given by its number from 1.

    Raises:
        DataError: there is none.
    """
    if table.header is not None and wanted in table.header:
        return table.header.index(wanted)
    if wanted.isdigit() and 1 <= int(wanted) <= table.width:
        return int(wanted) - 1
    has = ", ".join(table.header) if table.header else f"{table.width} columns without names"
    raise DataError(
        f"{characters.path} has no column {wanted!r}; it has {has}", "give its number, from 1"
    )


def text_column(characters: Characters, table: TextTable, source: Source) -> tuple[int, TextTable]:
    """Return the column that holds the text; the table has a header if the column was named.

    Raises:
        DataError: it cannot be told which that is, or there is none of that name.
    """
    if source.field is not None:
        if table.header is None and source.field in characters.head.split(characters.end)[0]:
            named = table._replace(header=_first_row(characters, table))
            if named.header is not None and source.field in named.header:
                return named.header.index(source.field), named
        return column_number(table, source.field, characters), table
    texts = table.texts(1)
    if len(texts) == 1:
        return texts[0], table
    if table.header is not None:
        sizes = [sum(len(row[column]) for row in table.rows) for column in range(table.width)]
        likely = table.header[max(texts or range(table.width), key=lambda column: sizes[column])]
        name = choose_field(table.header, source, characters.path, likely)
        return table.header.index(name), table
    raise DataError(
        f"{characters.path} has {table.width} columns, {len(texts)} of them with text",
        f"say which to read: {source.with_options(field=str(texts[-1] + 1 if texts else 1))},"
        f" or all as it is: {source.with_options(layout='lines')}",
    )


def _first_row(characters: Characters, table: TextTable) -> list[str] | None:
    line = characters.head.split(characters.end)[0]
    return next(_reader(iter([line]), table.delimiter, table.is_quoted), None)


def _table(lines: Sequence[str], delimiter: str, is_quoted: bool) -> TextTable | None:
    """Return the table of some lines, whose width is that of most rows."""
    try:
        parsed = list(islice(_reader(iter(lines), delimiter, is_quoted), _LOOKED_AT))
    except csv.Error:
        return None
    rows = [row for row in parsed if any(map(str.strip, row))]
    if not rows:
        return None
    width = Counter(map(len, rows)).most_common(1)[0][0]
    same = [row for row in rows if len(row) == width]
    if len(rows[0]) == width and _is_header(same):
        header = [name.strip() for name in same[0]]
        return TextTable(delimiter, is_quoted, width, header, same[1:])
    return TextTable(delimiter, is_quoted, width, None, same)


def _is_header(rows: Sequence[list[str]]) -> bool:
    names = [name.strip().lower() for name in rows[0]]
    if len(rows) < 2 or len(set(names)) < len(names) or not all(names):
        return False
    if _NAMES.intersection(names) or ("en" in names and all(map(_CODE.fullmatch, names))):
        return True
    columns = zip(names, *rows[1:], strict=True)
    return any(
        not _NUMBER.fullmatch(name) and all(map(_NUMBER.fullmatch, values))
        for name, *values in columns
    )


def _fit(table: TextTable) -> tuple[float, int]:
    """Say how well a way to read fits: rows of one width, then columns free of quotation marks."""
    marks = sum(
        cell.startswith('"') and cell.endswith('"') and len(cell) > 1
        for row in table.rows
        for cell in row
    )
    return len(table.rows), -marks


def _reader(lines: Iterator[str], delimiter: str, is_quoted: bool, strict: bool = False) -> Any:
    csv.field_size_limit(LONGEST)
    return csv.reader(
        lines,
        delimiter=delimiter,
        strict=strict,
        quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE,
    )
