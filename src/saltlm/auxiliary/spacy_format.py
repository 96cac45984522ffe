"""spaCy's vectors: a numpy table beside a msgpack map from hashed words to rows; no pickles.

A model keeps them in `vocab/`, with `vectors.cfg` that says whether the table is floret's.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary.floret_format import check_marks, floret_model
from saltlm.auxiliary.subwords import FloretHash, SubwordModel
from saltlm.auxiliary.word2vec_format import WordVectors
from saltlm.errors import AuxiliaryVectorsError, MissingExtraError
from saltlm.files.json_object import parse_json

_MASK = 2**64 - 1
_MULTIPLIER = 0xC6A4A7935BD1E995
_SYMBOLS = 1000  # smaller keys are spaCy's own names for labels, such as DATE, not hashes
_LARGEST_SETTINGS = 2**16


def spacy_folder(path: Path) -> Path | None:
    """Return the folder with spaCy's vectors that is meant, if there is one.

    A model or an installed package, its ``vocab`` folder, or one of the two files in it.
    """
    folders = [path, path / "vocab", path.parent if path.name in ("vectors", "key2row") else path]
    folders += sorted(path.glob("*/vocab")) if path.is_dir() else []
    return next((folder for folder in folders if _holds_vectors(folder)), None)


def _holds_vectors(folder: Path) -> bool:
    return (folder / "vectors").is_file() and (folder / "key2row").is_file()


def check_spacy(folder: Path) -> None:
    """Open the table and look at the settings.

    Raises:
        AuxiliaryVectorsError: a file is damaged, or there are no vectors.
        MissingExtraError: msgpack is not installed.
    """
    _table(folder)
    if not is_floret(folder):
        _msgpack()


def is_floret(folder: Path) -> bool:
    """Tell whether the table is floret's, which has no words.

    Raises:
        AuxiliaryVectorsError: the settings cannot be read.
    """
    return bool(_settings(folder).get("mode", "default") == "floret")


def read_spacy_floret(folder: Path) -> SubwordModel:
    """Open spaCy's floret table.

    Raises:
        AuxiliaryVectorsError: a file is damaged, or words are marked in another way than floret's.
    """
    settings = _settings(folder)
    try:
        minn, maxn, count, seed = (
            int(settings[name]) for name in ("minn", "maxn", "hash_count", "hash_seed")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / "vectors.cfg", f"{error!r} among floret's settings") from error
    check_marks(folder, str(settings.get("bow")), str(settings.get("eow")), count)
    return floret_model(_table(folder), minn, maxn, FloretHash(count, seed))


def read_spacy(folder: Path, wanted: Collection[str]) -> WordVectors:
    """Look words up in spaCy's vectors; only their rows are read.

    Raises:
        AuxiliaryVectorsError: a file is damaged, or there are no vectors.
        MissingExtraError: msgpack is not installed.
    """
    table = _table(folder)
    by_key = {word_key(word): word for word in wanted}
    rows, n_words, n_symbols = {}, 0, 0
    for key, row in _key_rows(folder / "key2row"):
        n_words += 1
        n_symbols += 0 < key < _SYMBOLS
        if not 0 <= row < len(table):
            raise _damaged(folder / "key2row", f"row {row} of {len(table)}")
        word = by_key.get(key)
        if word is not None and np.isfinite(table[row]).all():
            rows[word] = np.array(table[row], dtype=np.float32)
    note = f"{n_symbols:,} words that are also names of spaCy's labels (DATE, mark) are not found"
    return WordVectors(
        rows, table.shape[1], n_words, tuple(_examples(folder)), (note,) if n_symbols else ()
    )


def word_key(word: str) -> int:
    """Hash a word as spaCy does: MurmurHash2, 64 bits, variant A, of its UTF-8, seed 1."""
    data = word.encode("utf-8", errors="surrogatepass")
    value = (1 ^ len(data) * _MULTIPLIER) & _MASK
    whole = len(data) - len(data) % 8
    for start in range(0, whole, 8):
        part = int.from_bytes(data[start : start + 8], "little") * _MULTIPLIER & _MASK
        part = (part ^ part >> 47) * _MULTIPLIER & _MASK
        value = (value ^ part) * _MULTIPLIER & _MASK
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 47) * _MULTIPLIER & _MASK
    return value ^ value >> 47


def _key_rows(file: Path) -> Iterator[tuple[int, int]]:
    msgpack = _msgpack()
    try:
        with file.open("rb") as opened:
            unpacker = msgpack.Unpacker(opened, strict_map_key=False, max_buffer_size=2**24)
            for _ in range(unpacker.read_map_header()):
                yield int(unpacker.unpack()), int(unpacker.unpack())
    except (ValueError, TypeError, OSError, msgpack.UnpackException) as error:
        raise _damaged(file, repr(error)) from error


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise MissingExtraError("reading spaCy's vectors", "vectors") from error
    return msgpack


def _table(folder: Path) -> Float[np.ndarray, "rows d"]:
    file = folder / "vectors"
    try:
        table: Float[np.ndarray, "rows d"] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _damaged(file, str(error)) from error
    if table.ndim != 2 or table.dtype.kind != "f" or not table.size:
        raise AuxiliaryVectorsError(
            f"{file} is a table of {table.shape} {table.dtype}: this model has no word vectors",
            "take a model with vectors, such as spaCy's md and lg models",
        )
    return table


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "vectors.cfg"
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as opened:
            settings = parse_json(opened.read(_LARGEST_SETTINGS))
    except (ValueError, RecursionError, OSError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(settings, dict):
        raise _damaged(file, "no object")
    return settings


def _examples(folder: Path) -> list[str]:
    """Return some words for messages; spaCy keeps all strings of its vocabulary in one list."""
    try:
        with (folder / "strings.json").open("rb") as opened:
            start = opened.read(400).decode(errors="ignore")
        words: list[str] = parse_json(start[: start.rindex(",")] + "]")
    except (ValueError, OSError):
        return []
    return [word for word in words if isinstance(word, str) and word.strip()][:3]


def _damaged(file: Path, what: str) -> AuxiliaryVectorsError:
    return AuxiliaryVectorsError(
        f"{file} is damaged: {what[:200]}", "get the model again: python -m spacy download MODEL"
    )
