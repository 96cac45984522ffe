"""JSON files of one object, as the settings of models and tokenizers are."""

import json
from pathlib import Path
from typing import Any

from saltlm.errors import CheckpointError


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file; empty if there is no such file.

    Raises:
        CheckpointError: the file holds something else.
    """
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a {type(value).__name__}, not a JSON object")
    return value
