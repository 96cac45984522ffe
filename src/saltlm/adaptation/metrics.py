"""``metrics.jsonl``: one line of JSON for each step, and what is shown of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saltlm.errors import TrainingError, quoted
from saltlm.files.atomic import replace_text
from saltlm.files.damage import reading
from saltlm.files.json_object import parse_json


def log_metrics(file: Path, row: Mapping[str, Any]) -> None:
    """Add a line."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(row) + "\n")


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the lines in their order; a last one that was cut off is left out."""
    if not file.is_file():
        return []
    with reading(file, TrainingError, f"remove it; what it lacks is a plot: rm {quoted(file)}"):
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        rows = [parse_json(line) for line in lines]
        if any(not isinstance(row["step"], int) for row in rows):
            raise ValueError("a line has no step")
    return rows


def keep_metrics(file: Path, *, up_to: int) -> None:
    """Remove the lines of steps after one: they are about to be done again."""
    rows = [row for row in read_metrics(file) if row["step"] <= up_to]
    replace_text(file, "".join(json.dumps(row) + "\n" for row in rows))


def flatten(values: Mapping[str, Any], separator: str = "/", prefix: str = "") -> dict[str, Any]:
    """Return nested values under joined names, such as ``lr/new``, as trackers want them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, separator, f"{prefix}{key}{separator}")
        else:
            flat[prefix + key] = value if isinstance(value, int | float | str) else str(value)
    return flat


def summary(row: Mapping[str, Any], room: int | None = None) -> str:
    """Return what is worth seeing of a step while it runs.

    Args:
        row: a line of the metrics.
        room: characters; of more held-out texts than fit, the last ones are left out.
    """
    measured = [f"{name} {value:.3f}" for name, value in row.get("bits_per_byte", {}).items()]
    first, last = f"loss {row['loss']:.3f}", f"{row['tokens_per_second']:,.0f} tokens/s"
    while room is not None and measured and len(", ".join([first, *measured, last])) > room:
        measured.pop()
    return ", ".join([first, *measured, last])
