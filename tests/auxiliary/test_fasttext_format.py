"""fastText files, against the binding that fastText itself ships and against plain loops."""

import gzip
import os
import struct
from functools import reduce
from pathlib import Path

import fasttext
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasttext_files import fasttext_bytes, write_fasttext
from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.subwords import (
    SubwordModel,
    character_ngrams,
    fnv1a_32,
    seen_in_training,
    token_vectors,
)
from saltlm.errors import AuxiliaryVectorsError

WORDS = [
    "</s>",
    "Straße",
    "für",
    "größere",
    "a",
    "Nhà",
    "ngôi",
    "河大海",
    "على",
    "<",
    "x>y",
    "😀😀",
]
STRINGS = [*WORDS, "Straßen", "fü", "ü", "b", "河", "zzz", "<a>", "nhà ngôi", "👍🏽", "für" * 9]


def ngrams_of_fasttext(word, minn, maxn):
    """fastText's own loop: over UTF-8 bytes, a character ends before the next leading byte."""
    data = b"<" + word.encode() + b">"
    for start in range(len(data)):
        if data[start] & 0xC0 == 0x80:
            continue
        end, length = start, 0
        while end < len(data) and length < maxn:
            end += 1
            while end < len(data) and data[end] & 0xC0 == 0x80:
                end += 1
            length += 1
            if length >= minn and not (length == 1 and (start == 0 or end == len(data))):
                yield data[start:end].decode()


def step_of_fasttext(value, byte):
    extended = byte | 0xFFFFFF00 if byte > 127 else byte
    return (value ^ extended) * 16777619 % 2**32


@given(st.lists(st.binary(max_size=30)))
@example([b"\0", b"a\0", "größe".encode(), b"\xff" * 4])
def test_hash_is_fasttexts(strings):
    expected = [reduce(step_of_fasttext, string, 2166136261) for string in strings]
    assert fnv1a_32(strings).tolist() == expected


def test_hash_extends_the_sign():
    assert fnv1a_32([b"abc"]).tolist() == [0x1A47E90B]  # the published FNV-1a of ASCII
    published = reduce(
        lambda value, byte: (value ^ byte) * 16777619 % 2**32, "ß".encode(), 2166136261
    )
    assert fnv1a_32(["ß".encode()])[0] != published


@given(st.text(min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 6))
@example("<", 1, 2)
def test_ngrams_are_fasttexts(word, minn, maxn):
    expected = sorted(ngrams_of_fasttext(word, minn, maxn))
    assert sorted(character_ngrams(word, minn, maxn)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"minn": 5, "maxn": 5, "bucket": 7},
        {"minn": 1, "maxn": 2, "bucket": 1},
        {"minn": 0, "maxn": 3},
        {"minn": 0, "maxn": 0, "bucket": 0},
        {"labels": ["__label__x", "__label__y"]},
        {"labels": ["__label__x"], "version": 11},
    ],
)
def test_vectors_equal_the_bindings(tmp_path, options):
    path = write_fasttext(tmp_path / "model.bin", WORDS, **options)
    oracle = fasttext.load_model(str(path))
    matrix = oracle.get_input_matrix()
    vectors = token_vectors(read_fasttext(path), STRINGS)
    for string, vector in zip(STRINGS, vectors, strict=True):
        _, rows = oracle.get_subwords(string)
        expected = matrix[rows].mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(4)
        np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-6, err_msg=string)
        np.testing.assert_allclose(vector, oracle.get_word_vector(string), rtol=0, atol=1e-6)


def test_many_strings_are_the_single_ones(tmp_path):
    model = read_fasttext(write_fasttext(tmp_path / "model.bin", WORDS, minn=4))
    strings = STRINGS * 200  # several blocks; some strings have no row
    singles = np.concatenate([token_vectors(model, [string]) for string in STRINGS])
    np.testing.assert_array_equal(token_vectors(model, strings), np.tile(singles, (200, 1)))
    assert token_vectors(model, []).shape == (0, 4)


letters = st.text("ab<>ä", min_size=1, max_size=6)


@given(
    st.lists(letters, max_size=3),
    st.lists(letters, max_size=5),
    st.integers(0, 4),
    st.integers(0, 5),
)
@example(["<"], [">"], 0, 2)
def test_seen_means_in_the_dictionary_or_any_ngram_in_a_word(words, strings, minn, maxn):
    model = SubwordModel(
        lambda: iter(words), len(words), minn, maxn, 9, np.zeros((0, 1), "f4"), None
    )
    trained = {ngram for word in words for ngram in ngrams_of_fasttext(word, minn, maxn)}
    expected = [
        string in words or not trained.isdisjoint(ngrams_of_fasttext(string, minn, maxn))
        for string in strings
    ]
    assert seen_in_training(model, strings).tolist() == expected


def test_noise_in_shared_buckets_is_not_training(tmp_path):
    model = read_fasttext(write_fasttext(tmp_path / "model.bin", ["haus", "</s>"], bucket=1))
    strings = ["haus", "hausen", "maus", "xyz", "</s>", "</s"]
    assert seen_in_training(model, strings).tolist() == [True, True, True, False, True, False]
    assert np.abs(token_vectors(model, ["xyz"])).max() > 0


def test_words_that_are_not_utf8_are_passed_over(tmp_path):
    broken = read_fasttext(write_fasttext(tmp_path / "broken.bin", [b"ha\xffus", "maus"]))
    assert seen_in_training(broken, ["ha", "haus", "fla"]).tolist() == [True, True, False]
    whole = read_fasttext(write_fasttext(tmp_path / "whole.bin", ["haus", "maus"]))
    np.testing.assert_array_equal(token_vectors(broken, ["maus"]), token_vectors(whole, ["maus"]))
    assert np.isfinite(token_vectors(broken, [*broken.words()])).all()


def test_only_the_needed_rows_are_touched(tmp_path):
    rows, dimension = 4_000_000, 64
    path = tmp_path / "sparse.bin"
    start = fasttext_bytes(["haus"], bucket=rows - 1, dimension=dimension, matrix=np.zeros((0, 0)))
    header = start[: start.index(b"haus") + len("haus") + 10]
    with path.open("wb") as file:
        file.write(header + struct.pack("<?qq", False, rows, dimension))
        file.truncate(len(header) + 17 + 4 * rows * dimension)  # 1 GB that takes no disk
    before = resident_bytes()
    vectors = token_vectors(read_fasttext(path), ["haus", "hausen"])
    assert vectors.shape == (2, dimension)
    assert resident_bytes() - before < 32e6


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def assert_refused(path, match):
    with pytest.raises(AuxiliaryVectorsError, match=match):
        read_fasttext(path)


def test_files_that_are_not_fasttext(tmp_path):
    path = tmp_path / "m.bin"
    assert_refused(path, r"cannot read the fastText model .*m\.bin: No such file")
    assert_refused(tmp_path, "cannot read the fastText model .*: Is a directory")
    path.write_text("2 3\nhaus 1 2 3\n")
    assert_refused(
        path, r"not a fastText model: it begins with b'2 3\\n', not .*\n.*vectors:.*m\.bin"
    )
    path.write_bytes(b"")
    assert_refused(path, r"not a fastText model: it begins with b''")
    path.write_bytes(gzip.compress(fasttext_bytes(["haus"])))
    assert_refused(path, r"is packed, .*\n.*gzip -dc .*m\.bin > .*/m")
    write_fasttext(path, ["haus"], version=13)
    assert_refused(path, "format version 13, saltlm reads up to 12")


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "m.bin"
    whole = fasttext_bytes(["haus", "maus"], bucket=3, dimension=2)
    matrix_end = whole.index(b"maus") + 14 + 17 + 5 * 2 * 4
    for size in range(8, matrix_end):
        path.write_bytes(whole[:size])
        assert_refused(path, "is truncated")
    path.write_bytes(whole[:matrix_end])
    assert token_vectors(read_fasttext(path), ["haus"]).shape == (1, 2)
    path.write_bytes(whole[:50])
    assert_refused(path, "it has 50 bytes, its header ends at 92")
    path.write_bytes(whole[:110])
    assert_refused(path, "its 110 bytes end in the dictionary, after 1 of 2 entries")
    path.write_bytes(whole[: matrix_end - 1])
    assert_refused(path, f"has {matrix_end - 1} bytes, its 5 x 2 matrix ends at {matrix_end}")


def test_damaged_files(tmp_path):
    path = tmp_path / "m.bin"
    write_fasttext(path, ["haus"], quantised=True)
    assert_refused(path, r"is truncated: it has .* bytes, its quantised matrix goes on to")
    write_fasttext(path, ["haus"], bucket=5, matrix=np.zeros((7, 4), "<f4"))
    assert_refused(path, "its matrix is 7 x 4, but its header asks for 1 words . 5 buckets x 4")
    write_fasttext(path, ["haus"], dimension=0)
    assert_refused(path, "damaged header: 0 dimensions, 50 buckets, 1 words")
