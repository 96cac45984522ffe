"""Tokenizers trained on a corpus: nothing is lost, and the same text gives the same file."""

import re

import pytest

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.errors import VocabularyError
from saltlm.pretraining.continued import continue_tokenizer, tokenizer_of
from saltlm.pretraining.tokenizer import train_tokenizer
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.extend import extend_tokenizer
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.tokenizer.vocabulary import read_vocabulary

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


@pytest.mark.parametrize(
    ("arch", "family"), [("t5", "bytelevel"), ("gpt", "sentencepiece"), ("bert", "sentencepiece")]
)
def test_a_continued_one_is_lossless_and_within_reach(
    corpus, tokenizers_by_family, save_tokenizer_dir, tmp_path, arch, family
):
    """SentencePiece's puts a space behind a special token that stands in a text, and may go on."""
    own = tokenizers_by_family[family]
    source = save_tokenizer_dir(own, tmp_path / "source")
    texts = [*corpus, "Zielsprachenmodelle am Zielort\t12\n" * 30]
    made = continue_tokenizer(
        arch, str(source), lambda: texts, size=None, budget=3000, min_occurrences=20
    )
    for text in (*texts, "  漢 ç\n\n x "):
        ids = made.definition.tokenizer.encode(text, add_special_tokens=False).ids
        assert made.definition.tokenizer.decode(ids, skip_special_tokens=False) == text
    special = special_tokens_of(own)
    vocabularies = (
        read_vocabulary(Definition.of(own), special=special.tokens),
        read_vocabulary(made.definition, special=made.special.tokens),
    )
    extended = extend_tokenizer(
        Definition.of(own), special, *vocabularies, SpecialTokensConfig(), sample=[]
    )
    assert extended.n_new > 5
    assert extended.n_out_of_reach == 0


@pytest.mark.parametrize("family", ["bytelevel", "sentencepiece", "unigram", "metaspace"])
def test_a_model_s_own_cuts_the_corpus_as_the_model_does(
    corpus, tokenizers_by_family, save_tokenizer_dir, tmp_path, family
):
    """With fewer tokens, and nothing new but the special ones; also one that loses letters."""
    whole = tokenizers_by_family[family]
    model = save_tokenizer_dir(whole, tmp_path / "model")
    texts = corpus[::3]
    made = tokenizer_of(str(model), lambda: texts)
    for text in texts:
        cuts = [
            one.encode(text, add_special_tokens=False).tokens
            for one in (whole, made.definition.tokenizer)
        ]
        assert cuts[0] == cuts[1]
    own = Definition.of(whole).ids
    assert {*made.definition.ids} - {*own} <= {*made.special.tokens}
    assert len(made.definition.ids) < len(own)


def test_a_source_that_loses_letters_is_not_continued(
    corpus, tokenizers_by_family, save_tokenizer_dir, tmp_path
):
    source = save_tokenizer_dir(tokenizers_by_family["metaspace"], tmp_path / "source")
    with pytest.raises(VocabularyError, match="would not give back upper case, accents") as told:
        continue_tokenizer(
            "gpt", str(source), lambda: corpus, size=None, budget=3000, min_occurrences=20
        )
    assert told.value.hint.startswith("leave --continue-tokenizer out")


def test_room_for_new_tokens_is_asked_for(
    corpus, tokenizers_by_family, save_tokenizer_dir, tmp_path
):
    source = str(save_tokenizer_dir(tokenizers_by_family["bytelevel"], tmp_path / "source"))

    def continued(size):
        return continue_tokenizer(
            "gpt", source, lambda: corpus, size=size, budget=3000, min_occurrences=20
        )

    with pytest.raises(VocabularyError, match="^400 tokens leave no room for new ones") as told:
        continued(400)
    (size,) = re.findall(r"--vocab-size (\d+)", told.value.hint)
    assert 400 < len(continued(int(size)).definition.ids) <= int(size)


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
