"""Messages: each has its next command, and shows others' values as data, within a line."""

import ast
import inspect
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import saltlm.errors
from saltlm.errors import ConfigError, MissingExtraError, SaltlmError, printable, shown

PACKAGE = Path(saltlm.errors.__file__).parent
CLASSES = {
    name
    for name, item in vars(saltlm.errors).items()
    if inspect.isclass(item) and issubclass(item, SaltlmError)
}


def without_hint(source):
    """Return the calls in a source that make an error and do not say what to do."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", None) in CLASSES - {"MissingExtraError"}
        and not any(isinstance(item, ast.Starred) for item in node.args)
        and not (len(node.args) == 2 and ast.unparse(node.args[1]).strip("f\"' "))
    ]


def test_every_error_says_what_to_do():
    found = {}
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "Error(" in text and (calls := without_hint(text)):
            found[file.name] = calls
    assert found == {}
    assert MissingExtraError("it", "adapt").hint == "pip install 'saltlm[adapt]'"


def test_an_error_without_a_hint_is_found():
    source = "a = ConfigError('what')\nb = ConfigError('what', '')\nc = ConfigError(*both)"
    assert without_hint(source) == ["ConfigError('what')", "ConfigError('what', '')"]
    with pytest.raises(TypeError, match="hint"):
        ConfigError("what")


def test_a_parser_of_others_texts_has_bounds():
    """json and yaml of others go through `parse_json` and `parse_yaml`, and nothing is pickled."""
    own = {"json_object.py", "yaml_text.py", "paper.py", "options.py", "definition.py"}
    own.add("blanks.py")  # what tokenizers says of its own parts
    for file in {file for file in PACKAGE.rglob("*.py") if file.name not in own}:
        text = file.read_text(encoding="utf-8")
        assert "yaml.safe_load" not in text, file
        assert "json.loads(" not in text.replace("json.loads(json.dumps(", "").replace(
            "json.loads(done.stdout", ""
        ), file


@settings(max_examples=20)
@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_in_a_message_steers_a_terminal(before, after):
    error = ConfigError(f"{before}\x1b]0;title\x07\u202e{after}", after)
    assert "\\x1b]0;title\\x07\\u202e" in str(error)
    assert all(
        letter.isprintable() or letter in "\n\t\xa0" for letter in str(error) if letter < "\xad"
    )
    str(error).encode()
    assert printable(printable(before)) == printable(before)


@pytest.mark.parametrize("letter", ["a", "a ", "\x1b"])
def test_no_value_is_longer_than_a_line(letter):
    value = letter * 10**6
    for text in (f"option x={value!r}: no", f'token "{value}" of m', f"{value} is no number"):
        assert len(ConfigError(text, "h").what) <= 2100
    assert len(ConfigError(f"option x='{value}': no", "h").what) < 220
    assert ConfigError(f"option x='{value}': no", "h").what.endswith(": no")
    assert len(shown(value)) < 220
    assert shown(["a\nb"]) == r"['a\nb']"
    assert shown("a\nb ") == "a b"
