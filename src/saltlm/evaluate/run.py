"""Run tasks on models: ``saltlm evaluate``. What is done already is not done again."""

import gc
import logging
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saltlm.errors import CheckpointError, ConfigError, OutputError
from saltlm.evaluate.config import SuiteConfig
from saltlm.evaluate.quick import quick_tasks
from saltlm.evaluate.results import (
    SCHEMA,
    Evaluation,
    Failure,
    ModelRecord,
    Result,
    model_hash,
    read_result,
    result_file,
    write_result,
)
from saltlm.evaluate.task import Subject, Task, planned
from saltlm.hub import resolve_model
from saltlm.record import environment

logger = logging.getLogger(__name__)


def evaluate(
    models: Sequence[str],
    suite: SuiteConfig,
    out: Path,
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Evaluation:
    """Measure models, a file in ``out`` for each result.

    Args:
        models: Hub ids or directories.
        suite: what to measure.
        out: where results are kept; those that are there already are read.
        device: where models run; by default the first GPU, or else the CPU.
        trust_remote_code: run code that a model brings along.

    Raises:
        ConfigError: the suite is empty.
        CheckpointError: a model is not there.
        OutputError: ``out`` cannot be written.
    """
    plan = list(_plan(suite))
    if not plan:
        raise ConfigError(
            "the suite measures nothing: no file was given",
            "give --heldout, --english or --parallel",
        )
    directories = [resolve_model(model) for model in models]
    records = [
        ModelRecord(name=model, sha256=model_hash(directory))
        for model, directory in zip(models, directories, strict=True)
    ]
    _make(out)
    failures = [item for item in plan if isinstance(item, Failure)]
    for failure in failures:
        logger.warning("%s cannot be measured: %s", failure.task, failure.reason)
    tasks = [item for item in plan if isinstance(item, Task)]
    results = []
    for record, directory in zip(records, directories, strict=True):
        found, failed = _evaluate_one(
            record, directory, tasks, out, suite.seed, device, trust_remote_code
        )
        results.append(found)
        failures += failed
    return Evaluation(tuple(records), tuple(results), tuple(failures))


def _evaluate_one(
    record: ModelRecord,
    directory: Path,
    tasks: Sequence[Task],
    out: Path,
    seed: int,
    device: str | None,
    trust_remote_code: bool,
) -> tuple[tuple[Result, ...], list[Failure]]:
    """Return the results that are there, and make and keep the others; what fails is named."""
    results, failures = [], []
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None
    for task in tasks:
        settings = {**task.settings, "engine": task.engine, "seed": seed}
        file = result_file(out, record, task.name, task.version, settings, task.data)
        if file.is_file():
            logger.info("%s of %s: already there", task.name, record["name"])
            results.append(read_result(file))
            continue
        logger.info("%s of %s", task.name, record["name"])
        try:
            loaded = loaded or load(directory, device, trust_remote_code)
            file.parent.mkdir(parents=True, exist_ok=True)
            subject = Subject(*loaded, cache=file.with_suffix(".answers"))
            result = measure(task, record, subject, seed)
        except Exception as error:  # hours of other tasks are not lost to one
            if os.environ.get("SALTLM_DEBUG"):
                raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            logger.warning("%s of %s failed: %s", task.name, record["name"], reason)
            failures.append(Failure(task.name, reason, record["name"]))
            continue
        write_result(file, result)
        results.append(result)
    del loaded
    gc.collect()
    return tuple(results), failures


def load(
    directory: Path, device: str | None, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a model and its tokenizer.

    Raises:
        CheckpointError: transformers cannot load them.
    """
    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", **options)
    except Exception as error:  # what transformers raises on a broken directory is not listed
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{directory} does not load: {reason}", f"saltlm check {directory}"
        ) from error
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval(), tokenizer


def measure(task: Task, record: ModelRecord, subject: Subject, seed: int) -> Result:
    """Do one task and return its result."""
    began, model = time.perf_counter(), subject.model
    was_training = model.training
    model.train(False)
    try:
        measured = task.measure(subject)
    finally:
        model.train(was_training)
    return Result(
        schema=SCHEMA,
        model=record,
        task=task.name,
        version=task.version,
        engine=task.engine,
        settings=task.settings,
        data=task.data,
        seed=seed,
        metrics=measured.metrics,
        details=measured.details,
        seconds=round(time.perf_counter() - began, 3),
        environment={**environment(), "device": str(model.device), "dtype": str(model.dtype)},
    )


def _plan(suite: SuiteConfig) -> Iterator[Task | Failure]:
    options: dict[str, Any] = {"limit": suite.limit, "seed": suite.seed}
    if suite.questions or suite.harness:
        from saltlm.evaluate.harness import check_installed, harness_tasks
        from saltlm.evaluate.questions import question_task

        check_installed()
    yield from quick_tasks(suite.quick, **options)
    for item in suite.questions:
        name = item.name or str(item.file)
        yield planned(name, partial(question_task, item, batch=suite.batch, **options))
    if suite.harness:
        yield from harness_tasks(suite.harness, batch=suite.batch, **options)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be made: {error.strerror}", "choose another place with --out"
        ) from error
