"""Quantised fastText models, against fastText itself, which makes and reads them."""

import fasttext
import numpy as np
import pytest

from fasttext_files import write_fasttext
from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.subwords import seen_in_training, token_vectors
from saltlm.errors import AuxiliaryVectorsError

WORDS = ["</s>", *(f"wort{i}ü" for i in range(300))]
STRINGS = ["wort7ü", "wort299ü", "wort", "Haus", "ü", "zzzz", "</s>"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "text.txt").write_text("__label__1 wort1ü\n")
    labels = [f"__label__{i}" for i in range(260)]
    return write_fasttext(folder / "m.bin", WORDS, bucket=500, dimension=7, labels=labels)


@pytest.fixture
def quantise(classifier, tmp_path):
    def quantise(**options):
        model = fasttext.load_model(str(classifier))
        model.quantize(input=str(classifier.with_name("text.txt")), **options)
        model.save_model(str(tmp_path / "m.ftz"))
        return tmp_path / "m.ftz"

    return quantise


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qnorm": True},
        {"qnorm": True, "qout": True},
        {"dsub": 3},
        {"dsub": 7},
        {"dsub": 9},
        {"cutoff": 300},
        {"cutoff": 600, "qnorm": True},
    ],
    ids=str,
)
def test_vectors_are_those_of_fasttext(quantise, options):
    path = quantise(**options)
    oracle = fasttext.load_model(str(path))
    expected = np.stack([oracle.get_word_vector(string) for string in STRINGS])
    np.testing.assert_allclose(token_vectors(read_fasttext(path), STRINGS), expected, atol=1e-6)


def test_a_pruned_model_represents_what_still_has_a_row(quantise):
    path = quantise(cutoff=300)
    model, oracle = read_fasttext(path), fasttext.load_model(str(path))
    left = set(oracle.get_words())
    assert 1 < len(left) < len(WORDS)
    trained = set()
    for word in left:
        ngrams, rows = oracle.get_subwords(word)
        assert all(0 <= row < 300 for row in rows)
        trained.update(ngrams)
    expected = [
        string in left or not trained.isdisjoint(oracle.get_subwords(string)[0])
        for string in STRINGS
    ]
    assert seen_in_training(model, STRINGS).tolist() == expected
    assert expected.count(True) > 2


def test_every_truncation_is_noticed(quantise, tmp_path):
    whole = quantise(qnorm=True).read_bytes()
    end = len(whole) - (1 + 16 + 4 * 260 * 7)  # the matrix of the labels, which is not read
    for size in (*range(end - 1100, end, 50), *range(end - 20_000, end, 997)):
        (tmp_path / "cut.ftz").write_bytes(whole[:size])
        with pytest.raises(AuxiliaryVectorsError, match=r"is truncated|is damaged"):
            read_fasttext(tmp_path / "cut.ftz")
    (tmp_path / "cut.ftz").write_bytes(whole[:end])
    read_fasttext(tmp_path / "cut.ftz")
