"""The errors a user can meet: what failed with its values, and the next command to type.

Values come from files that others wrote, so they are shown as data: nothing in them steers a
terminal, and none is longer than a line.
"""

import json
import re
import shlex

_LINE = 160  # letters of a value
_MARK = 40  # letters of what says that some are left out
_WORD = 400  # letters without a space, as long paths have
_WHOLE = 2000  # letters of a message
_LONGEST_HINT = 4000
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_VALUE = re.compile(
    rf"""'[^'\n]{{{_LINE},}}'|"[^"\n]{{{_LINE},}}"|[^\s'"]{{{_WORD},}}""", re.ASCII
)


def printable(text: str) -> str:
    """Return text with what would steer a terminal spelled out, as Python writes it."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object, most: int = _LINE) -> str:
    """Return a value of somebody's file in one line, its middle left out if that is too long."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) > most:
        text = f"{text[: most // 2]} ...{len(text):,} letters... {text[-most // 4 :]}"
    text = printable(" ".join(text.split()))
    return text if len(text) <= most + _MARK else f"{text[:most]}..."


def setting(value: object) -> str:
    """Return the value of an option as a file of options has it, and not as Python writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def quoted(value: object) -> str:
    """Return a value, such as a path, as it stands in a command that a message proposes."""
    return shlex.quote(str(value))


def python_command(code: str) -> str:
    """Return the shell command that runs a line of Python."""
    return f"python -c {quoted(code)}" if set(code) & set('"$`\\!') else f'python -c "{code}"'


def _message(text: str) -> str:
    text = _LONG_VALUE.sub(lambda found: shown(found[0]), text)
    return printable(text) if len(text) <= _WHOLE else shown(text, _WHOLE)


class SaltlmError(Exception):
    """A mistake or a limit that the user can act on.

    Args:
        what: one line that says what failed, with the values.
        hint: the next thing to do, preferably a command to type.
    """

    def __init__(self, what: str, hint: str) -> None:
        self.what = _message(what)
        self.hint = printable(hint)[:_LONGEST_HINT]
        super().__init__(f"{self.what}\nhint: {self.hint}")

    def add_hint(self, more: str) -> None:
        """Say more of what to do: where the command that failed is a part of another."""
        SaltlmError.__init__(self, self.what, f"{self.hint}; {more}")


class CheckpointError(SaltlmError):
    """A model directory cannot be read, or does not hold what is needed."""


class VocabularyError(SaltlmError):
    """A tokenizer cannot be read, or two vocabularies cannot be matched."""


class AuxiliaryVectorsError(SaltlmError):
    """Auxiliary vectors cannot be read or trained."""


class ConfigError(SaltlmError):
    """An option is unknown, or has a value it cannot have."""


class OutputError(SaltlmError):
    """The output cannot be written where the user wants it."""


class MissingExtraError(SaltlmError):
    """A command needs an optional dependency that is not installed.

    Args:
        feature: what needs it, as the user typed it.
        extra: the name of saltlm's extra.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the '{extra}' extra, which is not installed",
            f"pip install 'saltlm[{extra}]'",
        )


class DataError(SaltlmError):
    """Training text cannot be read, or there is too little of it."""


class TrainingError(SaltlmError):
    """A run cannot go on, or cannot be resumed; its last good checkpoint is kept."""
