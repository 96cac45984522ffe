"""floret's models and tables and spaCy's, against what floret and spaCy gave, recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

import vector_files
from fasttext_files import write_fasttext
from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.floret_format import read_floret
from saltlm.auxiliary.spacy_format import read_spacy_floret, word_key
from saltlm.auxiliary.subwords import seen_in_training, token_vectors
from saltlm.errors import AuxiliaryVectorsError, MissingExtraError

# By floret 0.10.5, which loaded the files of `write_fasttext`, and spaCy 3.8.18.
RECORDED = json.loads((Path(__file__).parent / "recorded_vectors.json").read_text("utf-8"))
WORDS = ["</s>", "haus", "Straße", "nhà", "河大海"]


@pytest.mark.parametrize("case", RECORDED["floret"], ids=lambda case: str(case["floret"]))
def test_models_are_read_as_by_floret(case, tmp_path):
    sizes = {"minn": case["minn"], "maxn": case["maxn"], "bucket": 40, "dimension": 2}
    path = write_fasttext(tmp_path / "m.bin", WORDS, floret=case["floret"], **sizes)
    model = read_fasttext(path)
    expected = np.array(list(case["vectors"].values()))
    vectors = token_vectors(model, list(case["vectors"]))
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    is_floret = case["floret"][0] == 2
    assert (model.floret is not None) == is_floret
    assert seen_in_training(model, ["haus", "zzz"]).tolist() == [True, False]
    if is_floret:  # the same rows as a table
        lines = vector_files.lines(map(str, range(40)), model.matrix[len(WORDS) :])
        header = f"40 2 {case['minn']} {case['maxn']} {case['floret'][1]} 2166136261 < >\n"
        (tmp_path / "m.floret").write_text(header + "\n".join(lines) + "\n")
        table = read_floret(tmp_path / "m.floret")
        np.testing.assert_allclose(token_vectors(table, list(case["vectors"])), expected, atol=2e-6)
        assert seen_in_training(table, ["haus", "zzz", ""]).tolist() == [True, True, False]


def test_keys_are_spacys():
    for word, key in RECORDED["spacy keys"].items():
        assert word_key(word) == key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("< >", "^ $"), r"marks words with '\^' and '\$'"),
        (("20 6 3 5 2", "20 6 3 5 9"), "9 hashes"),
        (("20 6 3", "21 6 3"), "row 20 of 21 with 6 numbers is ''"),
        (("\n7 ", "\n8 "), "row 7 of 20"),
        (("20 6 3", "20 7 3"), "row 0 of 20 with 7 numbers"),
    ],
)
def test_damaged_tables(change, message, tmp_path):
    (tmp_path / "m.floret").write_text(vector_files.floret_table().replace(*change, 1))
    with pytest.raises(AuxiliaryVectorsError, match=message):
        read_floret(tmp_path / "m.floret")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "m.floret").write_text(vector_files.floret_table())
    monkeypatch.setitem(__import__("sys").modules, "mmh3", None)
    with pytest.raises(
        MissingExtraError, match=r"floret vectors .*\nhint: pip .*saltlm\[vectors\]"
    ):
        token_vectors(read_floret(tmp_path / "m.floret"), ["haus"])


def test_spacys_settings_that_cannot_be(tmp_path):
    vocab = vector_files.spacy_folder(tmp_path, floret=True) / "vocab"
    (vocab / "vectors.cfg").write_text('{"mode": "floret"}')
    with pytest.raises(AuxiliaryVectorsError, match=r"vectors\.cfg is damaged: KeyError"):
        read_spacy_floret(vocab)
