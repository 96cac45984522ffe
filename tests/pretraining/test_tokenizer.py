"""Tokenizers trained on a corpus: nothing is lost, and the same text gives the same file."""

import re

import pytest

from saltlm.errors import VocabularyError
from saltlm.pretraining.tokenizer import train_tokenizer

LONG = "a" * 3000 + " \u0301" + "\u0915\u093f" * 700


@pytest.mark.parametrize("arch", ["gpt", "bert", "t5"])
@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_every_kind_is_lossless_and_the_same_again(corpus, arch, kind):
    first, again = (
        train_tokenizer(arch, kind, lambda: corpus, size=480, min_frequency=2) for _ in range(2)
    )
    assert first.definition.json == again.definition.json
    assert len(first.definition.ids) == 480
    tokenizer = first.definition.tokenizer
    for text in (*corpus, LONG, " 12 34", "\t\n "):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
    tokens = tokenizer.encode("Haus 1234 \u0915\u093f", add_special_tokens=False).tokens
    assert [token for token in tokens if token.isdigit()] == [*"1234"]


def test_auto_takes_what_occurs_often_enough(corpus):
    sizes = [
        len(
            train_tokenizer("gpt", "bpe", lambda: corpus, size=None, min_frequency=n).definition.ids
        )
        for n in (2, 4, 8)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_more_tokens_than_the_corpus_has(corpus):
    with pytest.raises(
        VocabularyError, match=r"the corpus has [\d,]+ pieces, fewer than the 30,000"
    ) as caught:
        train_tokenizer("gpt", "bpe", lambda: corpus, size=30_000, min_frequency=2)
    size = int(re.search(r"--vocab-size (\d+)$", caught.value.hint)[1])
    made = train_tokenizer("gpt", "bpe", lambda: corpus, size=size, min_frequency=2)
    assert len(made.definition.ids) == size
