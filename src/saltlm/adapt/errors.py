"""The errors that only adaptation can meet."""

from saltlm.errors import SaltlmError


class DataError(SaltlmError):
    """Training text cannot be read, or there is too little of it."""


class TrainingError(SaltlmError):
    """A run cannot go on, or cannot be resumed; its last good checkpoint is kept."""
