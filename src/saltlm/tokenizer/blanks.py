"""Tokenizers that cut at every blank, so that a word is cut alike wherever it stands.

A corpus repeats its words: with such a tokenizer each need be cut only once to count tokens. Blanks
are no part of tokens (WordPiece, most Unigram ones) or begin them (byte-level ones).
"""

import json
import re
from typing import Any

from tokenizers import Tokenizer

# What takes letters one by one, or with the marks behind them.
_NORMALIZERS = {
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Strip",
    "StripAccents",
}  # fmt: skip
_CUT_AT_BLANKS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_CUT_FURTHER = {"Digits", "Punctuation", "UnicodeScripts"}
_BLANKS = (" ", "\n")

# A word that begins otherwise may begin with a mark, which normalizers join to the blank before it.
_PLAIN = (
    r"\x21-\x7e\w\u00a1-\u00bf\u060c\u061b\u061f"
    r"\u2010-\u2027\u2030-\u205e\u3001-\u3020\uff01-\uff65"
)
_UNSAFE_START = re.compile(rf"(?:^|[ \n])(?:[^{_PLAIN} \n]|[\u0e33\u0eb3\uff9e\uff9f])")


def cuts_at_blanks(tokenizer: Tokenizer) -> bool:
    """Tell whether the tokens of a text are those of its `words`, one after the other."""
    added = tokenizer.get_added_tokens_decoder().values()
    if any(token.content.split() != [token.content] for token in added):
        return False
    first, *others = _steps(tokenizer.pre_tokenizer, "pretokenizers") or [{}]
    return (
        first.get("type") in _CUT_AT_BLANKS
        and all(_cuts_a_word_alone(step) for step in others)
        and all(_changes_a_word_alone(step) for step in _steps(tokenizer.normalizer, "normalizers"))
    )


def cuts_before_blanks(tokenizer: Tokenizer) -> bool:
    """Tell whether the tokens of a text are those of its words, each with the blank before it.

    That is so where single blanks stand between words, and no other white space.
    """
    added = tokenizer.get_added_tokens_decoder().values()
    if any(token.lstrip or token.rstrip or " " in token.content for token in added):
        return False
    *others, last = _steps(tokenizer.pre_tokenizer, "pretokenizers") or [{}]
    return (
        (last.get("type") == "ByteLevel" and last["use_regex"] and not last["add_prefix_space"])
        and all(step["type"] == "Digits" for step in others)
        and all(step["type"] == "NFC" for step in _steps(tokenizer.normalizer, "normalizers"))
    )


def words(text: str) -> list[str] | None:
    """Return what stands between a text's blanks; None if one may depend on what is before it."""
    if _UNSAFE_START.search(text):
        return None
    return text.replace(_BLANKS[1], _BLANKS[0]).split(_BLANKS[0])


def _steps(component: Any, parts: str) -> list[dict[str, Any]]:
    """Return a normalizer or pre-tokenizer as the list of what it does."""
    if component is None:
        return []
    state: dict[str, Any] = json.loads(component.__getstate__())
    return state[parts] if state["type"] == "Sequence" else [state]


def _cuts_a_word_alone(step: dict[str, Any]) -> bool:
    return step["type"] in _CUT_FURTHER or (
        step["type"] == "Metaspace" and step["prepend_scheme"] != "first"
    )


def _changes_a_word_alone(step: dict[str, Any]) -> bool:
    if step["type"] != "Replace":
        return step["type"] in _NORMALIZERS
    if step["pattern"].get("Regex") in {" {2,}", " +", r"\s+"}:
        return step["content"] in _BLANKS
    found, put = step["pattern"].get("String", " "), step["content"]
    return not any(letter.isspace() for letter in found) and (put in _BLANKS or put.isalnum())
