"""What a check of a model directory reports."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from saltlm.errors import shown


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: ``ok``, a ``warning``, or ``failed``, and what was seen."""

    check: str
    outcome: Literal["ok", "warning", "failed"]
    detail: str


@dataclass(frozen=True, repr=False)
class Check:
    """What was found in a model directory.

    Attributes:
        directory: that was looked at.
        findings: in the order of the checks; one that makes later ones pointless is the last.
    """

    directory: Path
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing failed; there may be warnings."""
        return all(finding.outcome != "failed" for finding in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __repr__(self) -> str:
        told = [finding for finding in self.findings if finding.outcome != "ok"]
        lines = [f"\n  {one.outcome}: {one.check}: {one.detail}" for one in told]
        sound = "sound" if self.is_sound else "NOT SOUND"
        n_ok = len(self.findings) - len(told)
        return f"Check({self.directory}: {sound}; {n_ok} checks ok){''.join(lines)}"


def verdict(check: str, is_good: bool, detail: str) -> Finding:
    """Return the finding of a check that a sound model must pass."""
    return Finding(check, "ok" if is_good else "failed", detail)


def advice(check: str, is_good: bool, detail: str) -> Finding:
    """Return the finding of a check that a sound model may have reasons not to pass."""
    return Finding(check, "ok" if is_good else "warning", detail)


def failure(check: str, error: Exception) -> Finding:
    """Return the finding of a check that a library ended; a package that is missing is no fault."""
    reason = shown(str(error).strip().partition("\n")[0])
    if isinstance(error, ImportError):
        return Finding(check, "warning", f"not tried: {reason}")
    return Finding(check, "failed", f"{type(error).__name__}: {reason}")
