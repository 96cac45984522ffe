"""A model directory's tokenizer, as its files say it.

``tokenizer.json`` is taken as it stands. Without one, the vocabulary that is there is converted
once. What transformers would load instead is compared on probes, and said where it differs.
"""

from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from saltlm.errors import VocabularyError
from saltlm.files.damage import check_fetched, is_panic
from saltlm.files.json_object import read_text
from saltlm.tokenizer.compare import (
    differences,
    is_taken_as_it_stands,
    load_with_transformers,
    take_framing,
)
from saltlm.tokenizer.declared import Declared, add_declared, read_declared
from saltlm.tokenizer.definition import Definition, highest_id
from saltlm.tokenizer.from_continuation import is_of_continuation, tokenizer_of_continuation
from saltlm.tokenizer.from_merges import tokenizer_of_merges
from saltlm.tokenizer.from_vocab_txt import tokenizer_of_vocab_txt
from saltlm.tokenizer.sentencepiece import (
    SENTENCEPIECE_FILES,
    find_sentencepiece,
    tokenizer_of_sentencepiece,
)
from saltlm.tokenizer.special_tokens import read_framing
from saltlm.tokenizer.unconvertible import check_convertible

TOKENIZER_FILES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "dict.txt"),
    *SENTENCEPIECE_FILES,
)
"""Files in which a vocabulary may lie."""


_HALVES = {"vocab.json": "merges.txt", "merges.txt": "vocab.json", "bpe.codes": "vocab.txt"}
"""File that says nothing alone -> what has to be beside it."""

_MOST_IDS_A_TOKEN, _FEW_IDS = 4, 100_000  # ids without a token may lie between others


class ReadTokenizer(NamedTuple):
    """The tokenizer of a directory.

    Attributes:
        tokenizer: it.
        notes: what a user should know of it, a sentence each.
        between: (id, id of the left part, id of the right part) of pieces without a row, which only
            stand between others in merges.
    """

    tokenizer: Tokenizer
    notes: tuple[str, ...] = ()
    between: tuple[tuple[int, int, int], ...] = ()


def load_tokenizer(directory: Path, *, trust_remote_code: bool = False) -> Tokenizer:
    """Return the tokenizer of a model directory; see `read_tokenizer`."""
    return read_tokenizer(directory, trust_remote_code=trust_remote_code).tokenizer


def read_tokenizer(directory: Path, *, trust_remote_code: bool = False) -> ReadTokenizer:
    """Read the tokenizer of a model directory.

    Args:
        directory: with tokenizer.json, vocab.txt, vocab.json and merges.txt, or a SentencePiece
            model.
        trust_remote_code: lets transformers, whose tokenizer is compared, run the directory's code.

    Raises:
        VocabularyError: there is none, it cannot be read or converted without loss, or Git LFS has
            not fetched it.
        MissingExtraError: there is only a SentencePiece model, and no package to read it.
    """
    declared = read_declared(directory)
    for name in TOKENIZER_FILES:
        if (directory / name).is_file():
            check_fetched(directory / name, VocabularyError)
    file = directory / "tokenizer.json"
    read = ReadTokenizer(open_tokenizer(file)) if file.is_file() else _converted(declared)
    is_taken = file.is_file() and is_taken_as_it_stands(declared, read.tokenizer)
    add_declared(read.tokenizer, declared)
    if is_taken:
        return read
    loaded = load_with_transformers(directory, trust_remote_code=trust_remote_code)
    if not file.is_file() and isinstance(loaded, Tokenizer):
        take_framing(read.tokenizer, loaded)
    has_original = find_sentencepiece(directory) is not None or is_of_continuation(declared)
    if not file.is_file() and has_original:
        return read  # of SentencePiece: compared with the original itself; of ``@@``: no other
    found = differences(read.tokenizer, loaded, directory)
    return read._replace(notes=(*read.notes, *found))


def open_tokenizer(file: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, which neither cuts texts off nor fills them up.

    Raises:
        VocabularyError: it cannot be loaded.
    """
    try:
        tokenizer = Tokenizer.from_str(read_text(file))
    except BaseException as error:  # tokenizers raises plain Exception on a broken file
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = str(error).partition("\n")[0]
        raise VocabularyError(
            f"the tokenizer in {file} cannot be loaded: {reason}",
            "fetch the file anew, or give a copy of the model whose tokenizer.json is whole",
        ) from error
    size, highest = tokenizer.get_vocab_size(), highest_id(tokenizer)
    if highest >= _MOST_IDS_A_TOKEN * size + _FEW_IDS:
        raise VocabularyError(
            f"the tokenizer in {file} has {size:,} tokens, but the id {highest:,}",
            "give a copy of the model whose tokenizer.json is whole",
        )
    tokenizer.no_truncation()  # some files ask for it, and texts would be counted cut off or padded
    tokenizer.no_padding()
    return tokenizer


def check_loadable(directory: Path) -> None:
    """Refuse a tokenizer.json whose ids would take gigabytes, before transformers makes room.

    Raises:
        VocabularyError: it is one, or cannot be loaded.
    """
    if (directory / "tokenizer.json").is_file():
        open_tokenizer(directory / "tokenizer.json")


def _converted(declared: Declared) -> ReadTokenizer:
    """Convert the vocabulary of a directory without tokenizer.json."""
    check_convertible(declared)
    directory = declared.directory
    if (spiece := find_sentencepiece(directory)) is not None:
        return ReadTokenizer(*tokenizer_of_sentencepiece(spiece, declared))
    if is_of_continuation(declared):
        tokenizer, between = tokenizer_of_continuation(declared)
        return ReadTokenizer(tokenizer, (), between)
    if all((directory / name).is_file() for name in ("vocab.json", "merges.txt")):
        return ReadTokenizer(*tokenizer_of_merges(declared))
    if (directory / "vocab.txt").is_file():
        return ReadTokenizer(*tokenizer_of_vocab_txt(declared))
    for there, missing in _HALVES.items():
        if (directory / there).is_file():
            raise VocabularyError(
                f"{directory} has half a tokenizer: {there} without {missing}",
                f"put {missing}, or the model's tokenizer.json, into {directory}",
            )
    raise VocabularyError(
        f"{directory} has no tokenizer: neither tokenizer.json, nor vocab.txt, nor vocab.json and"
        " merges.txt, nor a SentencePiece model",
        f"put one of these, best the model's tokenizer.json, into {directory}",
    )


def without_rowless(definition: Definition, n_rows: int) -> tuple[Definition, list[str]]:
    """Return a definition without the special tokens that have no row, and those tokens.

    Saving a tokenizer with transformers may add a pad or mask token that its model never had.
    Nothing changes if one of them stands around texts, or is a piece.
    """
    framing = read_framing(definition.tokenizer)
    used = {piece for piece, _ in framing.single + framing.pair} | {*definition.pieces.values()}
    rowless = [
        token["content"]
        for token in definition.added
        if token["special"] and token["id"] >= n_rows and token["content"] not in used
    ]
    if not rowless:
        return definition, []
    kept = [token for token in definition.added if token["content"] not in rowless]
    return definition.replace(added_tokens=kept), rowless


def check_ids(name: str, tokenizer: Tokenizer, n_rows: int) -> None:
    """Make sure that every token has a row.

    Args:
        name: of the model, for the message.
        tokenizer: its tokenizer.
        n_rows: of its embedding.

    Raises:
        VocabularyError: the tokenizer gives ids beyond the embedding.
    """
    if highest_id(tokenizer) >= n_rows:
        beyond = sorted((id, token) for token, id in tokenizer.get_vocab().items() if id >= n_rows)
        first = ", ".join(f"{token!r} ({id})" for id, token in beyond[:3])
        raise VocabularyError(
            f"{len(beyond)} tokens of {name} lie beyond the {n_rows} rows of its embedding: "
            f"{first}",
            "the tokenizer and the weights are of two models; fetch both from one place",
        )
