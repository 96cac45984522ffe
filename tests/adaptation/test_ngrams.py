"""Counts of n-grams against their definition in plain Python, with places left out by counting."""

from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltlm.adaptation.ngrams import count_ngrams, mixed, subtract

N_IDS = 6
DOCUMENTS = st.lists(
    st.lists(st.integers(1, N_IDS - 1), min_size=1, max_size=9).map(lambda ids: [0, *ids]),
    min_size=1,
    max_size=6,
)


def counted(documents, order):
    tokens = torch.tensor([id for ids in documents for id in ids])
    positions = torch.tensor([place for ids in documents for place in range(len(ids))])
    return count_ngrams(tokens, positions, N_IDS, order)


def probabilities(ngrams, ids, *, is_counted=True):
    """Return the distribution behind each token of a document but the last, as a matrix."""
    row = torch.tensor([ids])
    positions = torch.arange(len(ids) - 1)[None]
    places = mixed(ngrams, row, positions, torch.full(positions.shape, is_counted))
    found = torch.zeros(len(ids) - 1, ngrams.n_ids)
    subtract(ngrams, places, torch.ones(len(found)), row[0, 1:], found)
    return -found


def by_definition(documents, order, history, *, discounts, without):
    """Return p(. | history) by counting places one by one, one place left out."""
    occurs = [Counter() for _ in range(order + 2)]
    at_begin = Counter()
    for number, ids in enumerate(documents):
        for last in range(len(ids)):
            if (number, last) == without:
                continue
            for n in range(1, order + 1):
                if last >= n - 1:
                    gram = tuple(ids[last - n + 1 : last + 1])
                    occurs[n][gram] += 1
                    at_begin[gram] += last == n - 1 and n > 1
    p = [1 / N_IDS] * N_IDS
    for n in range(1, order + 1):
        if n == order:
            count = occurs[n]
        else:
            before = defaultdict(set)
            for gram in occurs[n + 1]:
                before[gram[1:]].add(gram[0])
            count = {gram: len(before[gram]) + at_begin[gram] for gram in occurs[n]}
        if len(history) < n - 1:
            break
        context = tuple(history[len(history) - n + 1 :])
        counts = [count.get((*context, token), 0) for token in range(N_IDS)]
        if not sum(counts):
            continue
        cut = [discounts[n - 1][min(c, 3)] for c in counts]
        kept = [c - d for c, d in zip(counts, cut, strict=True)]
        p = [(k + sum(cut) * q) / sum(counts) for k, q in zip(kept, p, strict=True)]
    return torch.tensor(p, dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@given(documents=DOCUMENTS)
def test_the_distribution_of_a_place_that_is_left_out(order, documents):
    ngrams = counted(documents, order)
    discounts = [level.discounts.tolist() for level in ngrams.levels]
    for number, ids in enumerate(documents):
        found = probabilities(ngrams, ids)
        for place in range(1, len(ids)):
            wanted = by_definition(
                documents, order, ids[:place], discounts=discounts, without=(number, place)
            )
            assert torch.allclose(found[place - 1].double(), wanted, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@given(documents=DOCUMENTS)
def test_the_distribution_of_a_place_that_was_not_counted(order, documents):
    ngrams = counted(documents, order)
    discounts = [level.discounts.tolist() for level in ngrams.levels]
    for ids in documents:
        found = probabilities(ngrams, ids, is_counted=False)
        for place in range(1, len(ids)):
            wanted = by_definition(documents, order, ids[:place], discounts=discounts, without=None)
            assert torch.allclose(found[place - 1].double(), wanted, atol=1e-5)


@pytest.mark.parametrize("order", [1, 3, 5])
@given(documents=DOCUMENTS, other=st.lists(st.integers(0, N_IDS - 1), min_size=2, max_size=8))
def test_it_is_a_distribution_behind_any_text(order, documents, other):
    found = probabilities(counted(documents, order), other)
    assert found.min() >= -1e-6
    assert torch.allclose(found.sum(1), torch.ones(len(other) - 1), atol=1e-5)
