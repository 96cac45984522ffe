"""Run tasks on models: ``saltlm evaluate``. What is done already is not done again."""

import gc
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saltlm.errors import CheckpointError, ConfigError, OutputError, SaltlmError, quoted
from saltlm.evaluation.config import HarnessConfig, SuiteConfig, suite_named, with_options
from saltlm.evaluation.device import chosen_device
from saltlm.evaluation.estimate import memory_of_models, seconds_of_tasks
from saltlm.evaluation.modern import modern_tasks
from saltlm.evaluation.quick import LIMIT, quick_tasks
from saltlm.evaluation.results import (
    SCHEMA,
    Evaluation,
    Failure,
    ModelRecord,
    Result,
    model_hash,
    read_result,
    write_result,
)
from saltlm.evaluation.side_by_side import own_directories, write_cards, write_summary
from saltlm.evaluation.speed import SPEED, speed_task
from saltlm.evaluation.task import Subject, Task, planned, result_file
from saltlm.files.documents import first
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.cost import about, count_weights, loaded_as, seconds_a_product
from saltlm.models.hub import resolve_model
from saltlm.models.skeleton import loader_of
from saltlm.record.manifest import environment, free_memory_bytes
from saltlm.tokenizer.load import check_loadable

_SLOW = ("generation", "ranking", "chat", "code")  # names begin so

logger = logging.getLogger(__name__)


def evaluate(
    models: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    suite: str | Path | SuiteConfig = "quick",
    lang: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    card: bool = False,
    **options: Any,
) -> Evaluation:
    """Measure models, a file in ``out`` for each result, and a table over all of them.

    What cannot be measured is among the failures of the result, and stops nothing else.

    Args:
        models: Hub ids or directories, one or several.
        out: where results are kept; those that are there already are read.
        suite: what to measure: ``quick``, ``paper``, ``modern``, a YAML file, or its contents.
        lang: the language of ``paper`` and ``modern``, and of the instructions of ``chat``.
        device: where models run; by default the first GPU, or else the CPU.
        trust_remote_code: run code that a model brings along.
        card: put the table into the cards of those models that saltlm has made.
        **options: ``heldout``, ``english``, ``parallel``, ``limit``, ``seed`` and other fields of
            `QuickConfig` and `SuiteConfig`, which win over those of the suite.

    Raises:
        ConfigError: the suite does not exist or is empty, or no model has a card of saltlm's.
        MissingExtraError: the suite needs the harness, which is not installed.
        CheckpointError: a model is not there.
        OutputError: ``out`` cannot be written.
    """
    named = modern_suite(lang) if suite == "modern" else suite_named(suite, lang)
    chosen = with_options(named, **{"language": lang, **options})
    several = [models] if isinstance(models, str | Path) else models
    names, out = [str(name) for name in several], Path(out)
    cards = own_directories(names) if card else []
    found = _measure_each(names, chosen, out, device, trust_remote_code)
    write_summary(found, out)
    write_cards(found, cards)
    return found


def modern_suite(language: str | None) -> SuiteConfig:
    """Return the suite ``modern`` of a language, with what the installed harness has of it.

    Raises:
        ConfigError: no language is given, or no task knows it.
        MissingExtraError: the harness is not installed.
    """
    from saltlm.evaluation.harness import installed_tasks

    tasks = modern_tasks(language, installed_tasks())
    return SuiteConfig(
        harness=tuple(HarnessConfig(task=name) for names in tasks.values() for name in names)
    )


def _measure_each(
    models: Sequence[str],
    suite: SuiteConfig,
    out: Path,
    device: str | None,
    trust_remote_code: bool,
) -> Evaluation:
    device = chosen_device(device)
    further = [SPEED] if len(models) > 1 else []
    plan = _chosen(plan_tasks(suite), suite.tasks, further)
    directories = [resolve_model(model) for model in models]
    _make(out)
    records = [
        ModelRecord(name=model, sha256=model_hash(directory))
        for model, directory in zip(models, directories, strict=True)
    ]
    failures = [item for item in plan if isinstance(item, Failure)]
    for failure in failures:
        logger.warning("%s cannot be measured: %s", failure.task, failure.reason)
    tasks = [item for item in plan if isinstance(item, Task)]
    results = []
    load = partial(_load_first, directories[0], device, trust_remote_code)
    with_speed = [*tasks, *_speed_tasks(suite, records[0], load)] if further else tasks
    owns = [tasks, *[with_speed] * (len(models) - 1)]
    missing = [
        [task for task in own if not result_file(out, record, task, device).is_file()]
        for record, own in zip(records, owns, strict=True)
    ]
    _tell_cost(directories, missing, device)
    for record, directory, own in zip(records, directories, owns, strict=True):
        done = _evaluate_one(record, directory, own, out, device, trust_remote_code)
        results.append(tuple(item for item in done if not isinstance(item, Failure)))
        failures += [item for item in done if isinstance(item, Failure)]
    return Evaluation(tuple(records), tuple(results), tuple(failures))


def _tell_cost(directories: Sequence[Path], tasks: Sequence[Sequence[Task]], device: str) -> None:
    """Say how long it will take and how much memory, before the first model is loaded."""
    there = [(place, own) for place, own in zip(directories, tasks, strict=True) if own]
    if not there:
        return
    is_two = any(task.name == SPEED for own in tasks for task in own)
    try:
        seconds = 0.0
        for place, own in there:
            checkpoint = open_checkpoint(place)
            per_product = seconds_a_product(device, loaded_as(place, checkpoint))
            seconds += seconds_of_tasks(place, count_weights(checkpoint), own, per_product)
        places = directories if is_two else [place for place, _ in there]
        memory = memory_of_models(places, is_two=is_two)
    except SaltlmError:  # it is told when the model is loaded
        return
    n_tasks = sum(len(own) for own in tasks)
    is_known = all(task.work is not None for own in tasks for task in own)
    rest = "" if is_known else "; how long the harness takes is not known"
    logger.info(
        "%d task%s: %s and %.1f GiB of memory%s",
        *(n_tasks, "" if n_tasks == 1 else "s", about(seconds), memory / 2**30, rest),
    )
    free = free_memory_bytes()
    if device == "cpu" and free is not None and memory > free:
        logger.warning("only %.1f GiB of memory are free", free / 2**30)


def _chosen(
    plan: list[Task | Failure], names: Sequence[str], further: Sequence[str]
) -> list[Task | Failure]:
    """Return the tasks that are wanted, the slow ones last.

    Args:
        plan: the tasks.
        names: beginnings of those that are wanted; none stands for all.
        further: names of tasks that are planned later.

    Raises:
        ConfigError: a name is that of none.
    """

    def name_of(item: Task | Failure) -> str:
        return item.name if isinstance(item, Task) else item.task

    there = [*map(name_of, plan), *further]
    for name in names:
        if not any(one.startswith(name) for one in there):
            raise ConfigError(f"there is no task {name!r} here", f"there are: {', '.join(there)}")
    wanted = [item for item in plan if not names or name_of(item).startswith(tuple(names))]
    return sorted(wanted, key=lambda item: name_of(item).startswith(_SLOW))


def _evaluate_one(
    record: ModelRecord,
    directory: Path,
    tasks: Sequence[Task],
    out: Path,
    device: str,
    trust_remote_code: bool,
) -> list[Result | Failure]:
    """Return the results that are there; make and keep the others, and name what fails."""
    done: list[Result | Failure] = []
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | CheckpointError | None = None
    for number, task in enumerate(tasks, 1):
        file = result_file(out, record, task, device)
        if file.is_file():
            logger.info("%s of %s: already there", task.name, record["name"])
            done.append(read_result(file))
            continue
        if loaded is None:
            loaded = _try_to_load(directory, device, trust_remote_code)
        if isinstance(loaded, CheckpointError):
            done.append(Failure(task.name, loaded.what, record["name"], loaded.hint))
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        logger.info("task %d of %d: %s of %s", number, len(tasks), task.name, record["name"])
        result = attempt(task, record, Subject(*loaded, cache=file.with_suffix(".answers")))
        if not isinstance(result, Failure):
            write_result(file, result)
        done.append(result)
    del loaded
    gc.collect()
    return done


def _speed_tasks(suite: SuiteConfig, first_model: ModelRecord, load: Any) -> Iterator[Task]:
    """Yield the task that needs two models at once, if it is wanted and there is text for it."""
    if suite.tasks and not SPEED.startswith(suite.tasks):
        return
    try:
        texts = first(suite.quick.heldout, suite.limit or LIMIT) if suite.quick.heldout else []
    except SaltlmError:  # it is told already, as a failure of the target text
        return
    if texts:
        yield speed_task(first_model, load, texts, suite.quick.prompts, suite.seed)


def _load_first(directory: Path, device: str, trust_remote_code: bool) -> Subject:
    """Load the model that others are measured beside.

    Raises:
        CheckpointError: transformers cannot load it.
    """
    loaded = _try_to_load(directory, device, trust_remote_code)
    if isinstance(loaded, CheckpointError):
        raise loaded
    return Subject(*loaded)


def load_subject(
    name: str, device: str | None = None, *, trust_remote_code: bool = False
) -> Subject:
    """Return a model in evaluation mode, with its tokenizer.

    Args:
        name: Hub id or directory.
        device: where it runs; by default the first GPU, or else the CPU.
        trust_remote_code: run code that the model brings along.

    Raises:
        CheckpointError: it is not there, or does not load.
        ConfigError: there is no such device.
    """
    device = chosen_device(device)
    return _load_first(resolve_model(name), device, trust_remote_code)


def _try_to_load(
    directory: Path, device: str, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase] | CheckpointError:
    """Return a model and its tokenizer, or why transformers cannot load them."""
    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        check_loadable(directory)
        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
        config = read_config(directory, trust_remote_code=trust_remote_code)
        model = loader_of(config).from_pretrained(directory, dtype="auto", **options)
    except Exception as error:  # what transformers raises on a broken directory is not listed
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        logger.warning("%s does not load: %s", directory, reason)
        return CheckpointError(
            f"{directory} does not load: {reason}", f"saltlm check {quoted(directory)}"
        )
    return model.to(device).eval(), tokenizer


def attempt(task: Task, record: ModelRecord, subject: Subject) -> Result | Failure:
    """Return the result of a task, or why there is none: hours of others are not lost to one."""
    try:
        return _measure(task, record, subject)
    except Exception as error:
        if os.environ.get("SALTLM_DEBUG"):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        logger.warning("%s of %s failed: %s", task.name, record["name"], reason)
        hint = error.hint if isinstance(error, SaltlmError) else ""
        return Failure(task.name, reason, record["name"], hint)


def _measure(task: Task, record: ModelRecord, subject: Subject) -> Result:
    began, model = time.perf_counter(), subject.model
    was_training = model.training
    model.train(False)
    try:
        measured = task.measure(subject)
    finally:
        model.train(was_training)
    for name, metric in measured.metrics.items():
        if math.isnan(metric["value"]):
            raise CheckpointError(
                f"{name} is not a number", f"saltlm check {quoted(record['name'])}"
            )
    return Result(
        schema=SCHEMA,
        model=record,
        task=task.name,
        version=task.version,
        engine=task.engine,
        settings=task.settings,
        data=task.data,
        seed=task.seed,
        metrics=measured.metrics,
        details=measured.details,
        seconds=round(time.perf_counter() - began, 3),
        environment={**environment(), "device": str(model.device), "dtype": str(model.dtype)},
    )


def plan_tasks(suite: SuiteConfig) -> list[Task | Failure]:
    """Return what a suite measures, and what of it cannot be measured.

    Raises:
        ConfigError: there is nothing in it, or two tasks have the same name.
        MissingExtraError: it needs the harness, which is not installed.
    """
    plan = list(_plan(suite))
    if not plan:
        raise ConfigError(
            "the suite measures nothing: no file was given",
            "give --heldout, --english or --parallel",
        )
    names = [item.name for item in plan if isinstance(item, Task)]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ConfigError(
            f"the suite has more than one {', '.join(repeated)}",
            "give questions a name of their own; measure a benchmark twice in two suites",
        )
    return plan


def _plan(suite: SuiteConfig) -> Iterator[Task | Failure]:
    options: dict[str, Any] = {"limit": suite.limit, "seed": suite.seed}
    if suite.questions or suite.harness:
        from saltlm.evaluation.harness import check_installed, harness_tasks
        from saltlm.evaluation.questions import question_task

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
