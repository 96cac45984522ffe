"""What the stages save for a report, written by the stages' own code."""

from pathlib import Path

from saltlm.adaptation.metrics import log_metrics
from saltlm.comparison.results import (
    AdaptedRun,
    Comparison,
    Level,
    MethodResult,
    Point,
    Reached,
    TextMeasurement,
)
from saltlm.evaluation.results import Evaluation, ModelRecord, Result, ratio, write_result
from saltlm.evaluation.side_by_side import write_summary
from saltlm.scoring.holdout import Interval, Score


def points(*bits: float) -> tuple[Point, ...]:
    """Return a curve: a step is 1000 tokens, 4000 bytes and 2 seconds."""
    return tuple(
        Point(1000 * n, 4000.0 * n, 2.0 * n, {"target": value, "English": 1 + value / 10})
        for n, value in enumerate(bits)
    )


def text(bits: float) -> TextMeasurement:
    return TextMeasurement(bits, (bits - 0.1, bits + 0.1), 5, 900, bits)


def score(method: str, r2: float) -> Score:
    interval = Interval(r2, r2 - 0.1, r2 + 0.1)
    return Score(method, {}, r2=interval, cosine=interval, norm_ratio=interval, retrieval=interval)


def write_comparison(out: Path, model: str | None = None) -> Path:
    """Write a comparison of salt, focus and no transfer; salt's model lies in ``model``."""
    out.mkdir(parents=True, exist_ok=True)
    results = {
        "untouched": MethodResult(
            "untouched",
            {"target": text(2.5), "English": text(1.25)},
            adapted=(AdaptedRun("untouched", 0, "untouched-adapted-0", points(2.5, 2.25)),),
        ),
        "focus": MethodResult("focus", {"target": text(3.5)}, "focus", score("focus", 0.25)),
        "salt": MethodResult(
            "salt",
            {"target": text(4.5), "English": text(3.0)},
            model,
            score("salt", 0.5),
            adapted=(
                AdaptedRun("salt", 0, "salt-adapted-0", points(4.5, 2.0)),
                AdaptedRun("salt", 1, "salt-adapted-1", points(4.5, 1.5)),
            ),
        ),
    }
    reached = {"untouched": (None,), "salt": (Reached(900, 3600, 1.5), Reached(800, 3200, 1.25))}
    Comparison("llm", "plm", "its rows", results, (Level(2.0, reached),)).save(out)
    return out


def write_evaluation(out: Path, *models: str) -> Path:
    """Write an evaluation of models, each half a bit per byte better than the one before."""
    out.mkdir(parents=True, exist_ok=True)
    records, results = [], []
    for number, name in enumerate(models):
        record = ModelRecord(name=name, sha256=f"{number}" * 64)
        bits = [4.0 - number / 2 + n / 8 for n in range(6)]
        metrics = {"bits per byte": ratio(bits, better="lower", seed=0)}
        details = {"layers": {"English to target": [0.25, 0.5 + number / 10]}}
        common = {"schema": 1, "model": record, "version": "1", "engine": "test", "settings": {}}
        common |= {"data": "d", "seed": 0, "seconds": 1.0, "environment": {}}
        one = Result(task="target text", metrics=metrics, details=details, **common)
        write_result(out / f"m{number}" / "target.json", one)
        records.append(record)
        results.append((one,))
    write_summary(Evaluation(tuple(records), tuple(results), ()), out)
    return out


def write_run(out: Path, steps: int = 4) -> Path:
    """Write the metrics of a run of adaptation that is measured every second step."""
    folder = out / "saltlm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text("{}")
    for step in range(steps + 1):
        row = {"step": step, "tokens": 1000 * step, "bytes": 4000.0 * step, "seconds": 2.0 * step}
        if step:
            row |= {"loss": 5.0, "train_bits_per_byte": 4.0 / step}
        if step % 2 == 0:
            share = {"targets": 0.5, "probability": 0.5 - 0.4 / (step + 1), "greedy": 0.25}
            share |= {"rank": 1000.0 / 10**step, "loss_new": 9.0 - step, "loss_old": None}
            row |= {"bits_per_byte": {"target": 4.0 - step / 2}, "new_tokens": {"target": share}}
        log_metrics(folder / "metrics.jsonl", row)
    return out
