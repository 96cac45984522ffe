"""Tokenizers that exist only as a SentencePiece model: converted, and compared with the original.

transformers turns such a file into a fast tokenizer, but not always into the same one: a class that
does not fit, or a step of the normalization that is left out, gives other tokens without a word.
"""

import importlib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer

from saltlm.errors import MissingExtraError, VocabularyError

SENTENCEPIECE_FILES = (
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "tokenizer.model",
)
"""What models call their SentencePiece file."""

_MOST_PIECES = 20_000  # of the vocabulary that are put into the sample
_RUN = 20  # pieces to a text
_PROBES = (
    "Two words, and 3.14 of them.",
    "  two  spaces at  both ends  ",
    "lines\nand\ttabs\r\n",
    "\ufb01ne \u2460 \uff21\uff22 \u212b x\u00b2 \u2026",  # what NFKC rewrites
    "e\u0301te\u0301 \u00e9t\u00e9 \u0130\u00df \u017f",
    "\u0645\u0631\u062d\u0628\u0627 \u4f60\u597d \U0001f600 \U0001f44d\U0001f3fd",
    "1000000 20240101",
    "\u2581 \u200b\u00a0\u3000.",
)


def find_sentencepiece(directory: Path) -> Path | None:
    """Return the SentencePiece model of a directory; None if it has none."""
    return next(
        (directory / name for name in SENTENCEPIECE_FILES if (directory / name).is_file()), None
    )


def check_conversion(converted: Tokenizer, file: Path) -> None:
    """Compare a converted tokenizer with the SentencePiece model that it was made of.

    Both cut a sample: probes of white space, digits, scripts and rewritten characters, and the
    model's own pieces in runs. A class that lower-cases or drops accents may do so.

    Raises:
        VocabularyError: the file is no SentencePiece model, its pieces have other ids, or a text is
            cut in other places.
        MissingExtraError: sentencepiece is not installed.
    """
    original = _open(file)
    size = original.get_piece_size()
    ids = {id: converted.token_to_id(original.id_to_piece(id)) for id in range(size)}
    text_ids = [id for id in ids if not (original.is_control(id) or original.is_unknown(id))]
    shifts = {None if (new := ids[id]) is None else new - id for id in text_ids}
    if len(shifts) > 1 or None in shifts:
        lost = sum(ids[id] is None for id in text_ids)
        raise _refused(
            file,
            f"{lost} of {len(text_ids)} pieces are lost" if lost else "pieces change their order",
        )
    prepare = _preparation(converted)
    for text in _sample(original, text_ids):
        expected = [ids[id] for id in original.encode(prepare(text))]
        found = converted.encode(text, add_special_tokens=False)
        if found.ids != expected:
            pieces = original.encode(prepare(text), out_type=str)
            raise _refused(file, f"{text!r} becomes {found.tokens}, not {pieces}")


def require_sentencepiece(file: Path) -> None:
    """Make sure that SentencePiece models can be read.

    Raises:
        MissingExtraError: a package is missing.
    """
    try:
        for package in ("google.protobuf", "sentencepiece"):
            importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(f"reading {file}", "sentencepiece") from error


def _open(file: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(file))
    except (RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise VocabularyError(
            f"{file} is not a SentencePiece model: {reason}",
            "use a copy of the model that has a tokenizer.json",
        ) from error


def _refused(file: Path, reason: str) -> VocabularyError:
    return VocabularyError(
        f"{file} is not converted without loss by transformers {transformers.__version__}: "
        f"{reason}",
        "name the right tokenizer_class in tokenizer_config.json, or accept the loss: python -c"
        f" \"from transformers import AutoTokenizer as T; T.from_pretrained('{file.parent}')"
        f".save_pretrained('{file.parent}')\"",
    )


def _preparation(converted: Tokenizer) -> Callable[[str], str]:
    """Return what the model's class does to a text before SentencePiece sees it."""

    def drops(text: str) -> bool:
        normalizer = converted.normalizer
        return normalizer is not None and text not in normalizer.normalize_str(text)

    drops_case, drops_accents = drops("A"), drops("\u00e9")

    def prepare(text: str) -> str:
        if drops_accents:
            parts = unicodedata.normalize("NFKD", text)
            text = "".join(part for part in parts if not unicodedata.combining(part))
        return text.lower() if drops_case else text

    return prepare


def _sample(original: Any, text_ids: list[int]) -> Iterator[str]:
    yield from _PROBES
    step = max(1, len(text_ids) // _MOST_PIECES)
    pieces = [original.id_to_piece(id) for id in text_ids[::step] if not original.is_byte(id)]
    for start in range(0, len(pieces), _RUN):
        yield "".join(pieces[start : start + _RUN]).replace("\u2581", " ")
