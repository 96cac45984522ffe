"""What is no JSON object is named; what is not there is empty."""

import pytest

from saltlm.errors import CheckpointError
from saltlm.files.json_object import read_json


def test_an_object_is_read_and_no_file_is_empty(tmp_path):
    assert read_json(tmp_path / "config.json") == {}
    (tmp_path / "config.json").write_text('{"a": "ä"}', encoding="utf-8")
    assert read_json(tmp_path / "config.json") == {"a": "ä"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", r"config\.json cannot be read as JSON: Expecting property name"),
        (b"\xff", r"config\.json cannot be read as JSON: .* can't decode byte 0xff"),
        (b"[1]", r"config\.json holds a list, not a JSON object"),
    ],
)
def test_a_broken_file_is_named(content, told, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        read_json(tmp_path / "config.json")
