"""``saltlm vectors``: what is written is what was trained, and only as much as is wanted."""

import numpy as np
import pytest

import vector_files
from adapt_models import save_model
from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.fasttext_training import train_fasttext
from saltlm.auxiliary.make import vectors
from saltlm.auxiliary.subwords import seen_in_training, token_vectors
from saltlm.auxiliary.vectors import read_vectors
from saltlm.config.transfer import FasttextConfig
from saltlm.errors import AuxiliaryVectorsError, ConfigError, OutputError

SMALL = FasttextConfig(dimension=16, bucket=2**12, min_count=2, epochs=1)
TEXT = "Der Hund läuft, die Katze schläft. Das Haus und der Fluss.\n" * 40


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def trained(corpus):
    out = corpus.parent / "all.bin"
    return vectors("train", corpus=corpus, out=out, config=SMALL)


def test_a_written_model_composes_what_the_whole_one_does(trained, corpus):
    whole, small = train_fasttext([corpus], SMALL, 0), read_fasttext(trained.file)
    words = [*whole.words(), "Hundehaus", "Katzen"]  # of the last two, only n-grams that occur
    assert [*small.words()] == [*whole.words()]
    np.testing.assert_array_equal(
        token_vectors(small, words[:-2]), token_vectors(whole, words[:-2])
    )
    assert trained.n_ngrams == len(small.matrix) - small.n_words < 500
    assert seen_in_training(small, ["Hundehaus", "xyzq"]).tolist() == [True, False]
    assert trained.file.stat().st_size < 60_000  # the whole one has 32 MB


def test_the_same_again_gives_the_same_bytes(trained, corpus):
    again = vectors("train", corpus=corpus, out=corpus.parent / "again.bin", config=SMALL)
    assert again.file.read_bytes() == trained.file.read_bytes()


def test_a_conversion_has_the_words_that_are_wanted(trained, tmp_path):
    text = tmp_path / "some.txt"
    text.write_text("Der Hund und Hundekatze 漢")
    made = vectors("convert", trained.file, corpus=text, out=tmp_path / "some.vec.gz")
    assert (made.n_words, made.n_wanted, made.n_ngrams) == (4, 5, 0)
    read = read_vectors(f"vectors:{made.file}", ["Hund", "Hundekatze", "漢", "Haus"])
    assert read.represented.tolist() == [True, True, False, False]
    expected = token_vectors(read_fasttext(trained.file), ["Hund", "Hundekatze"])
    np.testing.assert_allclose(read.matrix[:2], expected, rtol=1e-4)
    again = vectors("convert", made.file, corpus=text, out=tmp_path / "again.vec")
    assert (again.n_words, again.dimension) == (4, 16)


@pytest.mark.parametrize("case", vector_files.SUBWORD_FILES, ids=lambda case: case.what)
@pytest.mark.parametrize("ending", [".vec", ".bin"])
def test_a_converted_file_represents_what_the_whole_one_does(tmp_path, case, ending):
    """Also words that are only composed, whose n-grams stand in words that are not wanted."""
    file, wanted = case.write(tmp_path), ["haus", "aus", "traß", "nhà", "xyzq"]
    text, out = tmp_path / "text.txt", tmp_path / f"small{ending}"
    text.write_text(" ".join(wanted))
    if ending == ".bin" and ("floret" in case.what):
        with pytest.raises(AuxiliaryVectorsError, match="floret cannot be written"):
            vectors("convert", file, corpus=text, out=out)
        return
    made = vectors("convert", file, corpus=text, out=out)
    whole, small = (read_vectors(f"vectors:{one}", wanted) for one in (file, out))
    assert made.n_words == whole.represented.sum() >= 2
    assert small.represented.tolist() == whole.represented.tolist()
    np.testing.assert_allclose(
        small.matrix[small.represented], whole.matrix[whole.represented], rtol=1e-4, atol=1e-6
    )


def test_tokens_are_words_where_a_tokenizer_is_given(corpus, tmp_path):
    model = save_model(tmp_path / "model", has_record=False)
    made = vectors("train", corpus=corpus, tokenizer=model, out=tmp_path / "t.vec", config=SMALL)
    words = [line.split()[0] for line in made.file.read_text().splitlines()[1:]]
    assert len(set(words)) == made.n_words <= made.n_wanted
    assert {"Hund", "Haus"} <= {*words}


@pytest.mark.parametrize(
    ("action", "given", "kind", "message"),
    [
        ("train", {"file": "x.txt"}, ConfigError, "vectors are trained on text, not on x.txt"),
        ("convert", {}, ConfigError, "there is no file to convert"),
        ("train", {"out": "x.npz"}, OutputError, "x.npz says no format of vectors"),
        ("train", {"out": "all.bin"}, OutputError, "all.bin exists"),
        ("convert", {"file": "list.vec"}, AuxiliaryVectorsError, "of which no n-grams are known"),
        (
            "convert",
            {"file": "all.bin", "corpus": "none.txt", "out": "n.vec"},
            AuxiliaryVectorsError,
            "represent none of the 1 words that are wanted",
        ),
        ("convert", {"file": "t.floret"}, AuxiliaryVectorsError, "t.floret keeps no list of its"),
    ],
)
def test_what_cannot_be_made_is_said(trained, corpus, monkeypatch, action, given, kind, message):
    monkeypatch.chdir(corpus.parent)
    (corpus.parent / "list.vec").write_text("1 2\nHaus 1 2\n")
    (corpus.parent / "none.txt").write_text("漢")
    (corpus.parent / "t.floret").write_text(vector_files.floret_table())
    given = {"out": "new.bin"} | given
    with pytest.raises(kind, match=message):
        vectors(action, **given)
    assert not (corpus.parent / "new.bin").exists()
