"""Where auxiliary vectors come from, and which tokens have none."""

import logging
import re

import numpy as np
import pytest
import torch

from fasttext_files import write_fasttext
from saltlm.auxiliary import vectors as auxiliary
from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.fasttext_training import train_fasttext
from saltlm.auxiliary.subwords import token_vectors
from saltlm.auxiliary.vectors import (
    auxiliary_vectors,
    check_auxiliary_spec,
    from_file,
    from_plm,
    parse_auxiliary_spec,
    train_auxiliary,
)
from saltlm.config.transfer import FasttextConfig
from saltlm.errors import AuxiliaryVectorsError, ConfigError, DataError, MissingExtraError

STRINGS = ["haus", None, "maus", "", "xyz", "hausboot"]
SMALL = FasttextConfig(dimension=16, bucket=2**12, min_count=2, epochs=1)
TEXT = "das haus, die maus und das hausboot\n" * 20
PLM = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def corpus(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return [file]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "text.txt"
    file.write_text(TEXT)
    return train_fasttext([file], SMALL, seed=0)


@pytest.fixture
def trainings(monkeypatch, trained):
    """Counts how often fastText would be trained, and trains it once for all."""
    calls = []
    monkeypatch.setattr(
        auxiliary, "train_fasttext", lambda *arguments: calls.append(arguments) or trained
    )
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plm_rows_are_taken_as_they_are(dtype):
    rows = PLM.to(dtype)
    rows[1], rows[2, 3], rows[3, 0] = 0, torch.nan, torch.inf
    vectors = from_plm(rows)
    assert vectors.matrix is rows
    assert vectors.represented.tolist() == [True, False, False, False, True, True]
    assert vectors.description == "the PLM's own rows, 4-d"


def test_fasttext_represents_what_training_has_seen(tmp_path):
    path = write_fasttext(tmp_path / "m.bin", ["haus", "laus"], bucket=3)
    vectors = from_file(path, STRINGS)
    assert vectors.represented.tolist() == [True, False, True, False, False, True]
    expected = token_vectors(read_fasttext(path), ["haus", "maus", "hausboot"])
    np.testing.assert_array_equal(vectors.matrix[vectors.represented].numpy(), expected)
    assert not vectors.matrix[~vectors.represented].any()
    assert vectors.description == ("fastText model m.bin, 4-d, 2 words: 3 of 4 tokens represented")


def test_text_vectors_of_exact_words(tmp_path):
    path = tmp_path / "v.vec"
    path.write_text("haus 1 2\nxyz 0 0\nMaus 3 4\n")
    vectors = from_file(path, [*STRINGS, "haus"])
    assert vectors.represented.tolist() == [True] + [False] * 5 + [True]
    assert vectors.matrix[[0, 6]].tolist() == [[1, 2], [1, 2]]
    assert vectors.description == "vectors v.vec, 2-d, 3 words: 2 of 5 tokens represented"


def test_no_token_has_a_vector(tmp_path):
    (tmp_path / "v").write_text("der 1 2\n")
    with pytest.raises(
        AuxiliaryVectorsError,
        match=r"of the 4 tokens \(such as 'haus', 'maus', 'xyz'\) "
        r"has a vector: vectors v.* \(such as 'der'\)\n.*language, or --aux plm",
    ):
        from_file(tmp_path / "v", STRINGS)
    write_fasttext(tmp_path / "m", ["der", "die"])
    with pytest.raises(AuxiliaryVectorsError, match=r"fastText model m.* \(such as 'der', 'die'\)"):
        from_file(tmp_path / "m", STRINGS)


def test_training_is_cached_by_content(corpus, trainings, tmp_path, caplog):
    def vectors(strings=STRINGS, settings=SMALL, seed=0):
        return train_auxiliary(
            corpus, strings, settings=settings, seed=seed, cache_dir=tmp_path / "cache"
        )

    first = vectors()
    moved = corpus[0].rename(tmp_path / "moved.txt")
    corpus[0] = moved
    with caplog.at_level(logging.INFO):
        second = vectors()
    assert len(trainings) == 1
    assert "auxiliary vectors from the cache: fastText skipgram trained on text.txt" in caplog.text
    assert torch.equal(second.matrix, first.matrix)
    assert torch.equal(second.represented, first.represented)
    assert second.description == first.description
    assert first.represented.tolist() == [True, False, True, False, False, True]

    vectors(seed=1)
    vectors(settings=SMALL.model_copy(update={"epochs": 2}))
    vectors(strings=STRINGS[:3])
    moved.write_text(moved.read_text() + "noch ein satz\n")
    vectors()
    assert len(trainings) == 5
    assert len(list((tmp_path / "cache").iterdir())) == 5


def test_a_damaged_or_impossible_cache_only_costs_time(corpus, trainings, tmp_path, caplog):
    first = train_auxiliary(corpus, STRINGS, settings=SMALL, cache_dir=tmp_path)
    [file] = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    again = train_auxiliary(corpus, STRINGS, settings=SMALL, cache_dir=tmp_path)
    assert f"ignoring the damaged cache file {file}" in caplog.text
    assert torch.equal(again.matrix, first.matrix)
    train_auxiliary(corpus, STRINGS, settings=SMALL, cache_dir=file)  # a file is no directory
    assert "the auxiliary vectors are not cached: " in caplog.text
    assert len(trainings) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, "text.txt"]


def test_spec_dispatches(corpus, tmp_path):
    write_fasttext(tmp_path / "m.bin", ["haus"])
    (tmp_path / "v").write_text("maus 1 2\n")
    padded = torch.cat([PLM, torch.ones(2, 4)])
    options = {"corpus": corpus, "settings": SMALL, "cache_dir": tmp_path / "cache"}
    for spec, description in [
        ("plm", "the PLM's own rows"),
        (
            "train",
            r"fastText skipgram trained on text\.txt \(floret .*, 1 epochs, seed 0\)",
        ),
        (f"fasttext:{tmp_path}/m.bin", r"fastText model m\.bin"),
        (f"vectors:{tmp_path}/v", "vectors v, 2-d"),
    ]:
        vectors = auxiliary_vectors(spec, padded, STRINGS, **options)
        assert re.match(description, vectors.description)
        assert len(vectors.matrix) == len(vectors.represented) == 8
        assert spec == "plm" or not vectors.represented[6:].any()


@pytest.mark.parametrize("spec", ["", "word2vec", "plm:x", "train:x", "fasttext", "vectors:"])
def test_unknown_spec(spec):
    choices = r"--aux takes plm \| train \| fasttext:FILE\.bin \| vectors:FILE"
    with pytest.raises(ConfigError, match=f"unknown auxiliary vectors '{spec}'\nhint: {choices}"):
        parse_auxiliary_spec(spec)


def test_checks_before_anything_is_spent(corpus, tmp_path, monkeypatch):
    for spec in ("plm", "train"):
        check_auxiliary_spec(spec, corpus)
    for spec, match in [
        ("fasttext:missing.bin", "cannot read the vectors missing.bin"),
        (f"fasttext:{corpus[0]}", r"text\.txt holds no word vectors"),
        ("vectors:missing", "cannot read the vectors missing"),
        (f"vectors:{corpus[0]}", r"text\.txt holds no word vectors"),
    ]:
        with pytest.raises(AuxiliaryVectorsError, match=match):
            check_auxiliary_spec(spec)
    with pytest.raises(DataError, match="the corpus has no text"):
        check_auxiliary_spec("train", [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install 'saltlm.fasttext.'"):
        check_auxiliary_spec("train", corpus)
