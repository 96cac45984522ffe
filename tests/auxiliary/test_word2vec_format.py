"""Word vectors as text."""

import gzip

import numpy as np
import pytest

from saltlm.auxiliary.word2vec_format import check_vectors_file, read_word_vectors
from saltlm.errors import AuxiliaryVectorsError

BODY = "haus 0.5 -1 2e-3\nStraße 1 2 3\n. . . 4 5 6\nhaus 7 8 9\n\u00a0 1 1 1 \n"


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["v.vec", "v.vec.gz"])
@pytest.mark.parametrize("header", ["", "5 3\n"])
@pytest.mark.parametrize("line_end", ["\n", " \r\n"])
def test_wanted_words_only_and_the_first_of_two(tmp_path, name, header, line_end):
    path = write(tmp_path / name, (header + BODY).replace("\n", line_end))
    found = read_word_vectors(path, {"haus", "Straße", ". . .", "\u00a0", "missing"})
    check_vectors_file(path)
    expected = {
        "haus": (0.5, -1, 2e-3),
        "Straße": (1, 2, 3),
        ". . .": (4, 5, 6),
        "\u00a0": (1,) * 3,
    }
    assert found.rows.keys() == expected.keys()
    for word, row in expected.items():
        np.testing.assert_array_equal(found.rows[word], np.array(row, dtype=np.float32))
    assert (found.dimension, found.n_words) == (3, 5)
    assert found.first_words == ("haus", "Straße", ". . .")


def test_all_words_in_the_order_of_the_file(tmp_path):
    path = write(tmp_path / "v", "b 1 2\na 3 4\nb 5 6\n")
    found = read_word_vectors(path, None)
    assert {word: row.tolist() for word, row in found.rows.items()} == {"b": [1, 2], "a": [3, 4]}
    assert list(found.rows) == ["b", "a"]


def test_numbers_of_other_words_are_not_read(tmp_path):
    path = write(tmp_path / "v", "a 1 2\nb x y\n")
    assert read_word_vectors(path, {"a"}).rows.keys() == {"a"}
    with pytest.raises(AuxiliaryVectorsError, match=r"v, line 2: 'x y' is not a list of numbers"):
        read_word_vectors(path, {"b"})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a 1 2\nb 1\n", r"v, line 2: 1 numbers where 2 belong: 'b 1'\nhint: get the file again"),
        ("2 3\na 1 2 3\nb 1 2\n", "v, line 3: 2 numbers where 3 belong: 'b 1 2'"),
        ("9 3\na 1 2 3\n", "v is truncated: its header promises 9 words, it has 1"),
        ("a\n", "v, line 1: 0 numbers where 1 belong: 'a'"),
        ("b 1 nan\n", "v, line 1: NaN or infinite numbers"),
        ("b 1 1e99\n", "v, line 1: NaN or infinite numbers"),
        (
            "a " + "7" * 99 + "\nlong" + "w" * 99,
            r"line 2: 0 numbers where 1 belong: 'longw{56}\.\.\.'",
        ),
    ],
)
def test_malformed_lines(tmp_path, text, match):
    with pytest.raises(AuxiliaryVectorsError, match=match):
        read_word_vectors(write(tmp_path / "v", text), {"b"})


def test_files_that_are_not_text_vectors(tmp_path):
    with pytest.raises(AuxiliaryVectorsError, match="cannot read the vectors .*v: No such file"):
        check_vectors_file(tmp_path / "v")
    whole = gzip.compress(("a 1 2\n" * 5000).encode())
    (tmp_path / "v").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AuxiliaryVectorsError, match="cannot read the vectors .*v: Compressed file"):
        read_word_vectors(tmp_path / "v", {"b"})
    for data in (b"", b"\xba\x16O/\x0c\0\0\0", b"word not a number"):
        (tmp_path / "v").write_bytes(data)
        with pytest.raises(AuxiliaryVectorsError, match=r"line 1: .* list of numbers\n.*fasttext:"):
            check_vectors_file(tmp_path / "v")
