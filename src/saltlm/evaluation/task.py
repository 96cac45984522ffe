"""What ``saltlm evaluate`` can do with a model: one task, one result."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.errors import SaltlmError
from saltlm.evaluation.results import SCHEMA, Failure, Metric, ModelRecord, hash_of
from saltlm.version import __version__

ENGINE = f"saltlm {__version__}"


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    Attributes:
        model: in evaluation mode.
        tokenizer: of it.
        cache: a file for answers on the way, so that a killed run need not ask again; None: none.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    cache: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What a task found out."""

    metrics: dict[str, Metric]
    details: dict[str, Any] = field(default_factory=dict)


class Work(NamedTuple):
    """What a task makes a model do, so that its time can be estimated.

    Attributes:
        texts: that are read.
        passes: how often.
        n_written: tokens that are written, at most.
    """

    texts: Sequence[str] = ()
    passes: int = 1
    n_written: int = 0


@dataclass(frozen=True)
class Task:
    """A measurement that is ready to be made.

    Attributes:
        name: as tables show it.
        version: with another one, numbers do not compare.
        engine: what computes it, with its version.
        settings: all that the numbers depend on beside model and data.
        data: hash of the texts.
        seed: of all that is random, the bootstrap included.
        measure: the measurement.
        work: what it makes a model do; None: not known.
    """

    name: str
    version: str
    engine: str
    settings: dict[str, Any]
    data: str
    seed: int
    measure: Callable[[Subject], Measured]
    work: Work | None = None


def planned(name: str, make: Callable[[], Task]) -> Task | Failure:
    """Return the task, or why there is none: a file that cannot be read does not stop the rest."""
    try:
        return make()
    except SaltlmError as error:
        return Failure(name, error.what, hint=error.hint)


def result_file(out: Path, model: ModelRecord, task: Task, device: str) -> Path:
    """Return where a result is kept: with anything that decides it changed, it is another file."""
    decides = [SCHEMA, model["sha256"], task.name, task.version, task.engine, task.settings]
    key = hash_of([*decides, task.seed, task.data, device])
    folder = f"{_plain(Path(model['name']).name or 'model')}-{model['sha256'][:8]}"
    return out / folder / f"{_plain(task.name)}-{key[:12]}.json"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", name)
