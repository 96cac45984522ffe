"""Sentences and their translations, from a file of two columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from saltlm.errors import DataError
from saltlm.files.characters import characters
from saltlm.files.compression import opened
from saltlm.files.source import Source


class SentencePair(NamedTuple):
    """An English sentence and its translation into the target language."""

    english: str
    target: str


def read_pairs(file: Path) -> list[SentencePair]:
    """Return the pairs of a ``.tsv`` or ``.tsv.gz``: English, a tab, the target language.

    A pair whose sentences are the same, and one of which a sentence has occurred before, are left
    out: what is its translation could not be told.

    Raises:
        DataError: the file cannot be read, rows are not two texts, or too few pairs are left.
    """
    pairs, bad, seen = [], [], set[str]()
    for number, line in enumerate(_lines(file), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if columns == [""]:
            continue
        if len(columns) != 2 or not all(columns):
            bad.append((number, sum(map(bool, columns))))
        elif columns[0] != columns[1] and not seen.intersection(columns):
            seen.update(columns)
            pairs.append(SentencePair(*columns))
    if bad:
        number, n_texts = bad[0]
        others = f" (and {len(bad) - 1} more lines like it)" if len(bad) > 1 else ""
        raise DataError(
            f"line {number} of {file} is not two texts but {n_texts}{others}",
            "write English, a tab and the translation into each line",
        )
    if len(pairs) < 2:
        raise DataError(
            f"{file} has {len(pairs)} usable pairs: there is nothing to tell a translation from",
            "give a file with more",
        )
    return pairs


def _lines(file: Path) -> Iterator[str]:
    source = Source.parse(file)
    for path in source.files():
        with opened(path) as bytes_:
            yield from characters(path, bytes_, source).lines()
