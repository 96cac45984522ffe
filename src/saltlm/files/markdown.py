"""Text of others as text in Markdown and HTML: it formats nothing and closes nothing."""

import re

from saltlm.errors import printable

_BREAK = re.compile(r"\s*[\n\r]\s*")
_MARKS = re.compile(r"([\\`*~\[\]<>|&]|(?<![^\W_])_|_(?![^\W_]))")  # no _ inside a word


def as_markdown(text: str) -> str:
    """Return a text in one line, with what Markdown or HTML would take for a mark escaped."""
    return _MARKS.sub(r"\\\1", printable(_BREAK.sub(" ", text)))
