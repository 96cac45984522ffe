"""What a number is worth: good, weak or stop, by thresholds from our own tables.

Where each threshold comes from is in docs/verdicts.md. Coverage by shared tokens and the residual
have none: in our tables they foretell nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from saltlm.record.manifest import Manifest

Grade = Literal["good", "weak", "stop"]

R2_GOOD, R2_STOP = 0.25, 0.0
SAVED_GOOD, SAVED_STOP = 0.25, 0.0
SEEN_GOOD = 20.0
ENGLISH_GOOD, ENGLISH_STOP = 0.02, 0.10
FED_GOOD = 20.0


class Verdict(NamedTuple):
    """A level and its reason, in words."""

    level: Grade
    reason: str

    def __str__(self) -> str:
        return f"{self.level}: {self.reason}"


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst level with all reasons for it; the good ones if nothing is worse."""
    found = list(verdicts)
    for level in ("stop", "weak", "good"):
        reasons = [one.reason for one in found if one.level == level]
        if reasons:
            return Verdict(level, "; ".join(reasons))
    return Verdict("weak", "nothing was measured that tells")


def of_r2(r2: float) -> Verdict:
    """Judge how well a method predicts rows that it is not shown."""
    if r2 <= R2_STOP:
        return Verdict("stop", f"r2 {r2:.2f}: predicted rows are no better than the mean row")
    if r2 < R2_GOOD:
        return Verdict("weak", f"r2 {r2:.2f} is under {R2_GOOD}: another method or PLM may do")
    return Verdict("good", f"r2 {r2:.2f}")


def of_saving(saved: float) -> Verdict:
    """Judge the share of a text's tokens that the new vocabulary saves."""
    if saved <= SAVED_STOP:
        return Verdict("stop", "the new vocabulary saves no tokens: train the source as it is")
    text = f"{saved:.0%} fewer tokens"
    if saved < SAVED_GOOD:
        return Verdict("weak", f"{text}, under {SAVED_GOOD:.0%}: plain training may do as well")
    return Verdict("good", text)


def of_occurrences(seen: float) -> Verdict:
    """Judge how often a new token is seen in the planned training, on average."""
    if seen < SEEN_GOOD:
        return Verdict(
            "weak",
            f"a new token is seen {seen:.0f} times in one pass, under {SEEN_GOOD:.0f}: more text,"
            " or fewer new tokens",
        )
    return Verdict("good", f"a new token is seen {seen:,.0f} times in one pass")


def of_english(before: float, after: float) -> Verdict:
    """Judge bits per byte of English before and after."""
    lost = after / before - 1
    text = f"English {before:.2f} to {after:.2f} bits per byte ({lost:+.1%})"
    if lost > ENGLISH_STOP:
        return Verdict("stop", f"{text}: merge gives some of it back")
    return Verdict("weak" if lost > ENGLISH_GOOD else "good", text)


def of_training(untouched: float | None, before: float | None, after: float) -> Verdict:
    """Judge bits per byte of the new language: of the source, before training, and after it."""
    named = [("source", untouched), ("before", before)]
    text = ", ".join(f"{name} {value:.3f}" for name, value in named if value is not None)
    text = f"bits per byte {after:.3f}" + (f" ({text})" if text else "")
    if before is not None and after >= before:
        return Verdict("stop", f"{text}: training made it no better")
    if untouched is not None and after >= untouched:
        return Verdict("weak", f"{text}: not yet ahead of the source, train on")
    return Verdict("good", text)


def of_held_out(
    after: Mapping[str, float], before: Mapping[str, float], untouched: Mapping[str, float]
) -> Verdict | None:
    """Judge a training by its held-out texts; None if there is nothing to compare with.

    Args:
        after: bits per byte of each text after training; English is called english.
        before: the same before it.
        untouched: the same of the source.
    """
    found = []
    for name, value in after.items():
        first = untouched.get(name, before.get(name))
        if first is None:
            continue
        if name == "english":
            found.append(of_english(first, value))
        else:
            found.append(of_training(untouched.get(name), before.get(name), value))
    return together(found) if found else None


def of_feeding(n_read: int, n_layers: int) -> Verdict:
    """Judge a PLM by the tokens that it has read for each parameter of its layers."""
    fed = n_read / n_layers
    text = f"{fed:.1f} tokens read for each parameter of the layers"
    if fed < FED_GOOD:
        return Verdict(
            "weak", f"{text}, under {FED_GOOD:.0f}: more text, more passes, or a smaller size"
        )
    return Verdict("good", text)


def of_rows(origins: Sequence[str]) -> Verdict:
    """Judge rows by where they come from, each as `saltlm explain` says it."""
    counts = ", ".join(f"{n} {origin}" for origin, n in Counter(origins).items())
    text = f"{len(origins)} rows: {counts}" if len(origins) > 1 else f"the row is {origins[0]}"
    if "sampled" in origins:
        return Verdict(
            "weak", f"{text}; a sampled row is drawn at random, and means nothing before training"
        )
    return Verdict("good", text)


def of_transfer(manifest: Manifest) -> Verdict:
    """Judge a model that was just made, by its record."""
    return together(_of_transfer(manifest))


def _of_transfer(manifest: Manifest) -> Iterator[Verdict]:
    yardstick: dict[str, Any] | None = manifest.get("yardstick")
    if yardstick and yardstick["r2"]:
        yield of_r2(yardstick["r2"]["value"])
    if budget := manifest["vocabulary"].get("budget"):
        yield of_saving(budget["saved"])


def is_loud(note: str) -> bool:
    """Whether a note is a warning: then it begins in capitals."""
    return note.partition(" ")[0].isupper() and note[:8].isupper()
