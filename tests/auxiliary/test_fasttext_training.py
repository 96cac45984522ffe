"""Training fastText: what is trained on, and that it can be repeated."""

import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys

import floret_pybind
import numpy as np
import pytest

from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.fasttext_training import _diverged, binding_version, train_fasttext
from saltlm.auxiliary.subwords import token_vectors
from saltlm.config.transfer import FasttextConfig, load_config
from saltlm.errors import AuxiliaryVectorsError, MissingExtraError

TEXT = "Der Hund läuft, die Katze schläft.\n__label__x </s> المُدرِّس می‌خواهم हिन्दी 3.14\n" * 40
SMALL = FasttextConfig(dimension=16, bucket=2**12, min_count=2, epochs=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def model(corpus):
    return train_fasttext([corpus], SMALL, seed=0)


def test_words_and_punctuation_are_split_and_marks_and_joiners_are_not(model):
    expected = {*"</>,.", "s", "3", "14", "Der", "Hund", "läuft", "die", "Katze", "schläft"}
    expected |= {"</s>", "__label__x", "المُدرِّس", "می‌خواهم", "हिन्दी"}  # </s>: fastText's own
    assert set(model.words()) == expected
    assert model.n_words == len(expected)


def test_the_same_text_gives_the_same_bytes(model, corpus, tmp_path):
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    again = train_fasttext([packed], SMALL, seed=0)
    assert list(again.words()) == list(model.words())
    assert again.matrix.tobytes() == model.matrix.tobytes()


def test_what_memory_held_before_does_not_count(model, corpus):
    program = (
        "import hashlib; from pathlib import Path; from saltlm import FasttextConfig\n"
        "from saltlm.auxiliary.fasttext_training import train_fasttext\n"
        f"settings = FasttextConfig(**{SMALL.model_dump()})\n"
        f"model = train_fasttext([Path({str(corpus)!r})], settings, seed=0)\n"
        "print(hashlib.sha256(model.matrix.tobytes()).hexdigest())"
    )
    filled = {**os.environ, "MALLOC_PERTURB_": "90"}  # glibc puts this byte into every new block
    run = subprocess.run([sys.executable, "-c", program], env=filled, capture_output=True)
    assert run.stdout.decode().strip() == hashlib.sha256(model.matrix.tobytes()).hexdigest()


def test_neighbouring_seeds_differ(model, corpus):
    for seed in (1, 2**31 - 2 + 1):
        other = train_fasttext([corpus], SMALL, seed=seed)
        assert not np.array_equal(other.matrix[: model.n_words], model.matrix[: model.n_words])


def test_vectors_outlive_the_binding_and_equal_those_of_its_file(model, tmp_path):
    model.owner.saveModel(str(tmp_path / "saved.bin"))
    saved = read_fasttext(tmp_path / "saved.bin")
    strings = [*model.words(), "Hunde", "läufer"]
    np.testing.assert_array_equal(token_vectors(model, strings), token_vectors(saved, strings))


def test_settings_reach_fasttext(corpus):
    settings = FasttextConfig(
        dimension=20, epochs=2, model="cbow", min_count=3, minn=2, maxn=4, bucket=5_000,
        learning_rate=0.01, negatives=7,
    )  # fmt: skip
    arguments = train_fasttext([corpus], settings, seed=5).owner.getArgs()
    assert (arguments.dim, arguments.epoch, arguments.minCount) == (20, 2, 3)
    assert arguments.model == floret_pybind.model_name.cbow
    assert (arguments.minn, arguments.maxn, arguments.bucket) == (2, 4, 5_000)
    assert (arguments.lr, arguments.thread, arguments.seed) == (0.01, 1, 6)
    assert arguments.neg == 7


def small(**changes):
    return SMALL.model_copy(update=changes)


def test_refusals(corpus, tmp_path, monkeypatch):
    with pytest.raises(
        AuxiliaryVectorsError, match=r"no word .* occurs 999 times \(760 words in all"
    ):
        train_fasttext([corpus], small(min_count=999), seed=0)
    with pytest.raises(AuxiliaryVectorsError, match=r"diverged to NaN .* rate 1e\+38\n") as caught:
        train_fasttext([corpus], small(learning_rate=1e38), seed=0)
    way = load_config(None, caught.value.hint.split()[1:]).fasttext
    assert train_fasttext([corpus], small(learning_rate=way.learning_rate), seed=0).words()
    assert _diverged(small(learning_rate=0.1)).hint == "--set fasttext.learning_rate=0.05"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="fastText vectors needs the 'fasttext' extra"):
        train_fasttext([tmp_path / "is not read"], SMALL, seed=0)


def test_version_names_the_distribution():
    assert binding_version().startswith("floret ")
