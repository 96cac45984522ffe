"""fastText's binary models: a vector for any string, and which strings its training has seen.

A model is a dictionary and one matrix: a row per dictionary word, then `bucket` rows that character
n-grams share by their hash. The pretrained models hold several gigabytes, so files are mapped, not
loaded: the dictionary is streamed and only the rows that are asked for are touched.
"""

import mmap
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt32

from saltlm.errors import AuxiliaryVectorsError

MAGIC = 793712314
NEWEST_VERSION = 12
END_OF_SENTENCE = "</s>"  # in the dictionary of every model; fastText gives it no n-grams

_SIGNATURE = struct.Struct("<ii")  # magic, version
_ARGUMENTS = struct.Struct("<12id")  # dim ws epoch minCount neg wordNgrams loss model bucket minn..
_DICTIONARY = struct.Struct("<iiiqq")  # entries, words, labels, tokens, pruned n-grams
_MATRIX = struct.Struct("<?qq")  # is it quantised, rows, columns
_ENTRIES_START = _SIGNATURE.size + _ARGUMENTS.size + _DICTIONARY.size
_ENTRY = re.compile(rb"([^\0]*)\0.{9}", re.DOTALL)  # the word, its count, its kind
_SUPERVISED = 3
_GET_AGAIN = "get the file again"
_BLOCK = 2048  # strings whose rows are gathered at once


@dataclass(frozen=True)
class SubwordModel:
    """What fastText composes vectors from.

    Attributes:
        words: starts a new pass over the dictionary, in the order of its rows.
        n_words: the number of words; the row of n-gram g is `n_words + hash(g) % bucket`.
        minn: the fewest characters of an n-gram, counting the word's markers `<` and `>`.
        maxn: the most characters of an n-gram; 0 if the model has only words.
        bucket: the number of rows that the n-grams share.
        matrix: the input matrix, a row per word and then a row per bucket.
        owner: what holds the memory that `matrix` is a view of, kept alive with it.
    """

    words: Callable[[], Iterator[str]]
    n_words: int
    minn: int
    maxn: int
    bucket: int
    matrix: Float[np.ndarray, "rows d"]
    owner: object

    @property
    def dimension(self) -> int:
        """The width of the vectors."""
        return int(self.matrix.shape[1])


def read_fasttext(path: Path) -> SubwordModel:
    """Map a fastText .bin file: skipgram, cbow or supervised, not quantised.

    Raises:
        AuxiliaryVectorsError: the file is missing, not fastText's, truncated or quantised.
    """
    _check_signature(path)
    size = path.stat().st_size
    if size < _ENTRIES_START:
        raise _truncated(path, size, "header", _ENTRIES_START)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = _read_header(path, mapped)
    start = _dictionary_end(path, mapped, header) + _MATRIX.size
    is_quantised, n_rows, n_columns = _MATRIX.unpack_from(mapped, start - _MATRIX.size)
    if is_quantised:
        raise AuxiliaryVectorsError(
            f"{path} is a quantised fastText model (.ftz), which keeps no exact rows",
            "pass the full .bin model it was made from",
        )
    if (n_rows, n_columns) != (header.n_words + header.bucket, header.dimension):
        raise AuxiliaryVectorsError(
            f"{path} is damaged: its matrix is {n_rows} x {n_columns}, but its header asks for "
            f"{header.n_words} words + {header.bucket} buckets x {header.dimension}",
            _GET_AGAIN,
        )
    end = start + 4 * n_rows * n_columns
    if size < end:
        raise _truncated(path, size, f"{n_rows} x {n_columns} matrix", end)
    if hasattr(mapped, "madvise"):  # else each row would read its surroundings from the disk too
        mapped.madvise(mmap.MADV_RANDOM, start - start % mmap.PAGESIZE)
    matrix = np.frombuffer(mapped, "<f4", n_rows * n_columns, start).reshape(n_rows, n_columns)

    def words() -> Iterator[str]:
        for entry in islice(_ENTRY.finditer(mapped, _ENTRIES_START), header.n_words):
            yield entry[1].decode("utf-8", errors="surrogateescape")

    return SubwordModel(
        words, header.n_words, header.minn, header.maxn, header.bucket, matrix, owner=mapped
    )


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(_SIGNATURE.size)
    except OSError as error:
        raise AuxiliaryVectorsError(
            f"cannot read the fastText model {path}: {error.strerror}"
        ) from error
    magic, version = _SIGNATURE.unpack(start.ljust(_SIGNATURE.size, b"\0"))
    if magic != MAGIC:
        hint = (
            f"decompress it first: gunzip {path}"
            if start.startswith(b"\x1f\x8b")
            else f"pass fastText's .bin file; text vectors go in as --aux vectors:{path}"
        )
        raise AuxiliaryVectorsError(
            f"{path} is not a fastText model: it begins with {start[:4]!r}, "
            f"not {struct.pack('<i', MAGIC)!r}",
            hint,
        )
    if version > NEWEST_VERSION:
        raise AuxiliaryVectorsError(
            f"{path} has fastText format version {version}, saltlm reads up to {NEWEST_VERSION}",
            "save it with fastText 0.9, or export it as text and pass --aux vectors:FILE",
        )


class _Header(NamedTuple):
    dimension: int
    bucket: int
    minn: int
    maxn: int
    n_entries: int
    n_words: int
    n_pruned: int


def _read_header(path: Path, mapped: mmap.mmap) -> _Header:
    _, version = _SIGNATURE.unpack_from(mapped)
    dimension, *_, kind, bucket, minn, maxn, _, _ = _ARGUMENTS.unpack_from(mapped, _SIGNATURE.size)
    n_entries, n_words, n_labels, _, n_pruned = _DICTIONARY.unpack_from(
        mapped, _SIGNATURE.size + _ARGUMENTS.size
    )
    if min(dimension, n_words, bucket + 1) < 1 or n_entries != n_words + n_labels:
        raise AuxiliaryVectorsError(
            f"{path} has a damaged header: {dimension} dimensions, {bucket} buckets, "
            f"{n_words} words + {n_labels} labels in {n_entries} entries",
            _GET_AGAIN,
        )
    if kind == _SUPERVISED and version == 11:
        maxn = 0  # as fastText reads it: classifiers of that version have no n-grams
    return _Header(dimension, bucket, minn, maxn, n_entries, n_words, n_pruned)


def _dictionary_end(path: Path, mapped: mmap.mmap, header: _Header) -> int:
    entries = islice(_ENTRY.finditer(mapped, _ENTRIES_START), header.n_entries)
    ends = np.fromiter((entry.end() for entry in entries), dtype=np.int64)
    end = int(ends[-1]) + 8 * max(header.n_pruned, 0) if len(ends) else _ENTRIES_START
    if len(ends) < header.n_entries or end + _MATRIX.size > len(mapped):
        raise AuxiliaryVectorsError(
            f"{path} is truncated: its {len(mapped):,} bytes end in the dictionary, after "
            f"{len(ends):,} of {header.n_entries:,} entries",
            _GET_AGAIN,
        )
    return end


def _truncated(path: Path, size: int, part: str, expected: int) -> AuxiliaryVectorsError:
    return AuxiliaryVectorsError(
        f"{path} is truncated: it has {size:,} bytes, its {part} ends at {expected:,}", _GET_AGAIN
    )


def seen_in_training(model: SubwordModel, strings: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Tell which strings fastText can represent.

    A string is represented if it is in the dictionary, or if one of its n-grams occurs in a
    dictionary word. Neither its vector nor its buckets can tell: untrained rows may hold noise, and
    unrelated n-grams share buckets. Only the shortest n-grams are looked for, since a longer one
    that was seen contains a shortest one, of the same string, that was seen with it. Pairs are
    looked for beside single characters, since of these the ones at a word's ends do not count.
    """
    shortest = max(model.minn, 1)
    longest = min(max(shortest, 2), model.maxn)
    ngrams_of = [character_ngrams(string, shortest, longest) for string in strings]
    needed = frozenset(ngram for ngrams in ngrams_of for ngram in ngrams)
    unseen, wanted, in_dictionary = set(needed), set(strings), set()
    for word in model.words():
        unseen.difference_update(character_ngrams(word, shortest, longest))
        if word in wanted:
            in_dictionary.add(word)
    seen = needed - unseen
    return np.array(
        [
            string in in_dictionary or not seen.isdisjoint(ngrams)
            for string, ngrams in zip(strings, ngrams_of, strict=True)
        ],
        dtype=bool,
    )


def token_vectors(model: SubwordModel, strings: Sequence[str]) -> Float[np.ndarray, "n d"]:
    """Compose the vector of each string as fastText does.

    It is the mean of the string's own row, if it is in the dictionary, and the rows of all its
    n-grams, repeated ones as often as they occur. A string without any row gets zeros.
    """
    wanted = set(strings)
    row_of_word = {word: row for row, word in enumerate(model.words()) if word in wanted}
    vectors = np.zeros((len(strings), model.dimension), dtype=np.float32)
    for start in range(0, len(strings), _BLOCK):
        block = strings[start : start + _BLOCK]
        ngrams_of = [character_ngrams(string, model.minn, model.maxn) for string in block]
        hashes = fnv1a_32([ngram.encode() for ngrams in ngrams_of for ngram in ngrams])
        rows = model.n_words + (hashes % max(model.bucket, 1)).astype(np.int64)
        counts = np.array([len(ngrams) for ngrams in ngrams_of])
        own_rows = np.array([row_of_word.get(string, -1) for string in block])
        is_word = own_rows >= 0
        rows = np.insert(rows, (np.cumsum(counts) - counts)[is_word], own_rows[is_word])
        counts += is_word
        has_rows = counts > 0
        firsts = (np.cumsum(counts) - counts)[has_rows]
        sums = np.add.reduceat(model.matrix[rows], firsts, axis=0)
        vectors[start : start + _BLOCK][has_rows] = sums / counts[has_rows, None]
    return vectors


def character_ngrams(word: str, minn: int, maxn: int) -> list[str]:
    """List the n-grams of `<word>` by length; its two markers alone are not among the unigrams."""
    if word == END_OF_SENTENCE:
        return []
    marked = f"<{word}>"
    ngrams = list(word) if minn <= 1 <= maxn else []
    for length in range(max(minn, 2), maxn + 1):
        ngrams += [marked[i : i + length] for i in range(len(marked) - length + 1)]
    return ngrams


def fnv1a_32(strings: Sequence[bytes]) -> UInt32[np.ndarray, " n"]:
    """Hash each string as fastText does: FNV-1a, but with every byte sign-extended to 32 bits."""
    lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
    width = int(lengths.max(initial=1))
    padded = np.array(strings, dtype=f"S{width}").view(np.int8).reshape(len(strings), width)
    hashes = np.full(len(strings), 2166136261, dtype=np.uint32)
    for column in range(width):
        inside = lengths > column
        extended = padded[inside, column].astype(np.int32).view(np.uint32)
        hashes[inside] = (hashes[inside] ^ extended) * np.uint32(16777619)
    return hashes
