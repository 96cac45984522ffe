"""What a check of a model directory reports."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: ``ok``, a ``warning``, or ``failed``, and what was seen."""

    check: str
    outcome: Literal["ok", "warning", "failed"]
    detail: str


def verdict(check: str, is_good: bool, detail: str) -> Finding:
    """Return the finding of a check that a sound model must pass."""
    return Finding(check, "ok" if is_good else "failed", detail)


def advice(check: str, is_good: bool, detail: str) -> Finding:
    """Return the finding of a check that a sound model may have reasons not to pass."""
    return Finding(check, "ok" if is_good else "warning", detail)
