"""The training engine, on accelerate: of `adapt`, and of all that is trained from nothing.

`train` is the run: model, tokenizer and objective are given to it. A run is a list of stages; each
builds its model anew from the checkpoint that the one before it ended with, so that going on after
a stage and going on after a crash are the same thing.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from saltlm.errors import MissingExtraError

try:
    import accelerate
except ModuleNotFoundError as absent:
    if absent.name != "accelerate":
        raise
    raise MissingExtraError("training", "adapt") from absent

from saltlm.adaptation import checkpoints
from saltlm.adaptation.checkpoints import Saved
from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.devices import start_accelerator
from saltlm.adaptation.metrics import flatten, log_metrics, read_metrics, summary
from saltlm.adaptation.objective import Beginning
from saltlm.adaptation.parameters import frozen_hash
from saltlm.adaptation.prepare import Run, build_model, hashes_of, log_plan, read_inputs
from saltlm.adaptation.result import AdaptResult
from saltlm.adaptation.run_folder import (
    RunFolder,
    choose_start,
    identity,
    only_run,
    recorded_options,
)
from saltlm.adaptation.samples import Sample
from saltlm.adaptation.short_runs import keep_recorded
from saltlm.adaptation.stops import check_untouched, memory_errors
from saltlm.adaptation.training import (
    Training,
    measure,
    run_suite,
    set_up,
    train_step,
    write_samples,
)
from saltlm.adaptation.write_model import write_adapted
from saltlm.files.atomic import disk_errors
from saltlm.files.progress import progress
from saltlm.record.manifest import environment

_SPEED_STEPS = 3  # steps until speed is told; the first ones are slower
_SILENCE = 60.0  # seconds at most without a line, where there is no terminal
_BAR = "{desc}: {n_fmt}/{total_fmt}, {remaining} left{postfix}"

logger = logging.getLogger(__name__)


def train(
    begin: Callable[[], Beginning],
    out: Path,
    config: AdaptConfig,
    *,
    resume: str | Path = "auto",
) -> AdaptResult:
    """Train a model and write the result as a model directory; a killed run goes on.

    Args:
        begin: returns what the run begins with; called in one process before the others.
        out: the directory to make; checkpoints and metrics lie in its folder ``saltlm``.
        config: the options.
        resume: ``auto``, ``never``, or the path of a checkpoint; see `choose_start`.

    Raises:
        SaltlmError: the inputs do not fit together, or training cannot go on.
    """
    folder = RunFolder(out.expanduser().resolve())
    accelerator = start_accelerator(config, folder)
    is_main = accelerator.is_main_process
    with accelerator.main_process_first():
        directory, objective = begin()
    with only_run(folder) if is_main else nullcontext(), disk_errors(folder.out):
        if resume != "never":
            config = keep_recorded(config, recorded_options(folder))
        run = read_inputs(directory, folder, config, accelerator, objective)
        inputs = hashes_of(run) if is_main else {}
        chosen = [
            choose_start(folder, identity(run.config, inputs), str(resume)) if is_main else None
        ]
        saved: Saved | None = accelerate.utils.broadcast_object_list(chosen)[0]
        log_plan(run, saved)
        accelerator.init_trackers("saltlm", config=flatten(run.config.model_dump(mode="json")))
        for number, stage in enumerate(run.stages):
            if saved is None or saved.step < stage.last:
                saved = _run_stage(run, number, saved)
        assert saved is not None  # a run has a stage, and a stage ends with a checkpoint
        result = _result(run, saved)
        if is_main:
            _finish(run, saved, inputs, result)
        accelerator.wait_for_everyone()
    accelerator.end_training()
    return result


def is_main_process() -> bool:
    """Whether this process is the one that writes."""
    return bool(accelerate.PartialState().is_main_process)


def _run_stage(run: Run, number: int, saved: Saved | None) -> Saved:
    """Train one stage, from its beginning or from a checkpoint in it, and save its end."""
    config, stage = run.config, run.stages[number]
    with memory_errors(f"the set-up of the stage {stage.kind}", config):
        training = set_up(run, number, saved)
    first = saved.step if saved is not None else 0
    seconds, n_bytes = (saved.seconds, saved.n_bytes) if saved is not None else (0.0, 0.0)
    untouched = frozen_hash(training.tables)
    measured = _before(run, training) if first == 0 else {}
    hidden = not run.accelerator.is_main_process
    length: dict[str, Any] = {"total": run.n_steps, "initial": first, "bar_format": _BAR}
    told_at = time.monotonic()
    with progress(is_hidden=hidden, desc=stage.kind, delay=0, leave=True, **length) as bar:
        for step in range(first, stage.last):
            done = step + 1
            is_measured = done % config.eval_every == 0 or done == run.n_steps
            is_saved = done % config.save_every == 0 or done == stage.last
            with memory_errors(f"step {done}", config):
                row = train_step(run, training, stage, step)
                if is_measured:
                    row |= measure(run, training.inside)
                if done == run.n_steps:
                    row |= write_samples(run, training.inside)
                if is_saved:
                    row |= run_suite(run, training.inside, done)
            row["seconds"] = seconds = seconds + row["seconds"]
            row["bytes"] = n_bytes = n_bytes + row["bytes"]
            _log(run, row)
            measured = row.get("bits_per_byte", measured)
            shown = summary(row | {"bits_per_byte": measured}, _room(stage.kind, run.n_steps))
            bar.set_postfix_str(shown, refresh=False)
            bar.update()
            is_due = is_measured or time.monotonic() - told_at >= _SILENCE
            if is_due and bar.disable and not hidden:  # there is no terminal
                told_at = time.monotonic()
                left = timedelta(seconds=round(seconds / done * (run.n_steps - done)))
                told = (done, run.n_steps, left, summary(row))
                logger.info("step %d of %d, %s left: %s", *told)
            if done == min(first + _SPEED_STEPS, stage.last) and not hidden:
                _tell_speed(run, row, done)
            if is_saved:
                check_untouched(untouched, frozen_hash(training.tables), done)
                saved = _save(run, training, number, row)
    run.accelerator.free_memory()
    assert saved is not None  # a stage has a step, and its last one is saved
    return saved


def _before(run: Run, training: Training) -> dict[str, float]:
    """Measure the model before the first step, and return bits per byte of each held-out text."""
    if run.heldout and run.accelerator.is_main_process:
        logger.info("measuring the held-out text before the first step")
    row: dict[str, Any] = {"step": 0, "tokens": 0, "bytes": 0.0, "seconds": 0.0}
    row |= measure(run, training.inside) | write_samples(run, training.inside)
    _log(run, row)
    found: dict[str, float] = row.get("bits_per_byte", {})
    return found


def _room(stage: str, n_steps: int) -> int:
    """Return how many characters of a terminal's line are left for numbers."""
    others = len(f"{stage}: {n_steps}/{n_steps}, 00:00:00 left, ")
    return shutil.get_terminal_size().columns - others


def _tell_speed(run: Run, row: dict[str, Any], done: int) -> None:
    """Say how fast it goes and when it ends, measurements and checkpoints not counted."""
    speed = row["tokens_per_second"]
    left = timedelta(seconds=round((run.n_steps - done) * run.config.batch_tokens / speed))
    end = datetime.now() + left
    logger.info(
        "%s tokens a second: %s left, until about %s", f"{speed:,.0f}", left, f"{end:%H:%M}"
    )


def _save(run: Run, training: Training, number: int, row: dict[str, Any]) -> Saved:
    is_main = run.accelerator.is_main_process
    weights = checkpoints.weights_of(training.model, is_kept=is_main)
    optimizer = checkpoints.optimizer_tensors(training.model, training.optimizer, is_kept=is_main)
    state = {
        "step": row["step"],
        "stage": number,
        "kind": run.stages[number].kind,
        "sequences": row["step"] * run.config.batch_sequences,
        "n_bytes": row["bytes"],
        "seconds": row["seconds"],
    }
    folder = run.folder.checkpoints
    if is_main:
        checkpoints.save(folder, weights, optimizer, state, keep=run.config.keep)
    run.accelerator.wait_for_everyone()
    return checkpoints.read_saved(checkpoints.find(folder)[-1])


def _finish(run: Run, saved: Saved, inputs: dict[str, Any], result: AdaptResult) -> None:
    """Write the model directory from the last checkpoint."""
    config = run.config
    checkpoints.prune(run.folder.checkpoints, config.keep)  # unless killed, it is done already
    model = build_model(run, len(run.stages), saved)
    write_adapted(
        model.to(model.config.dtype),
        run.directory,
        run.folder,
        {
            "options": config.model_dump(mode="json"),
            "inputs": inputs,
            "stages": [asdict(stage) for stage in run.stages],
            "steps": result.n_steps,
            "tokens": result.n_tokens,
            "seconds": round(result.seconds, 3),
            "bits_per_byte": result.bits_per_byte,
            "before": result.before,
            "samples": [sample._asdict() for sample in result.samples],
            "processes": run.accelerator.num_processes,
            "environment": environment(),
        },
        loader=run.objective.loader(model.config),
        trust_remote_code=config.trust_remote_code,
    )
    logger.info("%s: trained on %s tokens", run.folder.out, f"{result.n_tokens:,}")


def _result(run: Run, saved: Saved) -> AdaptResult:
    rows = read_metrics(run.folder.metrics)
    measured = [row for row in rows if "bits_per_byte" in row]
    return AdaptResult(
        directory=run.folder.out,
        n_steps=saved.step,
        n_tokens=saved.step * run.config.batch_tokens,
        seconds=saved.seconds,
        bits_per_byte=measured[-1]["bits_per_byte"] if measured else {},
        before=measured[0]["bits_per_byte"] if measured and not measured[0]["step"] else {},
        context=run.context,
        documents=run.config.eval_documents,
        samples=_samples(rows),
    )


def _samples(rows: Sequence[Mapping[str, Any]]) -> tuple[Sample, ...]:
    """Return what was written before the first step and after the last, if both are there."""
    first, last = (row.get("samples", {}) for row in (rows[0], rows[-1])) if rows else ({}, {})
    return tuple(Sample(text, first[text], last[text]) for text in first if text in last)


def _log(run: Run, row: dict[str, Any]) -> None:
    if run.accelerator.is_main_process:
        log_metrics(run.folder.metrics, row)
    numbers = {key: value for key, value in row.items() if key != "samples"}
    run.accelerator.log(flatten(numbers), step=row["step"])
