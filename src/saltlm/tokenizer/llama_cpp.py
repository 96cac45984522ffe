"""A vocabulary as llama.cpp holds it: which of its tokenizers, and what stands in its fields.

llama.cpp does not read ``tokenizer.json``. It has a few tokenizers of its own, and for byte-level
BPE a list of pre-tokenizers by name. What it has no name for, it cannot cut.
Source: llama.cpp's ``src/llama-vocab.cpp``.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tokenizers import Tokenizer

from saltlm.errors import VocabularyError
from saltlm.tokenizer.definition import BYTE_FALLBACK, Definition, Step


class TokenKind(IntEnum):
    """The kinds of tokens, with the numbers of the GGUF format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class LlamaCppVocabulary:
    """The fields of a vocabulary in a GGUF file.

    Attributes:
        model: the tokenizer: "gpt2" (byte-level BPE), "t5" (Unigram) or "bert" (WordPiece).
        pre: the pre-tokenizer's name.
        tokens: one string per row of the embedding.
        kinds: of each token.
        scores: of each token, for Unigram; else empty.
        flags: further fields of ``tokenizer.ggml`` that are true or false.
        character_map: the normalizer's table, for Unigram; else empty.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    kinds: tuple[TokenKind, ...]
    scores: tuple[float, ...] = ()
    flags: dict[str, bool] = field(default_factory=dict)
    character_map: bytes = b""


_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CAPITALISED = rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+"
_CAPITALS = rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SIGNS, _SIGNS_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*"

_MARK = "▁"
_GPT2 = ("ByteLevel", False, True)


def _cut(*alternatives: str) -> tuple[tuple[Any, ...], ...]:
    return ("Split", "|".join(alternatives), "Isolated", False), ("ByteLevel", False, False)


_LLAMA_3 = _cut(_CONTRACTION, _WORD, r"\p{N}{1,3}", _SIGNS, _SPACE)
_NAMES: dict[tuple[tuple[tuple[Any, ...], ...], bool], str] = {
    # steps of the pre-tokenizer, and whether whole words are looked up before merging
    ((_GPT2,), False): "gpt-2",
    ((("Digits", True), _GPT2), False): "smollm",
    (_LLAMA_3, True): "llama-bpe",
    (_LLAMA_3, False): "dbrx",
    (_cut(_CONTRACTION, _WORD, r"\p{N}", _SIGNS, _SPACE), False): "qwen2",
    (_cut(_CAPITALISED, _CAPITALS, r"\p{N}", _SIGNS_SLASH, _SPACE), True): "tekken",
    (
        _cut(
            f"{_CAPITALISED}{_CONTRACTION}?",
            f"{_CAPITALS}{_CONTRACTION}?",
            r"\p{N}{1,3}",
            _SIGNS_SLASH,
            _SPACE,
        ),
        False,
    ): "gpt-4o",
}


def llama_cpp_vocabulary(tokenizer: Tokenizer, n_rows: int) -> LlamaCppVocabulary:
    """Say a tokenizer in llama.cpp's terms.

    Args:
        tokenizer: of the model.
        n_rows: of the model's embedding; rows without a token become unused ones.

    Raises:
        VocabularyError: llama.cpp has no such tokenizer, or no name for its pre-tokenizer.
    """
    definition = Definition.of(tokenizer)
    name = definition.kind
    if definition.is_byte_level:
        name = f"byte-level {name}"
    if name not in _FAMILIES:
        raise VocabularyError(
            f"llama.cpp has no tokenizer for a {name} of this kind",
            f"{_ELSE}; of a byte-level BPE it reads what --mode swap and --mode extend make",
        )
    return _FAMILIES[name](definition, n_rows)


_ELSE = "serve the directory with what reads tokenizer.json: transformers, vLLM, mlx-lm"


def _byte_level(definition: Definition, n_rows: int) -> LlamaCppVocabulary:
    steps = tuple(_said(step) for step in definition.pre_tokenizer_steps)
    pre = _NAMES.get((steps, bool(definition.model.get("ignore_merges"))))
    if pre is None:
        raise VocabularyError(
            f"llama.cpp has no name for this pre-tokenizer: {_described(definition)}", _ELSE
        )
    tokens, kinds = _tokens(definition, n_rows)
    return LlamaCppVocabulary("gpt2", pre, tuple(tokens), tuple(kinds))


def _unigram(definition: Definition, n_rows: int) -> LlamaCppVocabulary:
    tokens, kinds = _tokens(definition, n_rows)
    scores = [float(score) for _, score in definition.model["vocab"]]
    scores += [0.0] * (n_rows - len(scores))
    maps = [step.get("precompiled_charsmap") for step in definition.normalizer_steps]
    cuts = definition.pre_tokenizer_steps
    flags = {
        "add_space_prefix": any(step.get("prepend_scheme", "never") != "never" for step in cuts),
        "remove_extra_whitespaces": any(step["type"] == "WhitespaceSplit" for step in cuts)
        or any(_merges_spaces(step) for step in definition.normalizer_steps),
    }
    character_map = base64.b64decode(next(filter(None, maps), ""))
    return LlamaCppVocabulary(
        "t5", "default", tuple(tokens), tuple(kinds), tuple(scores), flags, character_map
    )


def _merges_spaces(step: Step) -> bool:
    return step["type"] == "Replace" and "{2,}" in str(step["pattern"].get("Regex"))


def _word_piece(definition: Definition, n_rows: int) -> LlamaCppVocabulary:
    """Words begin with the mark there, where WordPiece marks what continues them."""
    tokens, kinds = _tokens(definition, n_rows)
    prefix = definition.prefix
    tokens = [
        token
        if kind != TokenKind.NORMAL
        else token.removeprefix(prefix)
        if token.startswith(prefix)
        else f"{_MARK}{token}"
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    steps = [step for step in definition.normalizer_steps if step["type"] == "BertNormalizer"]
    lower = any(step["lowercase"] for step in steps)
    stripped = any(
        lower if step["strip_accents"] is None else step["strip_accents"] for step in steps
    )
    flags = {"normalizer.lowercase": lower, "normalizer.strip_accents": stripped}
    return LlamaCppVocabulary("bert", "default", tuple(tokens), tuple(kinds), flags=flags)


_FAMILIES: dict[str, Callable[[Definition, int], LlamaCppVocabulary]] = {
    "byte-level BPE": _byte_level,
    "Unigram": _unigram,
    "WordPiece": _word_piece,
}


def _tokens(definition: Definition, n_rows: int) -> tuple[list[str], list[TokenKind]]:
    """Return the token of every row, and its kind."""
    tokens = [f"[PAD{row}]" for row in range(n_rows)]
    kinds = [TokenKind.UNUSED] * n_rows
    for id, piece in definition.pieces.items():
        is_byte = definition.has_byte_fallback and piece in BYTE_FALLBACK
        tokens[id], kinds[id] = piece, TokenKind.BYTE if is_byte else TokenKind.NORMAL
    for token in definition.added:
        kind = TokenKind.CONTROL if token["special"] else TokenKind.USER_DEFINED
        tokens[token["id"]], kinds[token["id"]] = token["content"], kind
    if definition.unknown is not None and not definition.is_byte_level:
        kinds[definition.unknown_id] = TokenKind.UNKNOWN
    return tokens, kinds


def _said(step: Step) -> tuple[Any, ...]:
    """Return what of a step of a pre-tokenizer decides where it cuts."""
    if step["type"] == "ByteLevel":
        return ("ByteLevel", step["add_prefix_space"], step["use_regex"])
    if step["type"] == "Digits":
        return ("Digits", step["individual_digits"])
    if step["type"] == "Split":
        pattern = next(iter(step["pattern"].values()))
        return ("Split", pattern, step["behavior"], step["invert"])
    return (step["type"],)


def _described(definition: Definition) -> str:
    steps = " + ".join(repr(_said(step)) for step in definition.pre_tokenizer_steps)
    whole = ", whole words first" if definition.model.get("ignore_merges") else ""
    return f"{definition.kind}{whole}, {steps or 'no pre-tokenizer'}"
