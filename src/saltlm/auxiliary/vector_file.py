"""A file of vectors of any kind that is read: what composes vectors, or a list of words."""

from collections.abc import Collection
from pathlib import Path

from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.floret_format import check_floret, read_floret
from saltlm.auxiliary.recognise import kind_of
from saltlm.auxiliary.spacy_format import (
    check_spacy,
    is_floret,
    read_spacy,
    read_spacy_floret,
    spacy_folder,
)
from saltlm.auxiliary.subwords import SubwordModel
from saltlm.auxiliary.word2vec_format import WordVectors, check_vectors_file, read_word_vectors
from saltlm.errors import AuxiliaryVectorsError


def check_vector_file(path: Path) -> None:
    """Look at the beginning of a file, or at the whole of what is mapped.

    Raises:
        AuxiliaryVectorsError: it is missing, damaged or of a kind that is not read.
        MissingExtraError: its kind needs an extra that is not installed.
    """
    kind, folder = kind_of(path), spacy_folder(path)
    if kind == "fasttext":
        read_fasttext(path)
    elif kind == "floret":
        check_floret(path)
    elif folder is not None:
        check_spacy(folder)
    else:
        check_vectors_file(path)


def subword_model(path: Path) -> SubwordModel | None:
    """Open a file that composes vectors of subwords; None if it is a list of words.

    Raises:
        AuxiliaryVectorsError: it is missing, damaged or of a kind that is not read.
    """
    kind, folder = kind_of(path), spacy_folder(path)
    if kind == "fasttext":
        return read_fasttext(path)
    if kind == "floret":
        return read_floret(path)
    return read_spacy_floret(folder) if folder is not None and is_floret(folder) else None


def read_words(path: Path, wanted: Collection[str] | None) -> WordVectors:
    """Read the vectors of some words of a list of words; None for all of them.

    Raises:
        AuxiliaryVectorsError: it is damaged, or all words are asked of spaCy, which hashes them.
        MissingExtraError: its kind needs an extra that is not installed.
    """
    folder = spacy_folder(path)
    if folder is None:
        return read_word_vectors(path, wanted)
    if wanted is None:
        raise AuxiliaryVectorsError(
            f"{path} holds spaCy's vectors, which keep no list of their words",
            "give the .vec file that the model was made from",
        )
    return read_spacy(folder, wanted)


def files_of(path: Path) -> list[Path]:
    """Return the files that are read when a file or a folder of vectors is named."""
    folder = spacy_folder(path)
    if folder is None:
        return [path]
    files = (folder / name for name in ("vectors", "key2row", "vectors.cfg"))
    return [file for file in files if file.is_file()]
