"""The errors a user can meet: what failed with its values, and the next command to type."""


class SaltlmError(Exception):
    """A mistake or a limit that the user can act on.

    Args:
        what: one line that says what failed, with the values.
        hint: the next thing to do, preferably a command to type.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what if not hint else f"{what}\nhint: {hint}")
        self.what = what
        self.hint = hint


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
