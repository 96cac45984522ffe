"""The result of one task for one model: its schema, its file, and how sure it is.

Every value is a ratio of two sums over items (documents, sentences, questions): bits over bytes,
right answers over questions. The items are kept, so that intervals, and differences between models
that saw the same items, can be had from the files alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from saltlm.errors import CheckpointError, quoted, shown
from saltlm.files.atomic import replace_text
from saltlm.files.damage import reading
from saltlm.files.hashes import sha256
from saltlm.files.json_object import parse_json, read_text
from saltlm.files.leftovers import remove_dead
from saltlm.scoring.bootstrap import percentiles, resampled_sums

SCHEMA = 1
BUSY = 0.8  # a process that got less processor time than this share of the time had to wait
_MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt", "*.jinja", "*.py")

_NUMBER = int | float
_METRIC: dict[str, Any] = {
    "value": _NUMBER,
    "better": str | None,
    "n": int,
    "stderr": _NUMBER | None,
}
_METRIC |= {"interval": list | None, "items": list | None}
_RESULT: dict[str, Any] = {"schema": int, "model": dict, "task": str, "version": str, "engine": str}
_RESULT |= {"settings": dict, "data": str, "seed": int, "metrics": dict, "details": dict}
_RESULT |= {"seconds": _NUMBER, "environment": dict}


class Metric(TypedDict):
    """A number and how sure it is.

    Attributes:
        value: the number.
        better: whether more of it is better; None: neither.
        n: items that it is over.
        stderr: its standard error; None if nobody knows.
        interval: its 95 % interval, from a bootstrap over the items; None likewise.
        items: per item, what is added up above and below the line; None if the value is no ratio.
    """

    value: float
    better: Literal["higher", "lower"] | None
    n: int
    stderr: float | None
    interval: list[float] | None
    items: list[list[float]] | None


class ModelRecord(TypedDict):
    """Which model it was.

    Attributes:
        name: as the user typed it.
        sha256: over its weights, settings and tokenizer.
    """

    name: str
    sha256: str


class Result(TypedDict):
    """What is in a result file.

    Attributes:
        schema: version of this layout.
        model: that was measured.
        task: its name.
        version: of the task; with another one, numbers do not compare.
        engine: what computed it, with its version.
        settings: all that the numbers depend on beside model and data.
        data: hash of the texts; results of the same data have the same items.
        seed: of everything random, the bootstrap included.
        metrics: by name.
        details: what is worth a look, by task.
        seconds: that it took.
        environment: versions of libraries, and the machine.
    """

    schema: int
    model: ModelRecord
    task: str
    version: str
    engine: str
    settings: dict[str, Any]
    data: str
    seed: int
    metrics: dict[str, Metric]
    details: dict[str, Any]
    seconds: float
    environment: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A task that could not be done.

    Attributes:
        task: its name.
        reason: in one line.
        model: with which; None if with any.
        hint: what to do about it, if that is known.
    """

    task: str
    reason: str
    model: str | None = None
    hint: str = ""

    def __str__(self) -> str:
        model = f" of {self.model}" if self.model else ""
        way = f"; {self.hint}" if self.hint else ""
        return f"not measured: {self.task}{model}: {self.reason}{way}"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """All results of some models, and what failed.

    Attributes:
        models: in the order they were given.
        results: those of each model, in the order of the suite.
        failures: tasks that could not be done.
    """

    models: tuple[ModelRecord, ...]
    results: tuple[tuple[Result, ...], ...]
    failures: tuple[Failure, ...]

    def __str__(self) -> str:
        lines = []
        for model, results in zip(self.models, self.results, strict=True):
            firsts = [(one["task"], *next(iter(one["metrics"].items()))) for one in results]
            seen = [f"{task}, {name} {metric['value']:.3f}" for task, name, metric in firsts]
            lines.append(f"\n  {model['name']}: {'; '.join(seen)}")
        lines += [f"\n  {one}" for one in self.failures]
        return f"{len(self.models)} models{''.join(lines)}"

    def __repr__(self) -> str:
        return f"Evaluation({self})"


def ratio(
    above: Sequence[float],
    below: Sequence[float] | None = None,
    *,
    better: Literal["higher", "lower"] | None,
    seed: int,
) -> Metric:
    """Return a metric of the items' values; without ``below``, their mean."""
    items = np.array([above, below if below is not None else np.ones(len(above))], np.float64)
    values = bootstrap(items, seed) if items.shape[1] > 1 else None  # one item says nothing of it
    return Metric(
        value=float(items[0].sum() / items[1].sum()),
        better=better,
        n=items.shape[1],
        stderr=None if values is None else float(values.std(ddof=1)),
        interval=None if values is None else list(percentiles(values)),
        items=items.tolist(),
    )


def bootstrap(items: np.ndarray, seed: int) -> np.ndarray:
    """Return the ratios of the sums of items drawn with repetition.

    Args:
        items: of shape ``[..., 2, n]``; what is drawn is the same for all leading dimensions.
        seed: of the draws.
    """
    sums = resampled_sums(items, seed)
    ratios: np.ndarray = sums[..., 0, :] / sums[..., 1, :]
    return ratios


def difference_interval(one: Metric, other: Metric, seed: int) -> tuple[float, float] | None:
    """Return the 95 % interval of ``one - other``, items drawn for both at once.

    Both are of the same items. Where these were not kept, the two are taken for independent; None
    if the standard error of one is not known.
    """
    if one["items"] and other["items"] and one["n"] == other["n"] > 1:
        ratios = bootstrap(np.array([one["items"], other["items"]]), seed)
        return percentiles(ratios[0] - ratios[1])
    if one["stderr"] is None or other["stderr"] is None:
        return None
    middle = one["value"] - other["value"]
    reach = 1.96 * float(np.hypot(one["stderr"], other["stderr"]))
    return middle - reach, middle + reach


def hash_of(value: Any) -> str:
    """Return the hash of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def model_hash(directory: Path) -> str:
    """Return the hash of all that decides what a model does: not of its card or its record."""
    files = {file for pattern in _MODEL_FILES for file in directory.glob(pattern)}
    return hash_of({file.name: sha256(file) for file in sorted(files) if file.is_file()})


def read_result(file: Path) -> Result:
    """Return what `write_result` wrote.

    Raises:
        CheckpointError: it is damaged.
    """
    remove_dead(file.parent)
    with reading(
        file, CheckpointError, f"the same command measures it again after: rm {quoted(file)}"
    ):
        result: Result = parse_json(read_text(file))
        _check(result, _RESULT)
        _check(result["model"], {"name": str, "sha256": str})
        for metric in result["metrics"].values():
            _check(metric, _METRIC)
            _low, _high = metric["interval"] or (0.0, 0.0)
            np.array([_low, _high]).astype(np.float64, casting="same_kind")
            np.array(metric["items"] or [[0.0]]).astype(np.float64, casting="same_kind")
    return result


def _check(values: Any, kinds: Mapping[str, Any]) -> None:
    """Make sure that values are there, and of their kinds."""
    if missing := kinds.keys() - values.keys():
        raise ValueError(f"it has no {min(missing)}")
    for name, kind in kinds.items():
        if not isinstance(values[name], kind):
            raise ValueError(f"{name} is {shown(values[name])}")


def write_result(file: Path, result: Result) -> None:
    """Write a result into its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, json.dumps(result, ensure_ascii=False) + "\n")
