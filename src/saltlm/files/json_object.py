"""JSON as others wrote it: settings of models and tokenizers, records, results."""

import json
from pathlib import Path
from typing import Any

from saltlm.errors import CheckpointError, quoted
from saltlm.files.damage import check_fetched

LARGEST_TEXT = 2**29
"""Bytes of a file that is read whole; the largest ``tokenizer.json`` in use have 40 million."""


def parse_json(text: str | bytes) -> Any:
    """Return what JSON stands for.

    Raises:
        ValueError: it is no JSON, or is nested deeper than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_text(file: Path) -> str:
    """Return a text file that is to be parsed whole.

    Raises:
        ValueError: it is not UTF-8, or larger than `LARGEST_TEXT`.
        OSError: it cannot be read.
    """
    if (size := file.stat().st_size) > LARGEST_TEXT:
        raise ValueError(f"it has {size:,} bytes, more than the {LARGEST_TEXT:,} that are read")
    return file.read_text(encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file; empty if there is no such file.

    Raises:
        CheckpointError: the file holds something else, or Git LFS has not fetched it.
    """
    if not file.is_file():
        return {}
    where = f"python -m json.tool {quoted(file)} says where it breaks off"
    hint = f"fetch or make {file.name} again; {where}"
    try:
        check_fetched(file, CheckpointError)
        value = parse_json(read_text(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON: {error}", hint) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a {type(value).__name__}, not a JSON object", hint)
    return value
