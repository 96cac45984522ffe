"""Files of vectors, written small: of the n-grams only those that occur."""

import gzip
import os
import struct
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary.fasttext_format import MAGIC, NEWEST_VERSION
from saltlm.auxiliary.subwords import (
    SubwordModel,
    bucket_rows,
    character_ngrams,
    fnv1a_32,
    telling_ngrams,
)
from saltlm.errors import AuxiliaryVectorsError, OutputError
from saltlm.files.atomic import disk_errors, no_folder
from saltlm.files.leftovers import aside

_SKIPGRAM, _NEGATIVE_SAMPLING = 2, 2  # as fastText numbers models and losses
_ROWS = 4096  # of a matrix at once


def check_vectors_place(out: Path, *, force: bool) -> None:
    """Make sure that a file can be written, before there is much work to lose.

    Raises:
        OutputError: it is there, or has a name that says no format.
    """
    if out.is_dir():
        raise OutputError(f"{out} is a directory", "give the name of a file with --out")
    if out.exists() and not force:
        raise OutputError(f"{out} exists", "choose another --out, or replace it with --force")
    if not out.parent.is_dir():
        raise no_folder(out.parent)
    if not is_subword_file(out) and not out.name.endswith((".vec", ".vec.gz")):
        raise OutputError(
            f"{out.name} says no format of vectors",
            "end it in .vec or .vec.gz (a list of words), or .bin (which composes more of n-grams)",
        )


def is_subword_file(out: Path) -> bool:
    """Whether a file of this name composes vectors of n-grams."""
    return out.name.endswith(".bin")


def write_text(out: Path, words: Sequence[str], vectors: Float[np.ndarray, "n d"]) -> None:
    """Write a list of words as word2vec's text, packed if the name ends in ``.gz``.

    Words with white space in them, which the format cannot hold, are left out.
    """
    kept = [row for row, word in enumerate(words) if word and len(word.split()) == 1]
    with _written(out) as file:
        file.write(f"{len(kept)} {vectors.shape[1]}\n".encode())
        for row in kept:
            numbers = " ".join(f"{number:.5g}" for number in vectors[row].tolist())
            file.write(f"{words[row]} {numbers}\n".encode(errors="surrogateescape"))


def write_subwords(out: Path, model: SubwordModel, words: Sequence[str]) -> int:
    """Write a model of some words in fastText's layout, with the rows of their n-grams alone.

    The n-grams that are left are listed, as fastText does in pruned models.

    Args:
        out: the file.
        model: whose rows are written.
        words: that the file is to represent: those of the model's dictionary are in the file's, of
            the others their n-grams are there.

    Returns:
        How many rows of n-grams there are.

    Raises:
        AuxiliaryVectorsError: the model is of floret, whose hashes the layout does not have.
    """
    if model.floret is not None:
        raise AuxiliaryVectorsError(
            "vectors of floret cannot be written as fastText's .bin", "give --out a .vec"
        )
    row_of_word = {word: row for row, word in enumerate(model.words())}
    own = _dictionary(model, words, row_of_word)
    ngrams = sorted(
        {gram for word in {*words, *own} for gram in character_ngrams(word, model.minn, model.maxn)}
    )
    encoded = [gram.encode(errors="surrogateescape") for gram in ngrams]
    rows, has_row = bucket_rows(model, encoded)
    buckets = (fnv1a_32(encoded) % max(model.bucket, 1)).astype(np.int64)
    kept, first = np.unique(buckets[has_row], return_index=True)
    order = [row_of_word[word] for word in own] + rows[has_row][first].tolist()
    with _written(out) as file:
        file.write(struct.pack("<ii", MAGIC, NEWEST_VERSION))
        shape = (model.dimension, 5, 1, 1, 5, 1, _NEGATIVE_SAMPLING, _SKIPGRAM, model.bucket)
        file.write(struct.pack("<12id", *shape, model.minn, model.maxn, 100, 1e-4))
        file.write(struct.pack("<iiiqq", len(own), len(own), 0, 0, len(kept)))
        for word in own:
            file.write(word.encode("utf-8", "surrogateescape") + b"\0" + bytes(9))
        file.write(np.stack([kept, np.arange(len(kept))], 1).astype("<i4").tobytes())
        file.write(struct.pack("<?qq", False, len(order), model.dimension))
        for start in range(0, len(order), _ROWS):
            part = model.matrix[np.array(order[start : start + _ROWS], dtype=np.int64)]
            file.write(np.ascontiguousarray(part, "<f4").tobytes())
    return len(kept)


def _dictionary(model: SubwordModel, words: Sequence[str], known: Container[str]) -> list[str]:
    """Return those words that the model knows, and others that have n-grams of the rest.

    Without these a reader of the file could not tell that the n-grams were seen in training.
    """
    own = [word for word in words if word in known]
    composed = (word for word in words if word not in known)
    unseen = {gram for word in composed for gram in telling_ngrams(model, word)}
    if not unseen:
        return own
    for word in own:
        unseen.difference_update(telling_ngrams(model, word))
    for word in model.words():
        if found := unseen.intersection(telling_ngrams(model, word)):
            unseen -= found
            own.append(word)
    return own


@contextmanager
def _written(out: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, which then gets its name."""
    with disk_errors(out), aside(out.parent) as folder:
        fresh = folder / out.name
        with fresh.open("wb") as raw:
            if out.name.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        fresh.replace(out)
