import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saltlm.errors import VocabularyError
from saltlm.tokenizer.fertility import encode_documents, fertility, lost_bytes


@pytest.fixture
def load(tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path):
    def load(family):
        return AutoTokenizer.from_pretrained(
            save_tokenizer_dir(
                tokenizers_by_family[family], tmp_path / family, **roles_by_family[family]
            )
        )

    return load


def test_counts_tokens_words_and_bytes_without_special_tokens(load):
    tokenizer = load("unigram")
    documents = ["für den Hund", ""]
    result = fertility(tokenizer, documents)
    assert result.n_words == 3
    assert result.n_bytes == 13
    assert result.n_tokens == len(tokenizer.tokenize("für den Hund"))
    assert result.tokens_per_word == result.n_tokens / 3
    assert result.bytes_per_token == 13 / result.n_tokens


def test_nothing_is_no_division_by_zero(load):
    result = fertility(load("bytelevel"), [])
    assert (result.n_tokens, result.tokens_per_word, result.bytes_per_token) == (0, 0.0, 0.0)


def test_a_byte_level_tokenizer_loses_nothing(load, corpus):
    tokenizer = load("bytelevel")
    assert lost_bytes(tokenizer, corpus, encode_documents(tokenizer, corpus)) == [0] * len(corpus)


def test_a_tokenizer_that_gives_up_is_named(tmp_path):
    made = Tokenizer(models.WordPiece({"a": 0}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, name_or_path="some/model")
    with pytest.raises(VocabularyError, match=r"the tokenizer of some/model is damaged: .*\[UNK\]"):
        encode_documents(tokenizer, ["b"])


def test_what_normalisation_and_unknown_tokens_lose(load):
    tokenizer = load("unigram")
    documents = ["ﬁne dogs", "the ꙮ dog"]
    # The ligature's three bytes come back as two other characters; the unknown letter does not.
    assert lost_bytes(tokenizer, documents, encode_documents(tokenizer, documents)) == [3, 3]
