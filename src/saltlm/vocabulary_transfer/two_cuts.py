"""Texts as two vocabularies cut them, for the fits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

from saltlm.methods.input_fit import common_ends

_CHARACTERS = 16  # of a document are cut for each token that is read


@dataclass(frozen=True)
class CutText:
    """One document as two vocabularies cut it, and each token's characters, first and end."""

    old: list[int]
    old_spans: list[tuple[int, int]]
    new: list[int]
    new_spans: list[tuple[int, int]]


def cut_twice(
    before: Tokenizer, after: Tokenizer, context: int, texts: Iterable[str]
) -> Iterator[CutText]:
    """Yield texts as both vocabularies cut their beginnings, of which so many tokens are read."""
    most = context - 1  # a token stands before each document
    for text in texts:
        beginning = text[: _CHARACTERS * most]
        old, new = (
            tokenizer.encode(beginning, add_special_tokens=False) for tokenizer in (before, after)
        )
        cut = CutText(old.ids[:most], old.offsets[:most], new.ids[:most], new.offsets[:most])
        if cut.old and cut.new:
            yield cut


def common_ends_of(text: CutText) -> tuple[list[int], list[int]]:
    """Return the places of the tokens of both cuts that end at the same character."""
    return common_ends(text.old_spans, text.new_spans)
