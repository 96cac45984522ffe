"""Vectors composed of subwords, as fastText and floret do it, and which strings training has seen.

A model is a dictionary and one matrix: a row per dictionary word, then `bucket` rows that character
n-grams share by their hash. floret puts whole words among the n-grams, too, and gives each of them
up to four rows.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt32

from saltlm.auxiliary.quantised import QuantisedMatrix
from saltlm.errors import MissingExtraError

END_OF_SENTENCE = "</s>"  # in the dictionary of every model; fastText gives it no n-grams
_BLOCK = 2048  # strings whose rows are gathered at once


@dataclass(frozen=True)
class FloretHash:
    """How floret hashes: MurmurHash3 x64, whose 128 bits hold up to four rows."""

    count: int
    seed: int


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
        kept: of a pruned model, the buckets that are left in ascending order, and their rows
            behind the words; None if all are there.
        floret: how floret hashes; None for fastText's own way.
    """

    words: Callable[[], Iterator[str]]
    n_words: int
    minn: int
    maxn: int
    bucket: int
    matrix: Float[np.ndarray, "rows d"] | QuantisedMatrix
    owner: object
    kept: Int64[np.ndarray, "2 _"] | None = None
    floret: FloretHash | None = None

    @property
    def dimension(self) -> int:
        """The width of the vectors."""
        return int(self.matrix.shape[1])


def _encoded(strings: Iterable[str]) -> list[bytes]:
    """Return the bytes of strings, also of those that are no UTF-8."""
    return [string.encode(errors="surrogateescape") for string in strings]


def seen_in_training(model: SubwordModel, strings: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Tell which strings the model can represent.

    A string is represented if it is in the dictionary, or if one of its n-grams occurs in a
    dictionary word. Neither its vector nor its buckets can tell: untrained rows may hold noise, and
    unrelated n-grams share buckets. Only the shortest n-grams are looked for, since a longer one
    that was seen contains a shortest one, of the same string, that was seen with it. Pairs are
    looked for beside single characters, since of these the ones at a word's ends do not count. In
    a pruned model all lengths are looked for, of those n-grams that still have a row. A floret
    table has no dictionary and cannot tell: there all strings count as represented.
    """
    if model.floret is not None and not model.n_words:
        return np.array([bool(string) for string in strings], dtype=bool)
    ngrams_of = [telling_ngrams(model, string) for string in strings]
    needed = frozenset(ngram for ngrams in ngrams_of for ngram in ngrams)
    if model.kept is not None:
        ordered = sorted(needed)
        _, has_row = bucket_rows(model, _encoded(ordered))
        needed = frozenset(ngram for ngram, has in zip(ordered, has_row, strict=True) if has)
    unseen, wanted, in_dictionary = set(needed), set(strings), set()
    for word in model.words():
        unseen.difference_update(telling_ngrams(model, word))
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


def telling_ngrams(model: SubwordModel, string: str) -> list[str]:
    """Return the n-grams by which `seen_in_training` tells whether a string is represented."""
    shortest = max(model.minn, 1)
    longest = model.maxn if model.kept is not None else min(max(shortest, 2), model.maxn)
    return character_ngrams(string, shortest, longest)


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
        rows, counts = (
            _fasttext_rows(model, block, row_of_word)
            if model.floret is None
            else _floret_rows(model, model.floret, block)
        )
        has_rows = counts > 0
        if has_rows.any():
            firsts = (np.cumsum(counts) - counts)[has_rows]
            sums = np.add.reduceat(model.matrix[rows], firsts, axis=0)
            vectors[start : start + _BLOCK][has_rows] = sums / counts[has_rows, None]
    return vectors


def _fasttext_rows(
    model: SubwordModel, strings: Sequence[str], row_of_word: dict[str, int]
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " n"]]:
    """Return the rows of all strings one after another, and how many each has."""
    ngrams_of = [character_ngrams(string, model.minn, model.maxn) for string in strings]
    rows, has_row = bucket_rows(model, _encoded(itertools.chain.from_iterable(ngrams_of)))
    owners = np.repeat(np.arange(len(strings)), [len(ngrams) for ngrams in ngrams_of])[has_row]
    counts = np.bincount(owners, minlength=len(strings))
    own_rows = np.array([row_of_word.get(string, -1) for string in strings], dtype=np.int64)
    is_word = own_rows >= 0
    rows = np.insert(rows[has_row], (np.cumsum(counts) - counts)[is_word], own_rows[is_word])
    return rows, counts + is_word


def bucket_rows(
    model: SubwordModel, ngrams: Sequence[bytes]
) -> tuple[Int64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the row of each n-gram, and whether it has one."""
    buckets = (fnv1a_32(ngrams) % max(model.bucket, 1)).astype(np.int64)
    if model.kept is None:
        return model.n_words + buckets, np.full(len(buckets), model.bucket > 0)
    known, rows = model.kept
    if not len(known):
        return buckets, np.zeros(len(buckets), dtype=bool)
    place = np.searchsorted(known, buckets).clip(max=len(known) - 1)
    return model.n_words + rows[place], known[place] == buckets


def _floret_rows(
    model: SubwordModel, floret: FloretHash, strings: Sequence[str]
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " n"]]:
    ngrams_of = [
        [f"<{string}>", *character_ngrams(string, model.minn, model.maxn)]
        if string and string != END_OF_SENTENCE
        else []
        for string in strings
    ]
    hashes = murmur3(_encoded(itertools.chain.from_iterable(ngrams_of)), floret.seed)
    rows = model.n_words + hashes[:, : floret.count].astype(np.int64) % model.bucket
    counts = np.array([len(ngrams) * floret.count for ngrams in ngrams_of], dtype=np.int64)
    return rows.reshape(-1), counts


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


def murmur3(strings: Sequence[bytes], seed: int) -> UInt32[np.ndarray, "n 4"]:
    """Hash each string with MurmurHash3 x64, 128 bits as four words of 32.

    Raises:
        MissingExtraError: `mmh3` is not installed.
    """
    try:
        import mmh3
    except ImportError as error:
        raise MissingExtraError("reading floret vectors", "vectors") from error
    data = b"".join(mmh3.hash_bytes(string, seed, x64arch=True) for string in strings)
    return np.frombuffer(data, "<u4").reshape(-1, 4).astype(np.uint32)
