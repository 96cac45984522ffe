"""EleutherAI's lm-evaluation-harness: its tasks, its metrics, its cache of answers."""

import copy
import importlib.metadata
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from saltlm.errors import MissingExtraError
from saltlm.evaluation.answers import exact_match, f1
from saltlm.evaluation.config import HarnessConfig
from saltlm.evaluation.modern import replacement_of
from saltlm.evaluation.results import Failure, Metric, hash_of, ratio
from saltlm.evaluation.task import Measured, Subject, Task

logger = logging.getLogger(__name__)

_SHOWN = 3  # examples that a result keeps
_BOOTSTRAP = 1000  # for statistics that are not means


def check_installed() -> str:
    """Return the installed harness with its version, as results name it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import accelerate  # noqa: F401
        import lm_eval  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("accelerate", "lm_eval"):
            raise
        raise MissingExtraError("a suite with benchmarks or questions", "eval") from error
    return f"lm-eval {importlib.metadata.version('lm_eval')}"


def harness_tasks(
    wanted: Sequence[HarnessConfig], *, limit: int | None, seed: int, batch: int
) -> Iterator[Task | Failure]:
    """Yield a task for each name that the harness knows and whose data set can be had.

    Args:
        wanted: names of tasks, groups or tags of the harness, or YAML files of tasks.
        limit: of each task, or of each part of a group, so many questions; None: all.
        seed: of few-shot examples and the bootstrap.
        batch: requests at once; does not change results.
    """
    has_names = any(not item.task.endswith(".yaml") for item in wanted)
    manager = _manager(has_names)
    known = set(manager.all_tasks)
    engine = check_installed()
    for item in wanted:
        if not item.task.endswith(".yaml") and item.task not in known:
            yield Failure(item.task, f"{engine} has no such task")
            continue
        if instead := _replacement(manager, item.task):
            yield Failure(item.task, f"its data set is a program, which is not run; {instead}")
            continue
        try:
            with quiet():
                loaded = _load(manager, item.task)
            yield harness_task(item.task, loaded, item.shots, limit=limit, seed=seed, batch=batch)
        except Exception as error:  # no network, no such file, a gated data set, a moved one ...
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            is_import = isinstance(error, ImportError)
            what = "it does not load" if is_import else "its data set cannot be had"
            yield Failure(item.task, f"{what}: {reason}")


def installed_tasks() -> frozenset[str]:
    """Return the names of all tasks, groups and tags of the installed harness.

    Raises:
        MissingExtraError: it is not installed.
    """
    check_installed()
    return frozenset(_manager(True).all_tasks)


@cache
def _manager(has_names: bool) -> Any:
    from lm_eval.tasks import TaskManager

    if has_names:
        logger.info("reading the list of the harness's tasks")
    return TaskManager(include_defaults=has_names)


def _replacement(manager: Any, name: str) -> str | None:
    """Return what to do instead of a task whose data set is known not to load."""
    config = getattr(manager.task_index.get(name), "cfg", None)
    dataset = config.get("dataset_path") if isinstance(config, Mapping) else None
    return replacement_of(dataset, importlib.metadata.version("datasets"))


def _load(manager: Any, name: str) -> Mapping[str, Any]:
    """Return a task with its data set; of XQuAD, answers are compared as those of MLQA are.

    The harness compares them with what transformers no longer has since 5, and that took the
    articles of English out of every language.
    """
    if not name.startswith("xquad_"):
        loaded: Mapping[str, Any] = manager.load([name])
        return loaded
    from lm_eval.api.task import ConfigurableTask

    language = name.removeprefix("xquad_")

    def score(question: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, float]:
        given = outputs[0].strip(), question["answers"]["text"], language
        return {"exact_match": exact_match(*given), "f1": f1(*given)}

    config = copy.deepcopy(manager.task_index[name].cfg)
    config["process_results"] = score
    config["metadata"]["version"] = f"{config['metadata']['version']}, compared as MLQA"
    return {"tasks": {name: ConfigurableTask(config=config)}}


def harness_task(
    name: str,
    loaded: Mapping[str, Any],
    shots: int | None,
    *,
    limit: int | None,
    seed: int,
    batch: int,
) -> Task:
    """Return a task of what the harness has loaded.

    Args:
        name: of the task, group or tag.
        loaded: as ``TaskManager.load`` returns it.
        shots: few-shot examples; None: as the task defines.
        limit: so many questions of each part; None: all.
        seed: of few-shot examples and the bootstrap.
        batch: requests at once.
    """
    parts = loaded["tasks"]
    unscored: list[str] = []
    for part in parts.values():
        _keep_going(part, unscored)
        if part.get_config("num_fewshot") is None or shots is not None:
            part.set_config(key="num_fewshot", value=shots or 0)
        part.set_fewshot_seed(seed=seed)

    def measure(subject: Subject) -> Measured:
        unscored.clear()
        found = _measured(name, _run(loaded, subject, limit, seed, batch), list(parts), seed)
        return replace(found, details={**found.details, "not scored": list(unscored)})

    settings = {
        "shots": sorted({part.get_config("num_fewshot") for part in parts.values()}),
        "definition": hash_of({key: _definition(part) for key, part in parts.items()})[:16],
    }
    versions = sorted({str(part.VERSION) for part in parts.values()})
    docs = {key: list(map(_plain, _first(part.eval_docs, limit))) for key, part in parts.items()}
    return Task(
        name, ", ".join(versions), check_installed(), settings, hash_of(docs), seed, measure
    )


def _keep_going(part: Any, unscored: list[str]) -> None:
    """Let a task score its other items where one fails, and remember why that one did."""
    score = part.process_results

    def scored(doc: Any, outputs: Any) -> Any:
        try:
            return score(doc, outputs)
        except Exception as error:  # whatever a task's own functions raise on odd answers
            if os.environ.get("SALTLM_DEBUG"):
                raise
            unscored.append(f"{type(error).__name__}: {error}".partition("\n")[0])
            return {}

    part.process_results = scored


@contextmanager
def quiet() -> Iterator[None]:
    """Let the harness say nothing but errors, where it warns of what is meant to be so."""
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _run(
    loaded: Mapping[str, Any], subject: Subject, limit: int | None, seed: int, batch: int
) -> Mapping[str, Any]:
    """Let a model do what was loaded; a run that was killed finds the answers that it had."""
    from accelerate.utils import set_seed
    from lm_eval.api.model import CachingLM
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    set_seed(seed)
    tokenizer = copy.deepcopy(subject.tokenizer)  # it may be given a pad token
    with quiet():
        model = HFLM(pretrained=subject.model, tokenizer=tokenizer, batch_size=batch)
    if subject.cache is not None:
        model = CachingLM(model, str(subject.cache))
    found: Mapping[str, Any] = evaluate(
        model, dict(loaded), limit=limit, bootstrap_iters=_BOOTSTRAP, log_samples=True
    )
    if subject.cache is not None:
        model.dbdict.close()
        subject.cache.unlink()
    return found


def _measured(name: str, found: Mapping[str, Any], parts: Sequence[str], seed: int) -> Measured:
    """Return the harness's metrics: of a group as a whole, of a tag part by part."""
    whole = found.get("groups", {}).get(name)
    if whole or len(parts) == 1:
        metrics = dict(_metrics(whole or found["results"][parts[0]], found, parts, seed))
    else:
        metrics = {
            f"{part}: {metric}": value
            for part in parts
            for metric, value in _metrics(found["results"][part], found, [part], seed)
        }
    examples = [
        {"target": _plain(sample["target"]), "answers": _plain(sample["filtered_resps"])}
        for sample in found["samples"][parts[0]][:_SHOWN]
    ]
    return Measured(metrics, {"examples": examples})


def _metrics(
    values: Mapping[str, Any], found: Mapping[str, Any], parts: Sequence[str], seed: int
) -> Iterator[tuple[str, Metric]]:
    """Yield what the harness says of a task or group, with the items where it is their mean."""
    for key, value in values.items():
        metric, comma, rule = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        samples = [sample for part in parts for sample in found["samples"][part]]
        items = [s[metric] for s in samples if s["filter"] == rule and metric in s]
        is_higher = found["higher_is_better"].get(parts[0], {}).get(metric)
        better = None if is_higher is None else "higher" if is_higher else "lower"
        stderr = values.get(f"{metric}_stderr,{rule}")
        shown = metric if rule == "none" else f"{metric} ({rule})"
        yield (
            shown,
            _metric(
                float(value), stderr if isinstance(stderr, float) else None, items, better, seed
            ),
        )


def _metric(
    value: float, stderr: float | None, items: Sequence[Any], better: Any, seed: int
) -> Metric:
    """Return a metric with its items if it is their mean, else with what the harness says."""
    if all(isinstance(item, int | float) for item in items):
        made = ratio([float(item) for item in items], better=better, seed=seed)
        if math.isclose(made["value"], value, rel_tol=1e-6, abs_tol=1e-9):
            return made
    interval = None if stderr is None else [value - 1.96 * stderr, value + 1.96 * stderr]
    return Metric(
        value=value, better=better, n=len(items), stderr=stderr, interval=interval, items=None
    )


def _definition(part: Any) -> dict[str, Any]:
    config: dict[str, Any] = part.dump_config()
    return {key: _plain(value) for key, value in config.items() if key != "metadata"}


def _first(docs: Any, limit: int | None) -> Iterator[Any]:
    return (docs[place] for place in range(min(len(docs), limit or len(docs))))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
