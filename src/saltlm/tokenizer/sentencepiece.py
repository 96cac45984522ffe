"""Tokenizers that exist only as a SentencePiece model: converted, and compared with it."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.normalizers import Normalizer
from tokenizers.normalizers import Sequence as Steps

from saltlm.errors import MissingExtraError, VocabularyError
from saltlm.tokenizer.declared import Declared
from saltlm.tokenizer.from_pieces import MARK, class_steps, convert
from saltlm.tokenizer.probes import PROBES

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
_NAMED = 3  # differences that are named


def find_sentencepiece(directory: Path) -> Path | None:
    """Return the SentencePiece model of a directory; None if it has none."""
    return next(
        (directory / name for name in SENTENCEPIECE_FILES if (directory / name).is_file()), None
    )


def tokenizer_of_sentencepiece(file: Path, declared: Declared) -> tuple[Tokenizer, tuple[str, ...]]:
    """Convert a SentencePiece model, and compare the result with the original.

    Args:
        file: the model.
        declared: what its directory says: which ids its pieces have, and what is done to a text.

    Returns:
        the tokenizer, and notes on it.

    Raises:
        VocabularyError: the file is no SentencePiece model, or its cut cannot be reproduced.
        MissingExtraError: sentencepiece is not installed.
    """
    require_sentencepiece(file)
    messages = importlib.import_module("sentencepiece.sentencepiece_model_pb2")

    original = _open(file)
    proto = messages.ModelProto()
    proto.ParseFromString(file.read_bytes())
    tokenizer = convert(proto, declared)
    return tokenizer, check_conversion(tokenizer, original, file, class_steps(declared))


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


def check_conversion(
    converted: Tokenizer, original: Any, file: Path, steps: Sequence[Normalizer] = ()
) -> tuple[str, ...]:
    """Compare a converted tokenizer with the SentencePiece model that it was made of.

    Both cut the probes and the model's own pieces in runs. A text with a piece that the embedding
    has no row for is passed over: the original knows it as unknown, and the converted tokenizer
    spells it.

    Args:
        converted: to be compared.
        original: a SentencePieceProcessor.
        file: it was read from, for messages.
        steps: what the class does to a text before SentencePiece sees it.

    Returns:
        notes: that white space at the ends of a text is cut otherwise, where it is.

    Raises:
        VocabularyError: a text is cut in other places.
    """
    differing: list[str] = []
    at_ends: list[str] = []
    for text, found, expected in _cuts(converted, original, Steps(list(steps))):
        if _without_ends(found) == _without_ends(expected):
            at_ends.append(text)
        else:
            differing.append(_difference(text, found, expected))
    if differing:
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise VocabularyError(
            f"{file} cannot be converted without loss: {'; '.join(differing[:_NAMED])}{more}",
            "give a copy of the model that has a tokenizer.json",
        )
    if not at_ends:
        return ()
    return (
        f"white space at the ends of a text is cut otherwise than by {file}, as in {at_ends[0]!r}",
    )


def _cuts(
    converted: Tokenizer, original: Any, before: Normalizer
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the texts of the sample that are cut differently, with both cuts."""
    known = converted.get_vocab().keys()
    special = [t.content for t in converted.get_added_tokens_decoder().values() if t.special]
    for text in _sample(original):
        for token in special:
            text = text.replace(token, "")
        ids = original.encode(before.normalize_str(text))
        expected = [original.id_to_piece(id) for id in ids]
        found_ids = converted.encode(text, add_special_tokens=False).ids
        found = [str(converted.id_to_token(id)) for id in found_ids]
        if found != expected and known >= set(expected):
            yield text, found, expected


def _difference(text: str, found: list[str], expected: list[str]) -> str:
    same = 0
    while found[same : same + 1] == expected[same : same + 1]:
        same += 1
    start = max(0, same - 1)
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"{shown!r} becomes {found[start : same + 4]}, not {expected[start : same + 4]}"


def _without_ends(pieces: list[str]) -> list[str]:
    """Return pieces without marks of spaces before the first letter and after the last."""
    start, end = 0, len(pieces)
    while start < end and not pieces[start].strip(MARK):
        start += 1
    while start < end and not pieces[end - 1].strip(MARK):
        end -= 1
    kept = pieces[start:end]
    if kept:
        kept[0] = kept[0].lstrip(MARK)
        kept[-1] = kept[-1].rstrip(MARK)
    return kept


def _open(file: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(file))
    except (RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise VocabularyError(
            f"{file} is not a SentencePiece model: {reason}",
            "give a copy of the model that has a tokenizer.json",
        ) from error


def _sample(original: Any) -> Iterator[str]:
    yield from PROBES.values()
    ids = [
        id
        for id in range(original.get_piece_size())
        if not (original.is_control(id) or original.is_unknown(id) or original.is_byte(id))
    ]
    pieces = [original.id_to_piece(id) for id in ids[:: max(1, len(ids) // _MOST_PIECES)]]
    for start in range(0, len(pieces), _RUN):
        yield "".join(pieces[start : start + _RUN]).replace(MARK, " ")
