"""What breaks while others' data is read becomes an error that names it."""

import pytest

from saltlm.errors import CheckpointError, VocabularyError
from saltlm.files.damage import reading
from saltlm.files.json_object import parse_json, read_json, read_text


class PanicException(BaseException):
    """As the libraries in Rust raise it."""


@pytest.mark.parametrize("error", [KeyError("vocab"), PanicException("at line 3\nnote: more")])
def test_it_names_the_file(error):
    match = r"^a is damaged: \w+: .*\nhint: fetch it$"
    with (
        pytest.raises(CheckpointError, match=match) as caught,
        reading("a", CheckpointError, "fetch it"),
    ):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [VocabularyError("what", "hint"), KeyboardInterrupt(), MemoryError(), SystemExit(1)]
)
def test_what_says_more_passes(error):
    with pytest.raises(type(error)) as caught, reading("a", CheckpointError, "fetch it"):
        raise error
    assert caught.value is error


def test_nested_json_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
    (tmp_path / "a.json").write_text('{"a":' * 100_000)
    with pytest.raises(CheckpointError, match="cannot be read as JSON: it is nested"):
        read_json(tmp_path / "a.json")


def test_a_text_has_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr("saltlm.files.json_object.LARGEST_TEXT", 3)
    (tmp_path / "a.json").write_text("{   }")
    with pytest.raises(ValueError, match="it has 5 bytes, more than the 3 that are read"):
        read_text(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="cannot be read as JSON: it has 5 bytes"):
        read_json(tmp_path / "a.json")
