"""What is said of a vocabulary that does not fit its text, and what is not."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.fit import fit_warnings, preparation_notes

LETTERS = list("abcdefghijklmnopqrstuvwxyz_+")


def wordpiece(*words, spare=0):
    pieces = ["[UNK]", *LETTERS, *("##" + letter for letter in LETTERS), *words]
    pieces += [f"spare{n}" for n in range(spare)]
    tokenizer = Tokenizer(
        models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def warnings(source, new, texts):
    counts = (count_tokens(tokenizer, texts) for tokenizer in (source, new))
    return list(fit_warnings(*counts, new.get_vocab_size()))


def test_a_worse_cut_is_said_with_its_numbers():
    coarse, fine = wordpiece("haus", "maus"), wordpiece()
    texts = ["haus maus", "haus"]
    (loud,) = warnings(coarse, fine, texts)
    assert loud.startswith("THE NEW VOCABULARY CUTS THE CORPUS WORSE THAN THE SOURCE'S: 12 tokens")
    assert "for 3;" in loud
    assert warnings(fine, coarse, texts) == []
    assert warnings(coarse, coarse, texts) == []


@pytest.mark.parametrize(
    ("spare", "n", "is_said"), [(200, 20_000, True), (200, 19_999, False), (0, 20_000, False)]
)
def test_a_vocabulary_that_hardly_occurs(spare, n, is_said):
    words = ["haus", "maus", "der", "die", "das", "den", *"abcdef"]
    tokenizer = wordpiece(*words, spare=spare)
    texts = [" ".join(words[at % 12] for at in range(n))]
    found = warnings(tokenizer, tokenizer, texts)
    assert len(found) == is_said
    if is_said:
        seen = f"12 of {tokenizer.get_vocab_size()} tokens do, in 20,000; --prune-to 1000"
        assert f"OCCURS IN THE CORPUS: {seen}" in found[0]


@pytest.mark.parametrize(
    ("pieces", "plain", "prepared", "tool"),
    [
        (["sinh_viên", "học_sinh"], "sinh viên", "sinh_viên", "VnCoreNLP"),
        (["ال+", "و+", "+ها", "+ات"], "البيت", "ال+ بيت", "Farasa"),
    ],
)
def test_prepared_text_is_said_unless_the_corpus_is_prepared_alike(pieces, plain, prepared, tool):
    vocabulary = wordpiece(*pieces).get_vocab()
    (loud,) = preparation_notes(vocabulary, [plain])
    size = len(vocabulary)
    assert f"TRAINED ON PREPARED TEXT: {len(pieces)} of its {size} pieces have" in loud
    assert f"as {tool} writes" in loud
    assert list(preparation_notes(vocabulary, [])) == [loud]
    assert list(preparation_notes(vocabulary, [prepared])) == []
    assert list(preparation_notes(wordpiece(*pieces[1:]).get_vocab(), [])) == []


def test_code_is_no_prepared_text():
    assert (
        list(preparation_notes(wordpiece("my_name", "_", "__", "c++", "+1").get_vocab(), [])) == []
    )
