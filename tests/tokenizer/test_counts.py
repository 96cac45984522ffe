"""Tokens are counted exactly, and a batch at a time."""

from collections import Counter

import pytest

from saltlm.tokenizer import counts
from saltlm.tokenizer.counts import count_tokens


@pytest.mark.parametrize("family", ["bytelevel", "unigram", "wordpiece"])
def test_counts_are_those_of_single_texts(tokenizers_by_family, corpus, family):
    tokenizer = tokenizers_by_family[family]
    expected = Counter(
        id for text in corpus for id in tokenizer.encode(text, add_special_tokens=False).ids
    )
    found = count_tokens(tokenizer, corpus)
    assert len(found) == tokenizer.get_vocab_size()
    assert {id: n for id, n in enumerate(found.tolist()) if n} == expected
    padded = count_tokens(tokenizer, corpus, n_rows=len(found) + 7)
    assert padded.tolist() == [*found.tolist(), *[0] * 7]
    assert count_tokens(tokenizer, []).sum() == 0


def test_one_batch_is_held_at_a_time(tokenizers_by_family, corpus, monkeypatch):
    monkeypatch.setattr(counts, "_DOCUMENTS", 4)
    monkeypatch.setattr(counts, "_CHARACTERS", 200)
    read, encoded = [], []
    whole = counts.encode_texts

    def watched(tokenizer, texts):
        encoded.extend(texts)
        assert len(texts) <= 4
        assert sum(map(len, texts[:-1])) < 200
        assert read == encoded  # nothing is read ahead
        return whole(tokenizer, texts)

    def texts():
        for text in corpus * 3:
            read.append(text)
            yield text

    monkeypatch.setattr(counts, "encode_texts", watched)
    count_tokens(tokenizers_by_family["bytelevel"], texts())
    assert encoded == corpus * 3
