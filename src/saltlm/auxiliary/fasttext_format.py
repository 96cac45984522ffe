"""fastText's binary models, and those of floret, mapped instead of loaded.

The pretrained models hold several gigabytes: the dictionary is streamed and only the rows that are
asked for are touched.
"""

import mmap
import re
import shlex
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from saltlm.auxiliary.containers import is_packed, to_stdout
from saltlm.auxiliary.quantised import QuantisedMatrix, read_quantised
from saltlm.auxiliary.subwords import FloretHash, SubwordModel
from saltlm.errors import AuxiliaryVectorsError, quoted

MAGIC = 793712314
NEWEST_VERSION = 12

_SIGNATURE = struct.Struct("<ii")  # magic, version
_ARGUMENTS = struct.Struct("<12id")  # dim ws epoch minCount neg wordNgrams loss model bucket minn..
_FLORET_ARGUMENTS = struct.Struct("<14id")  # with the mode and the number of hashes behind maxn
_DICTIONARY = struct.Struct("<iiiqq")  # entries, words, labels, tokens, pruned n-grams
_MATRIX = struct.Struct("<?qq")  # is it quantised, rows, columns
_SMALLEST = _SIGNATURE.size + _ARGUMENTS.size + _DICTIONARY.size
_ENTRY = re.compile(rb"([^\0]*)\0.{9}", re.DOTALL)  # the word, its count, its kind
_SUPERVISED = 3
_FLORET = 2  # the mode in which whole words are hashed, too
_FLORET_SEED = 2166136261
_GET_AGAIN = "get the file again"


def read_fasttext(path: Path) -> SubwordModel:
    """Map a fastText model: skipgram, cbow or supervised, whole or quantised; or floret's.

    Raises:
        AuxiliaryVectorsError: the file is missing, packed, not fastText's, truncated or damaged.
    """
    _check_signature(path)
    size = path.stat().st_size
    if size < _SMALLEST:
        raise _truncated(path, size, "header", _SMALLEST)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = _read_header(path, mapped)
    pruned, start = _dictionary_end(path, mapped, header)
    is_quantised, n_rows, n_columns = _MATRIX.unpack_from(mapped, start)
    n_buckets = header.bucket
    kept = None
    if header.n_pruned >= 0:
        kept = _kept(path, mapped, header, pruned)
        n_buckets = header.n_pruned

    def words() -> Iterator[str]:
        for entry in islice(_ENTRY.finditer(mapped, header.entries_start), header.n_words):
            yield entry[1].decode("utf-8", errors="surrogateescape")

    matrix: QuantisedMatrix | Float[np.ndarray, "rows d"]
    if is_quantised:
        matrix = read_quantised(memoryview(mapped), start + 1, path)
        n_rows, n_columns = matrix.shape
    if (n_rows, n_columns) != (header.n_words + n_buckets, header.dimension):
        raise AuxiliaryVectorsError(
            f"{path} is damaged: its matrix is {n_rows} x {n_columns}, but its header asks for "
            f"{header.n_words} words + {n_buckets} buckets x {header.dimension}",
            _GET_AGAIN,
        )
    if not is_quantised:
        start += _MATRIX.size
        end = start + 4 * n_rows * n_columns
        if size < end:
            raise _truncated(path, size, f"{n_rows} x {n_columns} matrix", end)
        if hasattr(mapped, "madvise"):  # else each row would read its surroundings, too
            mapped.madvise(mmap.MADV_RANDOM, start - start % mmap.PAGESIZE)
        numbers = np.frombuffer(mapped, "<f4", n_rows * n_columns, start)
        matrix = numbers.reshape(n_rows, n_columns)
    return SubwordModel(
        words,
        header.n_words,
        header.minn,
        header.maxn,
        header.bucket,
        matrix,
        owner=mapped,
        kept=kept,
        floret=FloretHash(header.n_hashes, _FLORET_SEED) if header.n_hashes else None,
    )


def is_fasttext(start: bytes) -> bool:
    """Tell whether these are a fastText model's first bytes."""
    return start.startswith(struct.pack("<i", MAGIC))


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(_SIGNATURE.size)
        packed = is_packed(path)
    except OSError as error:
        raise AuxiliaryVectorsError(
            f"cannot read the fastText model {path}: {error.strerror}",
            f"see what is there: ls {quoted(path.parent)}",
        ) from error
    magic, version = _SIGNATURE.unpack(start.ljust(_SIGNATURE.size, b"\0"))
    if packed:
        out = path.with_suffix("") if path.suffix else path.with_name(f"{path.name}.bin")
        raise AuxiliaryVectorsError(
            f"{path} is packed, and a fastText model is read in any order",
            f"unpack it first: {to_stdout(path)} > {shlex.quote(str(out))}",
        )
    if magic != MAGIC:
        raise AuxiliaryVectorsError(
            f"{path} is not a fastText model: it begins with {start[:4]!r}, "
            f"not {struct.pack('<i', MAGIC)!r}",
            f"pass fastText's .bin file; other vectors go in as vectors:{path}",
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
    n_hashes: int  # of floret; 0 for fastText's way
    n_entries: int
    n_words: int
    n_pruned: int  # n-grams that a pruned model keeps; below 0: not pruned
    entries_start: int


def _read_header(path: Path, mapped: mmap.mmap) -> _Header:
    """Read fastText's header, or floret's, which has two more numbers and the same version."""
    _, version = _SIGNATURE.unpack_from(mapped)
    dimension, *_, kind, bucket, minn, maxn, mode, n_hashes = struct.unpack_from(
        "<13i", mapped, _SIGNATURE.size
    )
    arguments = _ARGUMENTS
    # There fastText has its update rate (100) and half of a small double, which is never 1 to 4.
    if mode in (1, _FLORET) and 1 <= n_hashes <= 4:
        arguments = _FLORET_ARGUMENTS
    else:
        mode = 0
    start = _SIGNATURE.size + arguments.size
    if len(mapped) < start + _DICTIONARY.size:
        raise _truncated(path, len(mapped), "header", start + _DICTIONARY.size)
    n_entries, n_words, n_labels, _, n_pruned = _DICTIONARY.unpack_from(mapped, start)
    if min(dimension, n_words, bucket + 1) < 1 or n_entries != n_words + n_labels:
        raise AuxiliaryVectorsError(
            f"{path} has a damaged header: {dimension} dimensions, {bucket} buckets, "
            f"{n_words} words + {n_labels} labels in {n_entries} entries",
            _GET_AGAIN,
        )
    if kind == _SUPERVISED and version == 11:
        maxn = 0  # as fastText reads it: classifiers of that version have no n-grams
    return _Header(
        dimension,
        bucket,
        minn,
        maxn,
        n_hashes if mode == _FLORET else 0,
        n_entries,
        n_words,
        n_pruned,
        start + _DICTIONARY.size,
    )


def _dictionary_end(path: Path, mapped: mmap.mmap, header: _Header) -> tuple[int, int]:
    """Return where the pruned n-grams stand behind the words, and where the matrix does."""
    entries = islice(_ENTRY.finditer(mapped, header.entries_start), header.n_entries)
    end, count = header.entries_start, 0
    for entry in entries:
        end, count = entry.end(), count + 1
    matrix = end + 8 * max(header.n_pruned, 0)
    if count < header.n_entries or matrix + _MATRIX.size > len(mapped):
        raise AuxiliaryVectorsError(
            f"{path} is truncated: its {len(mapped):,} bytes end in the dictionary, after "
            f"{count:,} of {header.n_entries:,} entries",
            _GET_AGAIN,
        )
    return end, matrix


def _kept(path: Path, mapped: mmap.mmap, header: _Header, start: int) -> Int64[np.ndarray, "2 _"]:
    """Return the buckets that a pruned model keeps, and the rows where they are now."""
    pairs = np.frombuffer(mapped, "<i4", 2 * header.n_pruned, start).reshape(-1, 2)
    kept: Int64[np.ndarray, "2 _"] = pairs[np.argsort(pairs[:, 0])].T.astype(np.int64)
    if kept.size and (kept.min() < 0 or kept[1].max() >= header.n_pruned):
        raise AuxiliaryVectorsError(
            f"{path} is damaged: {header.n_pruned} n-grams are kept, with rows up to "
            f"{kept[1].max()}",
            _GET_AGAIN,
        )
    return kept


def _truncated(path: Path, size: int, part: str, expected: int) -> AuxiliaryVectorsError:
    return AuxiliaryVectorsError(
        f"{path} is truncated: it has {size:,} bytes, its {part} ends at {expected:,}", _GET_AGAIN
    )
