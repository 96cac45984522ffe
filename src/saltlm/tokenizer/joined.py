"""A tokenizer cut to a corpus, in which neighbours that often stand together are one token.

A multilingual PLM has short pieces for each of its languages. Joined, they shorten a text by more
than the rare pieces whose places they take.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from saltlm.errors import VocabularyError
from saltlm.tokenizer.budget import count_words, new_token_test
from saltlm.tokenizer.continued_merges import Merged, rank_merges
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.insert import splice
from saltlm.tokenizer.prune import PrunedTokenizer, letters_of, prune_tokenizer
from saltlm.tokenizer.vocabulary import spelled_vocabulary, spoken_text

_CHARACTERS = 32_000_000  # of a corpus are read for pairs, from its beginning


@dataclass(frozen=True)
class JoinedTokenizer:
    """A pruned tokenizer with tokens that are joined from its own.

    Attributes:
        definition: with the joined tokens behind the others.
        pruned: the tokenizer without them.
        n_joined: how many there are.
    """

    definition: Definition
    pruned: PrunedTokenizer
    n_joined: int


def join_pieces(
    definition: Definition,
    counts: Int64[Tensor, " v"],
    corpus: Iterable[str],
    *,
    size: int,
    special: Iterable[str] = (),
    least: float = 1,
) -> JoinedTokenizer:
    """Return the tokenizer with the most frequent of its tokens and of their joins.

    A join is counted as it is made, from the most frequent down; it takes a place where it is more
    frequent than the token that would have had it. Words and runs of symbols are joined, each
    among themselves; numbers stay as they are.

    Args:
        definition: of a BPE or Unigram tokenizer.
        counts: occurrences of each id in the corpus, from `count_tokens`.
        corpus: the text, a document each.
        size: tokens to keep, joined ones included.
        special: tokens to keep beside those that the tokenizer itself marks as special.
        least: occurrences of a join.

    Raises:
        VocabularyError: the tokenizer is of another kind, or ``size`` is too small.
    """
    if definition.kind not in ("BPE", "Unigram"):
        raise VocabularyError(
            f"the pieces of a {definition.kind} tokenizer cannot be joined",
            "--vocabulary plm takes them as they are",
        )
    special = [*special]
    own = prune_tokenizer(definition, counts, special=special)
    words = count_words(own.definition, corpus, most_characters=_CHARACTERS).pieces
    ranked = rank_merges(words, most=size, least=least, is_allowed=_is_allowed(own.definition))
    n_joined = _n_joined(ranked, counts, size, size - _n_needed(definition, counts, special))
    pruned = prune_tokenizer(definition, counts, size=size - n_joined, special=special)
    kept = pruned.definition
    joined = splice(
        kept,
        1 + max(kept.ids.values()),
        _possible(ranked[:n_joined], {*kept.ids}),
        {*special},
        is_ranked=True,
    )
    return JoinedTokenizer(joined.definition, pruned, len(joined.added))


def _n_needed(definition: Definition, counts: Int64[Tensor, " v"], special: list[str]) -> int:
    """Return how many tokens have to stay: letters and special tokens."""
    used = [token for token, id in definition.ids.items() if counts[id] > 0]
    return len({*letters_of(definition, used), *special, *definition.specials})


def _n_joined(ranked: list[Merged], counts: Int64[Tensor, " v"], size: int, most: int) -> int:
    """Return how many joins are among the ``size`` most frequent of tokens and joins."""
    frequencies = counts.sort(descending=True).values[:size].tolist()
    frequencies += [0] * (size - len(frequencies))
    n_joined = 0
    while n_joined < min(most, len(ranked)):
        if ranked[n_joined].occurrences <= frequencies[size - 1 - n_joined]:
            break
        n_joined += 1
    return n_joined


def _possible(ranked: Iterable[Merged], known: set[str]) -> Iterator[str]:
    """Yield the joins of which both parts are there."""
    for merged in ranked:
        if {merged.left, merged.right} <= known:
            known.add(merged.token)
            yield merged.token


def _is_allowed(definition: Definition) -> Callable[[str, str], bool]:
    """Return the test of a pair: it makes a new token, all of letters or all of symbols."""
    is_new = new_token_test(definition)

    def is_allowed(left: str, right: str) -> bool:
        (form,) = spelled_vocabulary(definition, [left + right]).forms
        text = spoken_text(form) if form is not None else None
        return (text is None or _is_of_a_kind(text)) and is_new(left, right)

    return is_allowed


def _is_of_a_kind(text: str) -> bool:
    """Tell whether a text is of letters, or of symbols, and has no number."""
    kinds = {unicodedata.category(char)[0] for char in text.removeprefix(" ")}
    return kinds <= {"L", "M"} or kinds.isdisjoint("LMN")
