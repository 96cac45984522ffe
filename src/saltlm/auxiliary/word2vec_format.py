"""Word vectors as text: a word and its numbers on each line, with or without a header line."""

import gzip
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from saltlm.errors import AuxiliaryVectorsError

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class WordVectors:
    """The vectors of the words that were asked for.

    Attributes:
        rows: word -> its vector; words that the file does not have are missing.
        dimension: the width of the vectors.
        n_words: how many words the file has.
        first_words: a few of them, for messages.
    """

    rows: dict[str, Float[np.ndarray, " d"]]
    dimension: int
    n_words: int
    first_words: tuple[str, ...]


def check_vectors_file(path: Path) -> None:
    """Look at the first line only.

    Raises:
        AuxiliaryVectorsError: the file cannot be read, or its first line is neither a header nor a
            word with numbers.
    """
    first = next(_lines(path), b"")
    if _header(first) is None:
        _numbers(path, 1, first.partition(b" ")[2])


def read_word_vectors(path: Path, wanted: Collection[str] | None) -> WordVectors:
    """Read the vectors of some words; a word that stands twice keeps its first vector.

    Every line is checked for its length, the numbers are read only where they are wanted.

    Args:
        path: word2vec's, GloVe's or fastText's text format, gzipped or not.
        wanted: the words to look for; None for all, in the order of the file.

    Raises:
        AuxiliaryVectorsError: the file cannot be read, is truncated, or has a malformed line.
    """
    wanted_bytes = None if wanted is None else {word.encode(): word for word in wanted}
    rows: dict[str, Float[np.ndarray, " d"]] = {}
    first_words: list[str] = []
    promised, dimension, n_words = None, 0, 0
    for number, line in enumerate(_lines(path), start=1):
        if number == 1 and (header := _header(line)):
            promised, dimension = header
            continue
        n_spaces = line.count(b" ")
        dimension = dimension or n_spaces
        if n_spaces < max(dimension, 1):
            raise AuxiliaryVectorsError(
                f"{path}, line {number}: {n_spaces} numbers where {max(dimension, 1)} belong: "
                f"{_excerpt(line)}",
                "get the file again, or delete the line",
            )
        n_words += 1
        # a word may hold spaces itself, its numbers are the last fields
        first = (
            line.partition(b" ")[0] if n_spaces == dimension else line.rsplit(b" ", dimension)[0]
        )
        if len(first_words) < 3:
            first_words.append(first.decode(errors="replace"))
        word = first.decode(errors="replace") if wanted_bytes is None else wanted_bytes.get(first)
        if word is not None and word not in rows:
            rows[word] = _numbers(path, number, line[len(first) + 1 :])
    if promised is not None and n_words < promised:
        raise AuxiliaryVectorsError(
            f"{path} is truncated: its header promises {promised:,} words, it has {n_words:,}",
            "get the file again",
        )
    return WordVectors(rows, dimension, n_words, tuple(first_words))


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            is_gzip = file.read(len(_GZIP)) == _GZIP
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            for line in file:
                yield line.rstrip(b" \r\n")
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise AuxiliaryVectorsError(f"cannot read the vectors {path}: {reason}") from error


def _header(line: bytes) -> tuple[int, int] | None:
    fields = line.split()
    return (int(fields[0]), int(fields[1])) if [f.isdigit() for f in fields] == [True] * 2 else None


def _numbers(path: Path, number: int, text: bytes) -> Float[np.ndarray, " d"]:
    try:
        with np.errstate(over="ignore"):  # too large for float32 is infinite: refused below
            numbers = np.array([float(field) for field in text.split(b" ")], dtype=np.float32)
    except ValueError as error:
        raise AuxiliaryVectorsError(
            f"{path}, line {number}: {_excerpt(text)} is not a list of numbers",
            "--aux vectors: takes 'word number number ...' lines; a fastText .bin is fasttext:FILE",
        ) from error
    if not np.isfinite(numbers).all():
        raise AuxiliaryVectorsError(
            f"{path}, line {number}: NaN or infinite numbers", "delete the line"
        )
    return numbers


def _excerpt(line: bytes) -> str:
    text = line.decode(errors="replace")
    return repr(text if len(text) <= 60 else text[:60] + "...")
