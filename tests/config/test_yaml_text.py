"""YAML of others: plain values, and no small text that becomes a large one."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from saltlm.config.reading import read_yaml
from saltlm.config.yaml_text import parse_yaml
from saltlm.errors import ConfigError

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
PLAIN = st.recursive(SCALARS, lambda one: st.lists(one) | st.dictionaries(st.text(), one))


@settings(max_examples=20)
@given(PLAIN)
def test_what_is_written_is_read(value):
    assert parse_yaml(yaml.safe_dump(value)) == yaml.safe_load(yaml.safe_dump(value)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x, x]\nb: [*a, *a]", "repeats a section by an alias"),
        ("a: &a {x: 1}\nb: {<<: *a}", "repeats a section by an alias"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("a: [", "expected"),
    ],
)
def test_what_is_refused(text, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)
    (tmp_path / "options.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_yaml(tmp_path / "options.yaml")
    assert "docs/options.md" in caught.value.hint


def test_a_value_may_be_repeated():
    assert parse_yaml("a: &a 7\nb: [*a, *a]") == {"a": 7, "b": [7, 7]}


def test_a_file_of_options_has_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr("saltlm.config.reading._LARGEST", 10)
    (tmp_path / "options.yaml").write_text("seed: 1 # a long story")
    with pytest.raises(ConfigError, match=r"it has 22 bytes; options take fewer than 10"):
        read_yaml(tmp_path / "options.yaml")
