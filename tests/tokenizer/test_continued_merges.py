"""Merging goes on as it would if all pairs were counted anew each time."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from saltlm.tokenizer.continued_merges import Merged, pairs_in, rank_merges

WORDS = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=7).map(tuple),
    st.integers(1, 5),
    max_size=8,
)


def naive(words, most, least, refused=frozenset(), is_allowed=lambda left, right: True):
    """Count all pairs anew before each merge."""
    words = [(list(word), count) for word, count in words.items()]
    merged, passed = [], set(refused)
    while len(merged) < most:
        counts = Counter()
        for word, count in words:
            for pair in pairwise(word):
                counts[pair] += count
        made = {one.token for one in merged}
        found = [pair for pair in counts if pair not in passed and "".join(pair) not in made]
        if not found:
            break
        best = min(found, key=lambda pair: (-counts[pair], pair))
        if counts[best] < least:
            break
        if not is_allowed(*best):
            passed.add(best)
            continue
        merged.append(Merged(*best, counts[best]))
        for place, (word, count) in enumerate(words):
            text, at = [], 0
            while at < len(word):
                if tuple(word[at : at + 2]) == best:
                    text.append("".join(best))
                    at += 2
                else:
                    text.append(word[at])
                    at += 1
            words[place] = text, count
    return merged


@given(WORDS, st.integers(0, 9), st.integers(1, 4))
def test_counts_that_are_kept_up_are_those_that_are_made_anew(words, most, least):
    assert rank_merges(words, most=most, least=least) == naive(words, most, least)


@given(WORDS, st.sets(st.tuples(*[st.sampled_from("abc")] * 2)), st.sampled_from("abc"))
def test_what_is_refused_is_passed_over(words, refused, letter):
    rule = lambda left, right: not (left + right).endswith(letter)  # noqa: E731
    found = rank_merges(words, most=9, least=1, refused=refused, is_allowed=rule)
    assert found == naive(words, 9, 1, refused, rule)
    assert not refused & {(one.left, one.right) for one in found}


@given(WORDS)
def test_every_prefix_is_closed_and_each_token_saves_less(words):
    found = rank_merges(words, most=20, least=1)
    known = {piece for word in words for piece in word}
    for one in found:
        assert {one.left, one.right} <= known
        assert one.token not in known
        known.add(one.token)
    saved = [one.occurrences for one in found]
    assert saved == sorted(saved, reverse=True)


def test_pairs_in_words():
    assert pairs_in([("a", "b", "c"), ("d",)]) == {("a", "b"), ("b", "c")}
