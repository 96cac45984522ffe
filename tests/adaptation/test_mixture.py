"""The order of a run: its mixture, its shuffling, and the bytes it counts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.mixture import (
    check_texts,
    count_bytes,
    describe,
    epoch_order,
    interleave,
    mix,
    read_batch,
)
from saltlm.adaptation.packing import PackedText, open_packed, pack, sequence
from saltlm.errors import DataError

shares = st.lists(st.integers(1, 50), min_size=1, max_size=4).map(
    lambda parts: [part / sum(parts) for part in parts]
)


def packed(folder: Path, name: str, n_documents: int, first_id: int = 0) -> PackedText:
    folder.mkdir()
    documents = [([first_id + i, *[first_id + i] * (i % 4)], 10 + i) for i in range(n_documents)]
    pack(documents, folder, 60_000)
    return open_packed(folder, name, name)


@given(shares, st.integers(1, 300))
def test_each_source_counts_up_and_has_its_share(parts, n):
    source, rank = interleave(parts, n)
    assert len(source) == len(rank) == n
    for index, part in enumerate(parts):
        ranks = rank[source == index]
        assert ranks.tolist() == list(range(len(ranks)))
        for upto in range(n + 1):
            assert abs((source[:upto] == index).sum() - part * upto) <= len(parts)


@given(shares, st.integers(1, 100), st.integers(0, 100))
def test_a_longer_run_begins_like_a_shorter_one(parts, n, more):
    for short, long in zip(interleave(parts, n), interleave(parts, n + more), strict=True):
        assert (short == long[:n]).all()


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_is_a_permutation(n, seed, source, epoch):
    assert sorted(epoch_order(n, seed, source, epoch)) == list(range(n))


def test_epochs_seeds_and_sources_differ():
    orders = {tuple(epoch_order(50, *key)) for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]}
    assert len(orders) == 4


def test_every_epoch_reads_everything_once(tmp_path):
    text = packed(tmp_path / "a", "a", 40)
    n = text.n_sequences(4)
    mixture = mix([text], {"a": None}, n_sequences=2 * n, length=4, seed=3)
    everything = sorted(sequence(text, number, 4).tolist() for number in range(n))
    for epoch in range(2):
        batch = read_batch(mixture, epoch * n, n)
        assert sorted(batch.ids.tolist()) == everything
    assert count_bytes(mixture, 0, n) == pytest.approx(count_bytes(mixture, n, n))


def test_batches_do_not_depend_on_how_they_are_cut(tmp_path):
    texts = [packed(tmp_path / "a", "a", 40), packed(tmp_path / "b", "b", 30, first_id=500)]
    mixture = mix(texts, {"a": None, "b": 0.25}, n_sequences=24, length=4, seed=0)
    whole = read_batch(mixture, 8, 8)
    halves = [read_batch(mixture, first, 4) for first in (8, 12)]
    assert (whole.ids == np.concatenate([half.ids for half in halves])).all()
    for row, source, begin in zip(whole.ids, whole.sources, whole.begins, strict=True):
        assert (row.numpy() == texts[source].tokens[begin : begin + 5]).all()
    assert (whole.positions == np.concatenate([half.positions for half in halves])).all()
    of_b = sum(bool((row >= 500).all()) for row in read_batch(mixture, 0, 24).ids)
    assert of_b == 6
    assert count_bytes(mixture, 8, 8) == pytest.approx(
        count_bytes(mixture, 8, 4) + count_bytes(mixture, 12, 4)
    )


def test_sources_without_a_share_split_the_rest_by_size(tmp_path):
    texts = [packed(tmp_path / name, name, size) for name, size in (("a", 10), ("b", 30), ("c", 5))]
    mixture = mix(texts, {"a": None, "b": None, "c": 0.2}, n_sequences=10, length=2, seed=0)
    sizes = [len(text.tokens) for text in texts]
    assert mixture.shares == pytest.approx(
        (0.8 * sizes[0] / sum(sizes[:2]), 0.8 * sizes[1] / sum(sizes[:2]), 0.2)
    )


def test_too_little_text_is_refused(tmp_path):
    text = packed(tmp_path / "a", "small.txt", 3)
    with pytest.raises(DataError, match=r"small.txt has 6 tokens, fewer than one sequence of 100"):
        check_texts([text], AdaptConfig(data={"a": None}, sequence_length=100))


def test_a_message_names_the_text_of_a_batch(tmp_path):
    text = packed(tmp_path / "a", "a.txt", 40)
    mixture = mix([text], {"a.txt": None}, n_sequences=8, length=4, seed=0)
    places = sorted(epoch_order(text.n_sequences(4), 0, 0, 0)[:2].tolist())
    assert describe(mixture, 0, 2) == f"a.txt: {places[0]}, {places[1]}"
