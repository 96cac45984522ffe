"""How fast models get better: ``saltlm compare --adapt``.

Every method's model is adapted on the same text in the same order, so that what differs is where
each began. ``OUT/METHOD-adapted-SEED`` holds the adapted model with its metrics,
``OUT/METHOD-adapted-SEED.json`` its curve.
"""

import json
import logging
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from saltlm.adaptation.config import AdaptConfig, load_adapt_config
from saltlm.adaptation.metrics import read_metrics
from saltlm.adaptation.run_folder import RunFolder
from saltlm.comparison.results import (
    ENGLISH,
    TARGET,
    UNTOUCHED,
    AdaptedRun,
    Comparison,
    Level,
    MethodResult,
    Point,
    Reached,
)
from saltlm.errors import ConfigError, MissingExtraError

logger = logging.getLogger(__name__)


def adapt_options(
    options: str | Mapping[str, Any],
    *,
    data: Sequence[Path],
    heldout: Mapping[str, Sequence[Path]],
    n_documents: int,
) -> AdaptConfig:
    """Return the options of the adaptations.

    Args:
        options: fields of `AdaptConfig`, or ``key=value key=value`` as ``--set`` takes them.
        data: text to train on, unless it is among them.
        heldout: the texts that the comparison measures on, by name.
        n_documents: so many documents of each.

    Raises:
        ConfigError: an unknown option, a value that does not fit, or no text.
    """
    for name, files in heldout.items():
        if len(files) != 1:
            raise ConfigError(
                f"{len(files)} files of {name} text: a curve is measured on one",
                "put the documents into one file",
            )
    words, fields = (shlex.split(options), {}) if isinstance(options, str) else ((), options)
    if not data and "data" not in fields and not any(word.startswith("data=") for word in words):
        raise ConfigError("there is no text to train on with --adapt", "add --corpus FILE")
    text = f"data={json.dumps(list(map(str, data)))}"
    config = load_adapt_config(None, [text, *words], **fields)
    return load_adapt_config(
        config,
        heldout={name: files[0] for name, files in heldout.items()},
        eval_documents=n_documents,
        eval_every=config.eval_every,  # a curve has its points, whatever they take
    )


def check_adapt_extra(feature: str = "saltlm compare --adapt") -> None:
    """Make sure that there is something to adapt with.

    Args:
        feature: what needs it.

    Raises:
        MissingExtraError: accelerate is not installed.
    """
    try:
        import accelerate  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(feature, "adapt") from error


def adapt_and_follow(method: str, model: Path, out: Path, config: AdaptConfig) -> AdaptedRun:
    """Adapt a method's model and return its curve; the finished run's checkpoints are removed.

    Raises:
        SaltlmError: the model cannot be adapted.
    """
    from saltlm.adaptation.adapt import adapt

    result = adapt(model, out, config=config)
    folder = RunFolder(result.directory)
    shutil.rmtree(folder.checkpoints)
    return AdaptedRun(method, config.seed, out.name, tuple(read_curve(folder.metrics)))


def read_curve(metrics: Path) -> list[Point]:
    """Return the points at which a run was measured, from its ``metrics.jsonl``."""
    return [
        Point(row["tokens"], row["bytes"], row["seconds"], row["bits_per_byte"])
        for row in read_metrics(metrics)
        if "bits_per_byte" in row
    ]


def first_reached(curve: Sequence[Point], text: str, value: float) -> Reached | None:
    """Return where the bits per byte of a text first come down to a value; None if nowhere."""
    before: Point | None = None
    for point in curve:
        now = point.bits_per_byte[text]
        if now <= value:
            if before is None:
                return Reached(point.tokens, point.n_bytes, point.seconds)
            share = (before.bits_per_byte[text] - value) / (before.bits_per_byte[text] - now)
            return Reached(
                *(
                    old + share * (new - old)
                    for old, new in (
                        (before.tokens, point.tokens),
                        (before.n_bytes, point.n_bytes),
                        (before.seconds, point.seconds),
                    )
                )
            )
        before = point
    return None


def levels_of(curves: Mapping[str, Sequence[Sequence[Point]]], untouched: float) -> list[float]:
    """Return what is worth reaching: the untouched model's bits per byte, and where others end."""
    ends = {
        sum(run[-1].bits_per_byte[TARGET] for run in runs) / len(runs) for runs in curves.values()
    }
    return sorted({untouched, *(end for end in ends if end < untouched)}, reverse=True)


def levels_reached(results: Mapping[str, MethodResult]) -> tuple[Level, ...]:
    """Return the levels, and where each method first came down to them."""
    curves = {name: result.curves for name, result in results.items() if result.curves}
    if not curves:
        return ()
    untouched = results[UNTOUCHED].texts[TARGET].bits_per_byte
    return tuple(
        Level(level, {name: tuple(_reach(runs, level)) for name, runs in curves.items()})
        for level in levels_of(curves, untouched)
    )


def convergence_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield a heading and a line per method: its end, and tokens to reach each level.

    Of several seeds the mean is shown, and the tokens of the slowest.
    """
    levels = levels_reached(comparison.results)
    heads = (f"to {level.target_bits_per_byte:.3f}" for level in levels)
    yield ("method", "seeds", "target at the end", "English", *heads)
    for name, runs in comparison.curves.items():
        ends = [run[-1].bits_per_byte for run in runs]
        yield (
            name,
            str(len(runs)),
            _spread([end[TARGET] for end in ends]),
            _spread([end[ENGLISH] for end in ends]) if ENGLISH in ends[0] else "",
            *(_slowest(level.reached[name]) for level in levels),
        )


def _reach(runs: Sequence[Sequence[Point]], level: float) -> list[Reached | None]:
    return [first_reached(run, TARGET, level) for run in runs]


def _spread(values: Sequence[float]) -> str:
    mean = f"{sum(values) / len(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def _slowest(found: Sequence[Reached | None]) -> str:
    if any(one is None for one in found):
        return "not reached"
    slowest = max((one for one in found if one is not None), key=lambda one: one.tokens)
    return f"{slowest.tokens:,.0f} ({slowest.n_bytes / 1e3:,.0f} kB, {slowest.seconds:,.0f} s)"
