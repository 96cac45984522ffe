"""Tokenizers that no ``tokenizer.json`` can stand for: refused by name, before anything is read."""

import re
from pathlib import Path

from saltlm.errors import VocabularyError, python_command
from saltlm.tokenizer.declared import Declared

MULTILINGUAL = (
    "take a PLM whose tokenizer is written as a vocabulary; a multilingual one such as"
    " intfloat/multilingual-e5-small, cut to the language with --prune-to N --corpus FILE, will do"
)
"""What to take instead of a tokenizer that cannot be converted."""

_BYTES = "reads single bytes, so the model has no rows of words to give"
_JIEBA = "cuts words with jieba, a program beside the vocabulary"
_MOSES = (
    "cuts words with the rules of Moses and its lists of abbreviations, a program beside the"
    " vocabulary"
)
_REASONS = {
    "bertjapanese": "cuts words with MeCab and its dictionary, a program beside the vocabulary",
    **dict.fromkeys(("byt5", "myt5", "perceiver"), _BYTES),
    "canine": "reads single characters by hash, so the model has no rows of words to give",
    "marian": "has one SentencePiece model to read with and another to write with",
    "fsmt": "has one vocabulary to read with and another to write with",
    "gptneoxjapanese": "rewrites emoji and variants of letters with a list beside the vocabulary",
    **dict.fromkeys(("flaubert", "xlm", "biogpt"), _MOSES),
    **dict.fromkeys(("cpmant", "roformer", "cpm"), _JIEBA),
}
"""Kind of tokenizer -> why its cut cannot be reproduced."""


def check_convertible(declared: Declared) -> None:
    """Make sure that a directory without tokenizer.json has a tokenizer that can be converted.

    Raises:
        VocabularyError: its class cuts text with a program, or there are no pieces at all.
    """
    directory = declared.directory
    reason = _REASONS.get(declared.kind)
    if reason is None and (directory / "source.spm").is_file():
        reason = _REASONS["marian"]
    if reason is not None:
        name = declared.class_name or f"tokenizer ({declared.kind or 'source.spm'})"
        raise VocabularyError(f"the {name} of {directory} {reason}", MULTILINGUAL)
    if (directory / "tekken.json").is_file():
        raise VocabularyError(
            f"{directory} has a tekken.json alone, which saltlm does not read",
            "let transformers write it as tokenizer.json: "
            + resave_command(str(directory), "PreTrainedTokenizerFast"),
        )

    ranks = [*sorted(directory.glob("*.tiktoken")), directory / "tokenizer.model"]
    for file in ranks:
        if file.is_file() and _is_of_tiktoken(file):
            raise VocabularyError(
                f"{file} lists the pieces of tiktoken, but how they cut text into words does not"
                " stand in it",
                f"put the model's tokenizer.json into {directory}, or {MULTILINGUAL}",
            )


def _is_of_tiktoken(file: Path) -> bool:
    """Tell whether a file's first line is bytes in base64, and their rank."""
    with file.open("rb") as opened:
        return re.fullmatch(rb"[A-Za-z0-9+/]+=* \d+", opened.readline(400).rstrip()) is not None


def resave_command(directory: str, class_name: str = "AutoTokenizer") -> str:
    """Return a command that makes a class of transformers write a directory's tokenizer.json."""
    return python_command(
        f"from transformers import {class_name} as T;"
        f" T.from_pretrained({directory!r}).save_pretrained({directory!r})"
    )
