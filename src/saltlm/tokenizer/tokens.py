"""A tokenizer with all that is read of it."""

from typing import NamedTuple

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.special_tokens import SpecialTokens
from saltlm.tokenizer.vocabulary import Vocabulary, read_vocabulary


class Tokens(NamedTuple):
    """A tokenizer's definition, its special tokens, and what its ids stand for."""

    definition: Definition
    special: SpecialTokens
    vocabulary: Vocabulary


def read_tokens(definition: Definition, special: SpecialTokens) -> Tokens:
    """Read what the ids of a tokenizer stand for.

    Raises:
        VocabularyError: if the tokenizer does not mark where words begin.
    """
    return Tokens(definition, special, read_vocabulary(definition, special=special.tokens))
