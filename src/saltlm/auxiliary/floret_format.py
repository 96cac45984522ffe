"""floret's tables: rows that hashed n-grams and words share, without a list of words."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary.containers import opened_vectors
from saltlm.auxiliary.subwords import FloretHash, SubwordModel
from saltlm.auxiliary.word2vec_text import MAX_LINE, excerpt
from saltlm.errors import AuxiliaryVectorsError

_BLOCK = 4096  # rows


def is_floret_table(start: bytes) -> bool:
    """Tell whether a file begins as a floret table: six numbers and the marks of a word's ends."""
    fields = start.partition(b"\n")[0].split()
    return (
        len(fields) == 8
        and all(field.isdigit() for field in fields[:6])
        and not any(field[-1:].isdigit() for field in fields[6:])
    )


def read_floret(path: Path) -> SubwordModel:
    """Read a floret table, as ``floret -mode floret`` writes it, plain or packed.

    Raises:
        AuxiliaryVectorsError: it cannot be read, is truncated or damaged, or marks words otherwise.
    """
    blocks: list[Float[np.ndarray, "_ d"]] = []
    with opened_vectors(path) as file:
        fields = file.readline(MAX_LINE).split()
        bucket, dimension, minn, maxn, n_hashes, seed = map(int, fields[:6])
        _check_header(path, fields, bucket, dimension, n_hashes)
        rows: list[Float[np.ndarray, " d"]] = []
        for index in range(bucket):
            rows.append(_row(path, file.readline(MAX_LINE), index, bucket, dimension))
            if len(rows) == _BLOCK or index == bucket - 1:
                blocks.append(np.stack(rows))
                rows = []
    return floret_model(np.concatenate(blocks), minn, maxn, FloretHash(n_hashes, seed))


def check_floret(path: Path) -> None:
    """Read the header and the first row.

    Raises:
        AuxiliaryVectorsError: as `read_floret`.
    """
    with opened_vectors(path) as file:
        fields = file.readline(MAX_LINE).split()
        bucket, dimension, _, _, n_hashes, _ = map(int, fields[:6])
        _check_header(path, fields, bucket, dimension, n_hashes)
        _row(path, file.readline(MAX_LINE), 0, bucket, dimension)


def floret_model(
    matrix: Float[np.ndarray, "bucket d"], minn: int, maxn: int, hashes: FloretHash
) -> SubwordModel:
    """Return what composes vectors from a table without words."""
    return SubwordModel(
        words=lambda: iter(()),
        n_words=0,
        minn=minn,
        maxn=maxn,
        bucket=len(matrix),
        matrix=matrix,
        owner=None,
        floret=hashes,
    )


def check_marks(path: Path, begin: str, end: str, n_hashes: int) -> None:
    """Make sure that n-grams are cut and hashed as `token_vectors` does it.

    Raises:
        AuxiliaryVectorsError: words are marked otherwise, or the hashes are not 1 to 4.
    """
    if (begin, end) != ("<", ">") or not 1 <= n_hashes <= 4:
        raise AuxiliaryVectorsError(
            f"{path} marks words with {begin!r} and {end!r} and has {n_hashes} hashes; floret has "
            "'<' and '>' and 1 to 4",
            "write the table again with floret's own defaults, or give floret's .vec file",
        )


def _check_header(
    path: Path, fields: list[bytes], bucket: int, dimension: int, n_hashes: int
) -> None:
    check_marks(path, fields[6].decode(), fields[7].decode(), n_hashes)
    if bucket < 1 or not 1 <= dimension < MAX_LINE // 2:
        raise AuxiliaryVectorsError(
            f"{path} is damaged: its header says {bucket:,} rows of {dimension:,} numbers",
            "get the file again",
        )


def _row(
    path: Path, line: bytes, index: int, bucket: int, dimension: int
) -> Float[np.ndarray, " d"]:
    fields = line.split()
    try:
        row = np.array([float(field) for field in fields[1:]], dtype=np.float32)
        is_right = int(fields[0]) == index and len(row) == dimension and np.isfinite(row).all()
    except (ValueError, IndexError):
        is_right = False
    if not is_right:
        raise AuxiliaryVectorsError(
            f"{path} is truncated or damaged: row {index:,} of {bucket:,} with {dimension} numbers "
            f"is {excerpt(line.rstrip())}",
            "get the file again",
        )
    return row
