"""Text of others formats nothing in Markdown."""

from saltlm.files.markdown import as_markdown


def test_marks_are_text():
    assert as_markdown("a | <b> `c` [d](e)") == r"a \| \<b\> \`c\` \[d\](e)"
    assert as_markdown("one\n\n# two\r\n---") == "one # two ---"
    assert as_markdown("\x1b[31m*red*") == r"\x1b[31m*red*".replace("[", r"\[").replace(
        "*", r"\*"
    ).replace("\\x", r"\\x")
    assert as_markdown(" ordinary name_of-a.model ") == " ordinary name_of-a.model "
    assert as_markdown("__init__ _a_ ~~b~~") == r"\_\_init\_\_ \_a\_ \~\~b\~\~"
