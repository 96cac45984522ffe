"""The one door to text: the same name means the same documents for every verb and option.

A document keeps the line breaks inside and has no white space around it. Formats, encodings and
packings are told from the content (`saltlm.files.formats`); what a name may say is in
`saltlm.files.source`.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from saltlm.errors import DataError
from saltlm.files.bad_rows import BadRow, RowCount, good_rows
from saltlm.files.characters import characters
from saltlm.files.columns import hub_texts
from saltlm.files.compression import unpacked
from saltlm.files.formats import file_texts
from saltlm.files.source import Source

Text = str | Path


def documents(texts: Sequence[Text]) -> Iterator[str]:
    """Yield the documents of texts in their order, one in memory at a time.

    Rows that hold none are left out; a warning counts and names them.

    Args:
        texts: files, folders, patterns and Hub datasets, each with options behind a ``#`` or not.

    Raises:
        DataError: one cannot be read, is not text, or has too many rows without a document.
        MissingExtraError: its format needs a library that is not installed.
    """
    for text in texts:
        source = Source.parse(text)
        yield from good_rows(source, _rows(source))


def file_documents(text: Text, file: Path, count: RowCount) -> Iterator[str]:
    """Yield the documents of one of a text's files; the bad rows of all are judged by others.

    Args:
        text: as in `documents`.
        file: one that its name stands for.
        count: is told of each row.

    Raises:
        DataError: it cannot be read, is not text, or most of its many rows are bad.
        MissingExtraError: its format needs a library that is not installed.
    """
    source = Source.parse(text)
    for row in _rows_of(source, [file], of_many=True):
        count.see(row)
        if not isinstance(row, BadRow):
            yield row
        elif count.is_hopeless:
            count.judge(source)


def first(texts: Sequence[Text], n: int, option: str = "--corpus") -> list[str]:
    """Return the first documents of texts, `n` or fewer.

    Args:
        texts: as in `documents`.
        n: at most so many.
        option: that gave the texts, for the message.

    Raises:
        DataError: there is none, or as in `documents`.
    """
    found = list(islice(documents(texts), n))
    if not found:
        check_corpus(texts, option)
    return found


def check_corpus(texts: Sequence[Text], option: str = "--corpus") -> None:
    """Make sure that there is text in each of the texts.

    Args:
        texts: as in `documents`.
        option: that gave them, for the message.

    Raises:
        DataError: none is given, or one holds no document; and as in `documents`.
    """
    hint = f"give {option} a file with text in it; docs/formats.md has what is read"
    name = "the corpus" if option == "--corpus" else option
    if not texts:
        raise DataError(f"{name} has no text (none was given)", hint)
    for text in texts:
        if next(documents([text]), None) is None:
            raise DataError(f"{name} has no text ({text})", hint)


def is_endless(text: Text) -> bool:
    """Whether a text is streamed from the Hub, and may be without end."""
    return Source.parse(text).hub is not None


def whole_text(file: Path) -> str:
    """Return the characters of a file, packed or not, in whatever encoding.

    Raises:
        DataError: it cannot be read.
    """
    with unpacked(file) as bytes_, characters(file, bytes_, Source.parse(file)).text() as text:
        return text.read()


def _rows(source: Source) -> Iterator[str | BadRow]:
    if source.hub is not None:
        yield from hub_texts(source.hub, source)
        return
    files = list(source.files())
    yield from _rows_of(source, files, of_many=len(files) > 1)


def _rows_of(source: Source, files: Sequence[Path], *, of_many: bool) -> Iterator[str | BadRow]:
    for file in files:
        try:
            for row in file_texts(file, source):
                if isinstance(row, BadRow) and of_many:
                    row = BadRow(f"{file.name} {row.place}", row.reason)
                yield row
        except DataError as error:
            if not of_many:
                raise
            way = f"or take {file.name} out of {file.parent}"
            raise DataError(error.what, f"{error.hint}; {way}") from error
