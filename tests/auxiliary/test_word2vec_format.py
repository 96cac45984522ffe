"""Word vectors in word2vec's formats."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("bad", ["x y", "1 nan", "1 1e99"])
def test_rows_without_finite_numbers_are_left_out_with_a_note(tmp_path, bad):
    path = write(tmp_path / "v", f"a 1 2\nb {bad}\nc 3 4\n")
    found = read_word_vectors(path, {"a", "b"})
    assert found.rows.keys() == {"a"}
    (note,) = found.notes
    assert note == "1 of the words that are used ('b') have NaN, infinite or no numbers: left out"
    assert read_word_vectors(path, {"a", "c"}).notes == ()  # numbers of others are not read


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a 1 2\nb 1\n", r"v, line 2: 1 numbers where 2 belong: 'b 1'\nhint: get the file again"),
        ("2 3\na 1 2 3\nb 1 2\n", "v, line 3: 2 numbers where 3 belong: 'b 1 2'"),
        ("9 3\na 1 2 3\nb 1 2 3", "v is truncated: its header promises 9 words, it has 2 and ends"),
        ("9 3\n", "v is truncated: it has a header and no words"),
        ("a\n", "v holds no word vectors that saltlm knows: it begins with 'a'"),
        (
            "a " + "7" * 99 + "\nlong" + "w" * 99,
            r"line 2: 0 numbers where 1 belong: 'longw{56}\.\.\.'",
        ),
    ],
)
def test_malformed_lines(tmp_path, text, match):
    with pytest.raises(AuxiliaryVectorsError, match=match):
        read_word_vectors(write(tmp_path / "v", text), {"b"})


def test_what_a_header_gets_wrong_is_noted_and_the_lines_are_taken(tmp_path):
    path = write(tmp_path / "v", "9 2\na 1 2 3\nb 4 5 6\n")
    found = read_word_vectors(path, None)
    assert {word: row.tolist() for word, row in found.rows.items()} == {
        "a": [1, 2, 3],
        "b": [4, 5, 6],
    }
    assert found.notes == (
        "its header says 9 words, it has 2: all taken",
        "its header says 2 numbers a word, its lines have 3: read as they are",
    )


def test_numbers_as_words_and_words_of_blanks(tmp_path):
    path = write(tmp_path / "v", "2024 1 2 3\n  4 5 6\n 7 8 9\n5 6 1 2 3\n7 1 1 1\n")
    found = read_word_vectors(path, {"2024", " ", "", "5 6", "7"})
    assert {word: row.tolist() for word, row in found.rows.items()} == {
        "2024": [1, 2, 3],
        " ": [4, 5, 6],
        "": [7, 8, 9],
        "5 6": [1, 2, 3],
        "7": [1, 1, 1],
    }


words = st.text(st.characters(exclude_characters="\n\r\t", codec="utf-8"), max_size=6)
numbers = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3
)


@settings(max_examples=100, deadline=None)
@example({"0\x0c\x08": [0, 0, 0], "0\x0c0": [0, 0, 0]}, False)
@example({"0": [6.784667066197606e16, 0, 0]}, True)  # begins with the bytes of "0" and a line's end
@given(st.dictionaries(words, numbers, min_size=1, max_size=6), st.booleans())
def test_what_is_written_is_read(table, is_binary):
    """Any words: in text unless an end would be cut as white space, in binary without blanks."""
    table = {
        word.strip(" ") if not is_binary else word.replace(" ", "").replace("\0", ""): row
        for word, row in table.items()
    }
    rows = {word: np.array(row, dtype="<f4") for word, row in table.items() if word}
    assume(rows)
    header = f"{len(rows)} 3\n".encode()
    if is_binary:
        data = b"".join(word.encode() + b" " + row.tobytes() for word, row in rows.items())
    else:
        lines = (" ".join([word, *map(repr, row.tolist())]) + "\n" for word, row in rows.items())
        data = "".join(lines).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v"
        path.write_bytes(header + data)
        found = read_word_vectors(path, set(rows))
    assert found.rows.keys() == rows.keys()
    for word, row in rows.items():
        np.testing.assert_array_equal(found.rows[word], row)


def test_files_that_are_not_vectors(tmp_path):
    with pytest.raises(AuxiliaryVectorsError, match="cannot read the vectors .*v: No such file"):
        check_vectors_file(tmp_path / "v")
    whole = gzip.compress(("a 1 2\n" * 5000).encode())
    (tmp_path / "v").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AuxiliaryVectorsError, match="cannot read the vectors .*v: Compressed file"):
        read_word_vectors(tmp_path / "v", {"b"})
    for data in (b"", b"\xba\x16O/\x0c\0\0\0", b"word not a number"):
        (tmp_path / "v").write_bytes(data)
        with pytest.raises(
            AuxiliaryVectorsError, match=r"v holds no word vectors .*\nhint: a line"
        ):
            check_vectors_file(tmp_path / "v")
