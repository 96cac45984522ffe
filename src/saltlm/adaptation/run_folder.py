"""``DIR/saltlm``: what a run keeps while it goes on, and whether it may go on there.

run.json         options and inputs that decide the result
metrics.jsonl    a line for each step
evaluation/      results of the suite, a file for each checkpoint
checkpoints/     see `saltlm.adaptation.checkpoints`
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltlm.adaptation import checkpoints
from saltlm.adaptation.checkpoints import Saved
from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.metrics import flatten, keep_metrics, read_metrics
from saltlm.adaptation.ngram_teacher import NGRAMS
from saltlm.errors import OutputError, TrainingError, setting
from saltlm.files.atomic import replace_text
from saltlm.files.damage import reading
from saltlm.files.json_object import parse_json, read_text
from saltlm.files.leftovers import LOCK, remove_dead_of
from saltlm.files.locks import take
from saltlm.record.manifest import FOLDER

# What may change from one start of a run to the next without changing what was done so far.
_FREE = (
    "preset",
    "tokens",
    "steps",
    "epochs",
    "save_every",
    "eval_every",
    "samples",
    "eval_documents",
    "heldout",
    "suite",
    "keep",
    "cache",
    "trackers",
    "micro_batch",
    "loss_chunk",
    "checkpointing",
    "attention",
    "teacher",  # where it lies; what it is is among the inputs
)

_ADDED = "inputs.heldout."  # measured from then on; one that changed would stand beside itself


@dataclass(frozen=True)
class RunFolder:
    """Where a run writes.

    Attributes:
        out: the model directory that the run ends with.
    """

    out: Path

    @property
    def path(self) -> Path:
        """The folder in ``out`` that is not the model."""
        return self.out / FOLDER

    @property
    def checkpoints(self) -> Path:
        """The folder of all checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One line of JSON for each step."""
        return self.path / "metrics.jsonl"

    def evaluation(self, step: int) -> Path:
        """Results of the suite at a step."""
        return self.path / "evaluation" / f"step-{step:08}.json"

    @property
    def record(self) -> Path:
        """Options and inputs of the run."""
        return self.path / "run.json"


def identity(config: AdaptConfig, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same for a run to be continued."""
    options = config.model_dump(mode="json")
    fixed = {key: value for key, value in options.items() if key not in _FREE}
    if config.teacher is None:
        del fixed["teacher_share"]  # as in a run from before there were teachers
    return {"options": fixed, "inputs": dict(inputs)}


@contextmanager
def only_run(folder: RunFolder) -> Iterator[None]:
    """Make the folder and hold it for one run at a time.

    Raises:
        OutputError: ``out`` is something else, cannot be written, or is in use.
    """
    out = folder.out
    is_run = folder.record.exists() or not out.exists()
    if not is_run and (not out.is_dir() or {path.name for path in out.iterdir()} - {FOLDER}):
        raise OutputError(
            f"{out} exists and is not a run of saltlm", "choose another place with --out"
        )
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = take(folder.path / LOCK)
    except BlockingIOError:
        raise OutputError(
            f"{out} is being written by another run", "wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise OutputError(
            f"cannot write {out}: {error.strerror}", "choose another --out"
        ) from error
    try:
        remove_dead_of(out)
        yield
    finally:
        os.close(lock)


def choose_start(folder: RunFolder, run: Mapping[str, Any], resume: str) -> Saved | None:
    """Return the checkpoint to go on from, and bring the folder back to its step.

    Args:
        folder: of the run.
        run: its `identity`.
        resume: ``auto`` for the last checkpoint if there is one; ``never`` to discard what is
            there; else the path of a checkpoint, of this run or of one with other settings.

    Raises:
        TrainingError: ``auto``, and the folder holds a run with other settings or other inputs;
            or there is no checkpoint at the path.
    """
    checkpoints.remove_leftovers(folder.checkpoints)
    if resume == "never":
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        folder.metrics.unlink(missing_ok=True)
        saved = None
    elif resume == "auto":
        _check_same(folder, run)
        kept = checkpoints.find(folder.checkpoints)
        saved = checkpoints.read_saved(kept[-1]) if kept else None
    else:
        saved = checkpoints.read_saved(Path(resume))
        for path in checkpoints.find(folder.checkpoints):
            if checkpoints.read_saved(path).step > saved.step:
                checkpoints.discard(path)
    step = saved.step if saved else -1
    keep_metrics(folder.metrics, up_to=step)
    for file in folder.path.glob("evaluation/step-*.json"):
        if int(file.stem.removeprefix("step-")) > step:
            file.unlink()
    replace_text(folder.record, json.dumps(run, indent=2, ensure_ascii=False) + "\n")
    return saved


def recorded_options(folder: RunFolder) -> dict[str, Any]:
    """Return the options of the run that a folder holds; nothing if it holds none.

    Those that may change are not among them, but for the number of documents that it was measured
    on, and that n-grams teach, or nothing does.
    """
    if not folder.record.exists():
        return {}
    options, inputs = _recorded(folder).values()
    teacher = str(inputs.get("teacher", "none"))
    if teacher == "none" or teacher.startswith(NGRAMS):  # else it lies where the user says
        options["teacher"] = None if teacher == "none" else NGRAMS
    measured = [row["documents"] for row in read_metrics(folder.metrics) if "documents" in row]
    return options | ({"eval_documents": measured[0]} if measured else {})


def _recorded(folder: RunFolder) -> dict[str, dict[str, Any]]:
    with reading(
        folder.record, TrainingError, "choose another --out, or begin anew with --resume never"
    ):
        found = parse_json(read_text(folder.record))
        return {"options": dict(found["options"]), "inputs": dict(found["inputs"])}


def _check_same(folder: RunFolder, run: Mapping[str, Any]) -> None:
    if not folder.record.exists():
        return
    old, new = (flatten(values, ".") for values in (_recorded(folder), run))
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    changed = [key for key in keys if not key.startswith(_ADDED) or (key in old and key in new)]
    if changed:
        differences = ", ".join(
            f"{key.removeprefix('options.')} was {setting(old.get(key))},"
            f" is {setting(new.get(key))}"
            for key in changed
        )
        raise TrainingError(
            f"{folder.out} holds a run with other settings: {differences}",
            "give the same again, choose another --out, or begin anew with --resume never",
        )
