"""Tokens are counted exactly, and a batch at a time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

from saltlm.tokenizer import counts
from saltlm.tokenizer.blanks import cuts_at_blanks, cuts_before_blanks
from saltlm.tokenizer.counts import count_tokens, cut_texts, encode_texts


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
    count_tokens(tokenizers_by_family["metaspace"], texts())
    assert encoded == corpus * 3


BY_WORDS = ("unigram", "bytelevel")
# Blanks of every kind, marks behind letters, blanks and nothing, and letters that change alone.
LETTERS = "aßz0 \n\t\r\u00a0.,!»„-_ä\u0308\u0301ạ\u0323\u200d\u200b\u3000中ำกิᄒ\u1161①ﬁ😀¨€▸\u2028"
TEXTS = st.text(st.sampled_from(LETTERS), max_size=40)


@pytest.mark.parametrize("family", ["unigram", "wordpiece"])
@given(texts=st.lists(TEXTS, max_size=4))
def test_a_word_is_cut_once_and_counted_as_often_as_it_stands(tokenizers_by_family, family, texts):
    tokenizer = tokenizers_by_family[family]
    assert cuts_at_blanks(tokenizer)
    expected = Counter(
        id for text in texts for id in tokenizer.encode(text, add_special_tokens=False).ids
    )
    found = count_tokens(tokenizer, texts)
    assert {id: n for id, n in enumerate(found.tolist()) if n} == expected


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
OF_DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES])
# Contractions, numbers, marks, a control token, and what some take for white space.
WORDS = st.text(st.sampled_from("az's01.,!-_ßä\u0301\u200b\u180e\x1f中😀"), min_size=1, max_size=6)
LINES = st.lists(WORDS | st.just("<|im_start|>"), max_size=9).map(" ".join)


def like(tokenizer: Tokenizer, **parts: object) -> Tokenizer:
    """A copy with other parts."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    return tokenizer


@pytest.mark.parametrize("cut", [BYTES, OF_DIGITS], ids=["GPT-2", "SmolLM2"])
@given(texts=st.lists(LINES | TEXTS, max_size=4))
def test_a_word_with_the_blank_before_it_is_cut_once(tokenizers_by_family, cut, texts):
    tokenizer = like(tokenizers_by_family["bytelevel"], pre_tokenizer=cut)
    assert cuts_before_blanks(tokenizer)
    expected = Counter(
        id for text in texts for id in tokenizer.encode(text, add_special_tokens=False).ids
    )
    found = count_tokens(tokenizer, texts)
    assert {id: n for id, n in enumerate(found.tolist()) if n} == expected


def test_what_may_begin_a_word_otherwise_reads_whole_texts(tokenizers_by_family):
    tokenizer = tokenizers_by_family["bytelevel"]
    for part, value in (
        ("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
        ("pre_tokenizer", pre_tokenizers.Sequence([BYTES, pre_tokenizers.Metaspace()])),
        ("normalizer", normalizers.NFKC()),
    ):
        assert not cuts_before_blanks(like(tokenizer, **{part: value}))
    for token in (AddedToken("<x>", rstrip=True), AddedToken("<x>", lstrip=True), "to be"):
        changed = like(tokenizer)
        changed.add_tokens([token])
        assert not cuts_before_blanks(changed)
    assert not any(cuts_before_blanks(tokenizers_by_family[f]) for f in ("unigram", "wordpiece"))


def test_words_are_few_at_a_time(tokenizers_by_family, corpus, monkeypatch):
    found = {family: count_tokens(tokenizers_by_family[family], corpus) for family in BY_WORDS}
    monkeypatch.setattr(counts, "_DOCUMENTS", 3)
    monkeypatch.setattr(counts, "_WORDS", 5)
    for family, expected in found.items():
        assert count_tokens(tokenizers_by_family[family], corpus).equal(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": pre_tokenizers.Metaspace()},
        {"pre_tokenizer": pre_tokenizers.ByteLevel()},
        {
            "pre_tokenizer": pre_tokenizers.Sequence(
                [
                    pre_tokenizers.WhitespaceSplit(),
                    pre_tokenizers.Metaspace(prepend_scheme="first"),
                ]
            )
        },
        {"normalizer": normalizers.Prepend("a")},
        {"normalizer": normalizers.Replace(" a", "b")},
        {"normalizer": normalizers.Replace(Regex("^a"), "b")},
        {"normalizer": normalizers.Replace("a", "\u0301")},
    ],
    ids=str,
)
def test_what_may_cut_a_word_by_its_neighbours_reads_whole_texts(tokenizers_by_family, change):
    tokenizer = Tokenizer.from_str(tokenizers_by_family["unigram"].to_str())
    for part, value in change.items():
        setattr(tokenizer, part, value)
    assert not cuts_at_blanks(tokenizer)


def test_an_added_token_with_a_blank_reads_whole_texts(tokenizers_by_family):
    tokenizer = Tokenizer.from_str(tokenizers_by_family["unigram"].to_str())
    tokenizer.add_tokens(["to be"])
    assert not cuts_at_blanks(tokenizer)


@pytest.mark.parametrize("family", ["bytelevel", "unigram", "wordpiece"])
def test_texts_that_are_cut_are_those_that_are_encoded_and_counted(
    tokenizers_by_family, corpus, family
):
    tokenizer = tokenizers_by_family[family]
    for texts in (corpus[:9], ["", corpus[0]], []):
        cut = cut_texts(tokenizer, texts)
        assert cut.documents() == encode_texts(tokenizer, texts)
        assert cut.counts(5000).equal(count_tokens(tokenizer, texts, n_rows=5000))
