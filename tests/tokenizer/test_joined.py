"""Tokens that are joined from a PLM's pieces take places where they are more frequent."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltlm.errors import VocabularyError
from saltlm.tokenizer.continued_merges import Merged
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.joined import _is_of_a_kind, _n_joined, join_pieces
from saltlm.tokenizer.prune import prune_tokenizer

ENGLISH, GERMAN = slice(0, 6), slice(6, 12)
LEAST = 2


@pytest.mark.parametrize("family", ["bytelevel", "sentencepiece", "metaspace", "unigram"])
def test_joins_shorten_the_corpus_in_as_many_tokens(tokenizers_by_family, corpus, family):
    """German, with a tokenizer that has hardly its letters, beside the same size without joins."""
    german = corpus[GERMAN]
    whole = tokenizers_by_family[family]
    english = count_tokens(whole, corpus[ENGLISH])
    letters = count_tokens(whole, [" ".join(text) for text in german])
    few = prune_tokenizer(Definition.of(whole), english + letters)
    counts = count_tokens(few.tokenizer, german)
    size = int((counts > 0).sum()) + 330
    plain = prune_tokenizer(few.definition, counts, size=size)
    made = join_pieces(few.definition, counts, german, size=size, least=LEAST)
    tokenizer = made.definition.tokenizer
    assert made.n_joined > 20
    assert len(made.definition.ids) == len(made.pruned.kept) + made.n_joined <= size
    cuts = [[each.encode(text) for text in german] for each in (plain.tokenizer, tokenizer)]
    plain_length, length = (sum(len(one.ids) for one in cut) for cut in cuts)
    assert length < 0.9 * plain_length
    for one, other in zip(*cuts, strict=True):
        assert tokenizer.decode(other.ids) == plain.tokenizer.decode(one.ids)
    new = made.definition.ids.keys() - few.definition.ids.keys()
    found = count_tokens(tokenizer, german)
    assert len(new) == made.n_joined
    assert not any(char.isdigit() for token in new for char in token)
    assert sum(int(found[made.definition.ids[token]]) > 0 for token in new) > 0.5 * len(new)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.lists(st.integers(1, 9), max_size=8).map(lambda found: sorted(found, reverse=True)),
    st.integers(1, 12),
)
def test_a_join_takes_a_place_where_it_is_more_frequent(counts, occurrences, size):
    ranked = [Merged("a", str(place), count) for place, count in enumerate(occurrences)]
    everything = [(count, 1) for count in counts] + [(count, 0) for count in occurrences]
    everything += [(0, 1)] * size
    most_frequent = sorted(everything, reverse=True)[:size]  # of two alike, the token
    expected = sum(1 - is_token for _, is_token in most_frequent)
    assert _n_joined(ranked, torch.tensor(counts), size, size) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(" Datei", True), ("ếng", True), ("()", True), (" „%", True), ("a.", False), ("x2", False)],
)
def test_words_and_symbols_are_joined_among_themselves(text, expected):
    assert _is_of_a_kind(text) == expected


def test_a_longest_match_cannot_be_joined_and_is_taken_as_it_is(tokenizers_by_family, corpus):
    whole = tokenizers_by_family["wordpiece"]
    counts = count_tokens(whole, corpus)
    with pytest.raises(VocabularyError, match="pieces of a WordPiece tokenizer cannot") as caught:
        join_pieces(Definition.of(whole), counts, corpus, size=900)
    assert caught.value.hint == "--vocabulary plm takes them as they are"
