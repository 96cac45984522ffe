"""What a comparison found: its schema, and its file ``OUT/comparison.json``."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from saltlm.comparison.untrained import NewRowMass, TableReport
from saltlm.errors import CheckpointError
from saltlm.evaluation.results import Evaluation
from saltlm.files.atomic import replace_text
from saltlm.files.json_object import parse_json, read_text
from saltlm.scoring.holdout import Score

COMPARISON_SCHEMA = 1
UNTOUCHED = "untouched"
TARGET, ENGLISH = "target", "English"  # the texts that are measured
_FILE = "comparison.json"


@dataclass(frozen=True)
class TextMeasurement:
    """A model on one text.

    Attributes:
        bits_per_byte: of the text's UTF-8 bytes.
        interval: its 95 % interval over documents.
        n_documents: that were measured.
        n_bytes: in them.
        tokens_per_word: of the model's tokenizer on them.
    """

    bits_per_byte: float
    interval: tuple[float, float]
    n_documents: int
    n_bytes: int
    tokens_per_word: float


@dataclass(frozen=True)
class Point:
    """A model somewhere on its way.

    Attributes:
        tokens: read so far, by the model's own tokenizer.
        n_bytes: of text that they stand for; comparable between tokenizers.
        seconds: of training so far; measuring is not counted.
        bits_per_byte: of each held-out text.
    """

    tokens: int
    n_bytes: float
    seconds: float
    bits_per_byte: dict[str, float]


@dataclass(frozen=True)
class AdaptedRun:
    """One adaptation of a method's model.

    Attributes:
        method: whose model it is.
        seed: of the run.
        directory: of the adapted model, inside that of the comparison; None if it failed.
        curve: where it was measured.
        error: why it failed; None if it did not.
    """

    method: str
    seed: int
    directory: str | None = None
    curve: tuple[Point, ...] = ()
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return _without_none(asdict(self))


@dataclass(frozen=True)
class MethodResult:
    """What became of one method.

    Attributes:
        method: ``name:option=value``, or ``untouched`` for the source as it is.
        directory: of its model, inside that of the comparison; None if it failed or is the source.
        yardstick: how well it predicts rows that it is not shown.
        texts: bits per byte before any training, by text: ``target`` and ``English``.
        rows: what the new rows look like beside the copied ones; None if there are none.
        mass: how much probability goes to them; likewise.
        adapted: one run for each seed.
        error: why it failed; None if it did not.
    """

    method: str
    texts: dict[str, TextMeasurement]
    directory: str | None = None
    yardstick: Score | None = None
    rows: TableReport | None = None
    mass: NewRowMass | None = None
    adapted: tuple[AdaptedRun, ...] = ()
    error: str | None = None

    @property
    def curves(self) -> list[tuple[Point, ...]]:
        """The curve of each adaptation that did not fail."""
        return [run.curve for run in self.adapted if run.curve]

    @property
    def last(self) -> float:
        """Bits per byte of the target text: after training, the mean of all runs; else before."""
        ends = [curve[-1].bits_per_byte[TARGET] for curve in self.curves]
        return sum(ends) / len(ends) if ends else self.texts[TARGET].bits_per_byte

    def to_json(self) -> dict[str, Any]:
        """Return plain data; each text stands under its name."""
        data = _without_none(asdict(replace(self, yardstick=None, adapted=())))
        texts = data.pop("texts")
        if self.yardstick is not None:
            data["yardstick"] = self.yardstick.to_json()
        if self.adapted:
            data["adapted"] = [run.to_json() for run in self.adapted]
        whole: dict[str, Any] = data | texts
        return whole

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "MethodResult":
        """Return what `to_json` wrote."""
        texts = {name: data[name] for name in (TARGET, ENGLISH) if name in data}
        return TypeAdapter(cls).validate_python({**data, "texts": texts})

    def __str__(self) -> str:
        if self.error is not None:
            return f"failed: {self.error}"
        parts = []
        if TARGET in self.texts:
            parts.append(f"{self.texts[TARGET].bits_per_byte:.3f} bits per byte")
        if self.yardstick is not None and self.yardstick.r2:
            parts.append(f"r2 {self.yardstick.r2.value:.3f}")
        ends = [f"{curve[-1].bits_per_byte[TARGET]:.3f}" for curve in self.curves]
        parts += [f"adapted {', '.join(ends)}"] if ends else []
        parts += [f"seed {run.seed} failed: {run.error}" for run in self.adapted if run.error]
        return "; ".join(parts)


@dataclass(frozen=True)
class Reached:
    """Where a curve first came down to a value, between two points by linear interpolation."""

    tokens: float
    n_bytes: float
    seconds: float


@dataclass(frozen=True)
class Level:
    """A value worth reaching.

    Attributes:
        target_bits_per_byte: the value.
        reached: where the curves of each method came down to it, one per seed; None: nowhere.
    """

    target_bits_per_byte: float
    reached: dict[str, tuple[Reached | None, ...]]


@dataclass(frozen=True, repr=False)
class Comparison:
    """Methods side by side.

    Attributes:
        source: the LLM, as it was named.
        plm: the PLM, likewise.
        auxiliary: the space in which neighbours were sought, in words.
        results: of each method, ``untouched`` first.
        levels: bits per byte worth reaching, if there are adapted models.
        evaluation: of this call, if it was asked for; kept in ``OUT/evaluation``.
    """

    source: str
    plm: str
    auxiliary: str
    results: dict[str, MethodResult]
    levels: tuple[Level, ...] = ()
    evaluation: Evaluation | None = None

    @property
    def curves(self) -> dict[str, list[tuple[Point, ...]]]:
        """The curves of each method that has some, one per seed."""
        return {name: result.curves for name, result in self.results.items() if result.curves}

    @property
    def best(self) -> MethodResult | None:
        """The method with the fewest bits per byte, of those adapted if there are some."""
        made = [one for name, one in self.results.items() if name != UNTOUCHED and not one.error]
        trained = [one for one in made if one.curves]
        return min(trained or made, key=lambda one: one.last, default=None)

    @property
    def failures(self) -> list[str]:
        """What failed, and why, in one line each."""
        found = []
        for name, result in self.results.items():
            found += [f"{name}: {result.error}"] if result.error else []
            found += [
                f"{name}, seed {run.seed}: {run.error}" for run in result.adapted if run.error
            ]
        failed = self.evaluation.failures if self.evaluation else ()
        return found + [f"{failure.task}: {failure.reason}" for failure in failed]

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the number of this layout."""
        data: dict[str, Any] = {
            "schema": COMPARISON_SCHEMA,
            "source": self.source,
            "plm": self.plm,
            "auxiliary": self.auxiliary,
            "results": {name: result.to_json() for name, result in self.results.items()},
        }
        if self.levels:
            data["levels"] = [asdict(level) for level in self.levels]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Comparison":
        """Return what `to_json` wrote; of another layout, this is a KeyError or ValueError."""
        if data["schema"] != COMPARISON_SCHEMA:
            raise ValueError(f"it has layout {data['schema']}, not {COMPARISON_SCHEMA}")
        results = {name: MethodResult.from_json(one) for name, one in data["results"].items()}
        levels = TypeAdapter(tuple[Level, ...]).validate_python(data.get("levels", ()))
        return cls(data["source"], data["plm"], data["auxiliary"], results, levels)

    def save(self, out: Path) -> None:
        """Write ``comparison.json`` into the directory of a comparison."""
        replace_text(out / _FILE, json.dumps(self.to_json(), indent=2) + "\n")

    @classmethod
    def load(cls, out: str | Path) -> "Comparison":
        """Return the comparison that a directory holds.

        Args:
            out: as given to ``saltlm compare --out``, or its ``comparison.json``.

        Raises:
            CheckpointError: there is none, it is damaged, or of another version's layout.
        """
        file = Path(out) / _FILE if Path(out).is_dir() else Path(out)
        try:
            return cls.from_json(parse_json(read_text(file)))
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{file} cannot be read as a comparison: {type(error).__name__}: {reason}",
                "saltlm compare SOURCE PLM --methods salt,focus --heldout FILE --out DIR makes one",
            ) from error

    def __repr__(self) -> str:
        lines = [f"\n  {name}: {result}" for name, result in self.results.items()]
        evaluated = f"\n{self.evaluation!r}" if self.evaluation else ""
        return f"Comparison({self.source} with {self.plm}){''.join(lines)}{evaluated}"


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value not in (None, ())}
