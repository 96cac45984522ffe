"""As many new tokens as a budget can teach, and what they save in the tokenizer that has them."""

from dataclasses import replace

import pytest

from saltlm.tokenizer.budget import budget_vocabulary, count_words, is_whole, new_token_test
from saltlm.tokenizer.continued_merges import pairs_in, rank_merges
from saltlm.tokenizer.counts import count_tokens, encode_texts
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.vocabulary import Form, speller
from tiny_pairs import extended_by

ENGLISH, GERMAN = slice(0, 6), slice(6, 12)


@pytest.fixture(params=["bytelevel", "sentencepiece", "unigram"])
def source(request, tokenizers_by_family, corpus):
    """A tokenizer that knows the words of the English lines only."""
    own = tokenizers_by_family[request.param]
    return Definition.of(
        prune_tokenizer(Definition.of(own), count_tokens(own, corpus[ENGLISH])).tokenizer
    )


def chosen(source, corpus, **options):
    given = {"budget": 400, "min_occurrences": 2, **options}
    return budget_vocabulary(source, corpus[GERMAN], corpus[ENGLISH], **given)


def test_the_tokens_are_made_and_save_what_was_said(source, corpus):
    found = chosen(source, corpus)
    assert len(found.tokens) > 10
    extension = extended_by(found, source, corpus[ENGLISH])
    assert extension.sample_changed == 0
    assert extension.n_intermediate == 0
    assert extension.n_new >= 0.9 * len(found.tokens)
    before, after = (
        sum(map(len, encode_texts(each, corpus[GERMAN])))
        for each in (source.tokenizer, extension.target.tokenizer)
    )
    saved = found.saved * found.n_tokens  # those that are no unknown letters
    assert before >= found.n_tokens
    assert before - after == pytest.approx(saved, rel=0.1)


def test_the_number_is_what_the_budget_can_teach(source, corpus):
    few, more = chosen(source, corpus, min_occurrences=6), chosen(source, corpus)
    assert 0 < len(few.tokens) < len(more.tokens)
    assert more.tokens[: len(few.tokens)] == few.tokens
    for found in (few, more):
        numbers = [point.n_new for point in found.curve]
        assert numbers == sorted(set(numbers))
        at = next(point for point in found.curve if point.n_new == len(found.tokens))
        assert found.occurrences == at.occurrences >= (6 if found is few else 2)
        assert not found.is_taught
        assert found.saved == at.saved
        n_words = sum(len(line.split()) for line in corpus[GERMAN])
        assert at.tokens_per_word == pytest.approx((1 - at.saved) * found.n_tokens / n_words)
        assert all(point.n_new > 0 for point in found.curve[1:])
    assert len(chosen(source, corpus, budget=1).tokens) == 0


def test_counts_teach_what_occurs_twice(source, corpus, monkeypatch):
    """Without a number, in a short training: 20 in the budget, or more tokens up to 12,000."""
    taught = chosen(source, corpus, min_occurrences=None)
    assert taught.is_taught
    assert taught.record()["is_taught"]
    longer = chosen(source, corpus, budget=10**9, min_occurrences=1e-9)  # of all that can be merged
    assert 10 < len(taught.tokens) < len(longer.tokens)
    assert taught.tokens == longer.tokens[: len(taught.tokens)]
    ranked = rank_merges(
        count_words(source, corpus[GERMAN]).pieces,
        most=10**6,
        least=2,
        refused=pairs_in(count_words(source, corpus[ENGLISH]).pieces),
        is_allowed=new_token_test(source),
    )
    assert taught.tokens == tuple(merged.token for merged in ranked)
    monkeypatch.setattr("saltlm.tokenizer.budget._ENOUGH", 7)
    assert len(chosen(source, corpus, min_occurrences=None).tokens) == 7
    by_rule = chosen(source, corpus, budget=5000, min_occurrences=None)  # more than the seven
    assert by_rule.tokens == chosen(source, corpus, budget=5000, min_occurrences=20).tokens
    assert len(by_rule.tokens) > 7
    assert not by_rule.is_taught
    monkeypatch.setattr("saltlm.tokenizer.budget._MOST_TAUGHT", 399)
    untaught = chosen(source, corpus, min_occurrences=None)
    assert not untaught.is_taught
    assert untaught.tokens == chosen(source, corpus, min_occurrences=20).tokens


def test_the_verdict_is_about_the_share_that_is_saved(source, corpus):
    little = chosen(source, corpus, budget=30, min_occurrences=1)
    assert little.saved < 0.25
    assert "with so little, plain training may do as well" in little.verdict
    assert little.record()["verdict"] == little.verdict
    much = chosen(source, corpus, budget=10**6)
    assert much.saved > 0.25
    assert "with as much some trials were ahead of plain training" in much.verdict
    taught = replace(much, is_taught=True)
    assert "with as much, trials were ahead of plain training" in taught.verdict


def test_words_are_stretches_that_no_merge_crosses(tokenizers_by_family, corpus):
    for family in ("bytelevel", "sentencepiece", "unigram"):
        definition = Definition.of(tokenizers_by_family[family])
        words = count_words(definition, corpus)
        assert words.n_words == sum(len(line.split()) for line in corpus)
        n_pieces = sum(len(word) * count for word, count in words.pieces.items())
        ids = [id for text in encode_texts(definition.tokenizer, corpus) for id in text]
        assert n_pieces == sum(id != definition.unknown_id for id in ids)
        assert not any(piece.startswith(("▁", "Ġ")) for word in words.pieces for piece in word[1:])
    assert count_words(definition, corpus * 99, most_characters=1).n_words < 99 * words.n_words


def test_halves_of_characters_are_left_out(tokenizers_by_family):
    definition = Definition.of(tokenizers_by_family["bytelevel"])
    spell = speller(definition)
    spelled = lambda data: spell(Form(data, False))  # noqa: E731
    assert is_whole(definition, spelled("für".encode()))
    assert is_whole(definition, spelled("語".encode()[:2]))  # the beginning of one
    assert not is_whole(definition, spelled("語".encode()[1:]))
    assert not is_whole(definition, spelled("a語".encode()[:2]))
