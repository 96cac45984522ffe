"""Every format of vectors, under every spelling: read right, or refused with a way out."""

import gzip
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import vector_files
from fasttext_files import fasttext_bytes
from saltlm.auxiliary.recognise import kind_of
from saltlm.auxiliary.subwords import token_vectors
from saltlm.auxiliary.vector_file import check_vector_file, files_of, read_words, subword_model
from saltlm.auxiliary.vectors import check_auxiliary_spec, parse_auxiliary_spec, read_vectors
from saltlm.errors import AuxiliaryVectorsError, ConfigError
from vector_files import MORE, ROWS, WORDS, Case

STRINGS = ["haus", None, "fehlt", "maus", ",", "3.14", "Straße"]
GENSIM = """
    class KeyedVectors:
        @classmethod
        def load(cls, name):
            assert open(name, "rb").read(1) == b"\\x80"
            return cls()

        @classmethod
        def load_word2vec_format(cls, name, binary, encoding):
            assert (binary, encoding) == (True, "latin-1")
            return cls()

        def save_word2vec_format(self, name):
            open(name, "w", encoding="utf-8").write({text!r})
"""


def named(case: Case) -> str:
    return case.what


@pytest.mark.parametrize("case", vector_files.WORD_FILES, ids=named)
@pytest.mark.parametrize("spelling", ["vectors", "fasttext"])
def test_words_have_their_rows_and_nothing_else_has(case, spelling, tmp_path, caplog):
    """Words have exactly the rows of the file, other tokens have none, under both spellings."""
    spec = f"{spelling}:{case.write(tmp_path)}"
    check_auxiliary_spec(spec)
    with caplog.at_level("INFO"):
        vectors = read_vectors(spec, STRINGS)
    assert_words(vectors)
    assert case.note in caplog.text
    assert (spelling == "fasttext") == ("is no fastText model but" in caplog.text)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == bool(
        case.note
    )


def assert_words(vectors, strings=STRINGS):
    expected = [string in WORDS for string in strings]
    assert vectors.represented.tolist() == expected
    for string, row in zip(strings, vectors.matrix, strict=True):
        if string in WORDS:
            np.testing.assert_array_equal(row.numpy(), ROWS[WORDS.index(string)])


@pytest.mark.parametrize("case", vector_files.SUBWORD_FILES, ids=named)
@pytest.mark.parametrize("spelling", ["vectors", "fasttext"])
def test_subwords_compose_vectors(case, spelling, tmp_path):
    """Vectors are composed of the subwords that training has seen."""
    path = case.write(tmp_path)
    check_auxiliary_spec(f"{spelling}:{path}")
    vectors = read_vectors(f"{spelling}:{path}", ["hausen", None, "straßen"])
    assert vectors.represented.tolist()[:2] == [True, False]
    expected = token_vectors(subword_model(path), ["hausen"])
    np.testing.assert_array_equal(vectors.matrix[:1].numpy(), expected)


@pytest.mark.parametrize("case", vector_files.REFUSED, ids=named)
def test_the_way_out_of_a_refusal_works(case, tmp_path, monkeypatch):
    """Refused before anything is spent; the command in the hint leads to a file that is read."""
    path = case.write(tmp_path)
    with pytest.raises(AuxiliaryVectorsError, match=re.escape(case.refused)) as refused:
        read(path)
    _, _, command = refused.value.hint.partition(": ")
    while command.startswith("vectors:"):  # the file that is meant instead
        with pytest.raises(AuxiliaryVectorsError, match="pickle") as refused:
            check_vector_file(Path(command.removeprefix("vectors:")))
        _, _, command = refused.value.hint.partition(": ")
    result = case.result or Path(shlex.split(command)[-1]).name
    follow(command, tmp_path)
    check_vector_file(tmp_path / result)
    if case.composes:
        assert token_vectors(subword_model(tmp_path / result), ["haus"]).any()
        return
    found = read_words(tmp_path / result, set(WORDS))
    assert len(found.rows) >= 3
    for word, row in found.rows.items():
        np.testing.assert_allclose(row, ROWS[WORDS.index(word)], rtol=1e-6)


def read(path):
    """Check a file and read it, as a transfer does."""
    check_vector_file(path)
    read_vectors(f"vectors:{path}", STRINGS)


def follow(command, folder):
    """Run a hint in a shell, beside a stand-in for gensim."""
    (folder / "gensim").mkdir()
    (folder / "gensim" / "__init__.py").touch()
    stub = textwrap.dedent(GENSIM).format(text=vector_files.text())
    (folder / "gensim" / "models.py").write_text(stub)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "PYTHONUTF8": "1"}
    subprocess.run(command, shell=True, check=True, cwd=folder, env=environment)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.magnitude", b"SQLite format 3\0" + bytes(99), r"a database .*\nhint: give the .vec"),
        ("a.vec", b"version https://git-lfs.github.com/spec/v1\n", r"LFS pointer.*\nhint: .* pull"),
        ("mini.h5", b"\x89HDF\r\n\x1a\n", r"HDF5 file\nhint: .* numberbatch-19.08.txt"),
        ("v.parquet", b"PAR1" + bytes(9), r"Parquet table\nhint: give a text file"),
        ("m.gguf", b"GGUF" + bytes(9), r"GGUF model\nhint: .* models go in as SOURCE or PLM"),
        ("m.safetensors", vector_files.words_then_safetensors(), r"safetensors .*\nhint: a model"),
        ("m.pt", vector_files.zipped(**{"m/data.pkl": b""}), r"PyTorch pickle.*\nhint: give a"),
("v.lz4", b"\x04\x22\x4d\x18", r"compressed by lz4.*\nhint: .*lz4 -d .*v\.lz4"),
        ("v.7z", b"7z\xbc\xaf\x27\x1c", r"a 7z archive.*\nhint: .* 7z x"),
        ("empty.zip", vector_files.zipped(), r"zip archive of 0 files"),
        ("empty.vec", b"", r"empty\.vec is empty\nhint: get the file again"),
        ("v.jsonl", b'{"word": "haus", "v": [1]}\n' * 9, r"no word vectors .*\nhint: a line is"),
        ("prose.txt", b"Das ist ein Satz.\n" * 9, r"no word vectors .* 'Das ist ein Satz\.'"),
        ("noise.bin", bytes(range(256)) * 9, r"no word vectors"),
    ],
)  # fmt: skip
def test_other_files_are_named(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AuxiliaryVectorsError, match=message):
        check_vector_file(tmp_path / name)


def test_what_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(AuxiliaryVectorsError, match=r"cannot read .*No such file.*\nhint: .*ls "):
        check_vector_file(tmp_path / "missing.bin")
    with pytest.raises(AuxiliaryVectorsError, match="folder without spaCy's vectors"):
        check_vector_file(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AuxiliaryVectorsError, match=r"hint: .*saltlm transfer SOURCE "):
        check_vector_file(tmp_path)


def test_a_pickle_is_not_loaded(tmp_path):
    """Loading it would make a file."""
    mark = tmp_path / "loaded"
    call = f"cbuiltins\nopen\n(V{mark}\nVw\ntR.".encode()
    (tmp_path / "v.kv").write_bytes(b"\x80\x02" + call)
    with pytest.raises(AuxiliaryVectorsError, match=r"Python pickle of builtins\.open"):
        check_vector_file(tmp_path / "v.kv")
    assert not mark.exists()


def test_an_unknown_spelling_of_a_file_that_is_there_names_the_right_one(tmp_path):
    (tmp_path / "v.vec").write_text(vector_files.text())
    for spec in (f"{tmp_path}/v.vec", f"word2vec:{tmp_path}/v.vec"):
        with pytest.raises(ConfigError, match="unknown auxiliary vectors") as refused:
            parse_auxiliary_spec(spec)
        assert refused.value.hint == f"--aux vectors:{tmp_path}/v.vec"
        check_auxiliary_spec(refused.value.hint.removeprefix("--aux "))


def test_any_part_of_a_spacy_model_may_be_named(tmp_path):
    model = vector_files.spacy_folder(tmp_path)
    vocab = model / "vocab"
    for path in (tmp_path, model, vocab, vocab / "vectors", vocab / "key2row"):
        assert kind_of(path) == "spacy"
        assert_words(read_vectors(f"vectors:{path}", STRINGS))
        assert files_of(path) == [vocab / name for name in ("vectors", "key2row", "vectors.cfg")]
    with pytest.raises(AuxiliaryVectorsError, match="no list of their words"):
        read_words(model, None)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("v.vec", b"999999999999 300\nhaus" + b" 1" * 300, "ends within a line"),
        ("v.vec", b"2 999999999\n" + b"haus" + b" 1" * 3 + b"\n", None),
        ("v.bin", b"9 999999999\nhaus \0\0\0\0", "asks for 999,999,999 numbers a word"),
        ("v.bin", b"999999999999 4\nhaus " + bytes(16), "it ends in word 2"),
        ("v.bin", fasttext_bytes(["haus"], bucket=2**30, matrix=ROWS), "its matrix is 7 x 6"),
        ("v.floret", b"4000000000 300 3 5 2 7 < >\n0 1\n", "row 0 of 4,000,000,000"),
        ("v.gz", vector_files.zeros(2**26), "no word vectors"),
        ("v.gz", gzip.compress(b"a 1 2\n" + bytes(2**25)), r"line 2 is longer than 1,048,576"),
    ],
)  # fmt: skip
def test_a_header_that_asks_for_gigabytes_is_cheap(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    tracemalloc.start()
    try:
        if message is None:
            assert read_words(tmp_path / name, {"haus"}).rows["haus"].tolist() == [1, 1, 1]
        else:
            with pytest.raises(AuxiliaryVectorsError, match=message):
                read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 32e6
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_the_rows_that_are_used(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2_000, 50)).astype("f4")
    lines = vector_files.lines(map(str, range(2_000)), rows)
    packed = gzip.compress("\n".join(lines).encode(), 1)
    (tmp_path / "v.gz").write_bytes(packed)
    wanted = {str(number) for number in range(0, 2_000, 100)}
    tracemalloc.start()
    found = read_words(tmp_path / "v.gz", wanted)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found.rows), found.n_words) == (20, 2_000)
    assert held < 1e5
    assert peak < 4e6  # the lines that are looked at first; the whole file is 1 MB


def test_words_of_pruned_models_keep_what_the_pruned_ones_lost(tmp_path):
    pruned = subword_model(vector_files.quantised(tmp_path, cutoff=300))
    assert pruned.n_words < len(WORDS + MORE)
    assert len(pruned.kept[0]) + pruned.n_words == 300
    assert torch.is_tensor(torch.from_numpy(token_vectors(pruned, ["wort1"])))
