"""What a run needs before its first step: devices, text, stages, and the model of a stage."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.adaptation.checkpoints import Saved, load_weights
from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.held_out import Measuring, plan_measuring, reading_costs
from saltlm.adaptation.mixture import Mixture, check_texts, mix
from saltlm.adaptation.model import (
    check_lengths,
    check_methods,
    load_model,
    read_fitting_tokenizer,
    read_skeleton,
)
from saltlm.adaptation.ngram_teacher import NGRAMS, NgramTeacher, ngram_teacher
from saltlm.adaptation.objective import Objective
from saltlm.adaptation.packed_cache import has_parts, pack_text, tokenizer_hash
from saltlm.adaptation.packing import Frame, PackedText
from saltlm.adaptation.parameters import (
    add_adapters,
    choose_weights,
    new_rows,
    rows_are_fitted,
    tokens_want_ngrams,
)
from saltlm.adaptation.run_folder import RunFolder
from saltlm.adaptation.schedule import Stage, check_stages, plan_stages
from saltlm.adaptation.short_runs import Settled, settle, step_size
from saltlm.adaptation.teacher import Teacher, read_teacher
from saltlm.errors import DataError
from saltlm.evaluation.config import suite_named
from saltlm.evaluation.evaluate import plan_tasks
from saltlm.evaluation.results import Failure, model_hash
from saltlm.evaluation.task import Task
from saltlm.files.documents import first
from saltlm.files.hashes import sha256
from saltlm.files.source import fingerprint
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.cost import (
    about,
    count_weights,
    reading_seconds,
    seconds_a_trained_product,
    training_seconds,
)
from saltlm.models.logits import output_head
from saltlm.models.skeleton import positions_of
from saltlm.record.manifest import FOLDER

_CONTEXT = 512  # tokens

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """All that stays the same during a run.

    Attributes:
        config: its options, none left open.
        reason: which of them were chosen for its length, and why, in words.
        folder: where it writes.
        directory: the model it begins with.
        accelerator: its devices.
        objective: what the model learns to predict.
        tokenizer: of the model.
        is_new: which rows a transfer made.
        teacher: whose predictions are learnt as well; None: only the text.
        mixture: the text and its order.
        heldout: documents to measure bits per byte on, by name.
        measuring: how often, and what it takes; None without such documents.
        context: tokens that they are read with.
        suite: what else is measured before every checkpoint.
        stages: what learns when.
        n_steps: its length.
    """

    config: AdaptConfig
    reason: str
    folder: RunFolder
    directory: Path
    accelerator: Accelerator
    objective: Objective
    tokenizer: PreTrainedTokenizerBase
    is_new: Bool[Tensor, " v"]
    teacher: Teacher | NgramTeacher | None
    mixture: Mixture
    heldout: dict[str, list[str]]
    measuring: Measuring | None
    context: int
    suite: tuple[Task, ...]
    stages: tuple[Stage, ...]
    n_steps: int


def read_inputs(
    directory: Path,
    folder: RunFolder,
    config: AdaptConfig,
    accelerator: Accelerator,
    objective: Objective,
) -> Run:
    """Read the text and plan the run.

    Raises:
        SaltlmError: the model, the text and the options do not fit together.
    """
    skeleton = read_skeleton(directory, config, objective)
    tokenizer = read_fitting_tokenizer(directory, skeleton, config)
    check_methods(skeleton, config)
    is_new = new_rows(directory, skeleton.get_input_embeddings().weight.shape[0])
    fit = partial(_settle, config, directory, skeleton, is_new, accelerator)
    settled = fit(n_tokens) if (n_tokens := _wanted_tokens(config)) is not None else None
    check_stages(config.stages, has_new_rows=bool(is_new.any()))
    heldout = dict(_heldout(config))
    suite = tuple(_suite(config))
    frame = objective.frame(skeleton, tokenizer)
    teacher: Teacher | NgramTeacher | None = None
    if config.teacher not in (None, NGRAMS):
        teacher = read_teacher(directory, tokenizer, frame, config, objective)
    packed = _pack(config, tokenizer, frame, accelerator)
    if settled is None:  # passes over the text, whose length is known only now
        settled = fit(round((config.epochs or 1) * sum(len(text.tokens) for text in packed)))
    config = settled.config
    check_texts(packed, config)
    n_steps = _count_steps(packed, config)
    mixture = mix(
        packed,
        config.texts,
        n_sequences=n_steps * config.batch_sequences,
        length=config.sequence_length,
        seed=config.seed,
    )
    if config.teacher == NGRAMS:
        parts = np.multiply(mixture.shares, are_taught(packed, config)).tolist()
        n_ids = len(output_head(skeleton).weight)  # Molmo 2 has more input rows
        teacher = ngram_teacher(packed, parts, frame, n_ids, config.teacher_share)
    measuring, context = None, reading_context(config, positions_of(skeleton))
    if heldout:
        has_new_rows = bool(is_new.any())
        costs = reading_costs(objective, tokenizer, heldout, context, has_new_rows=has_new_rows)
        measuring = plan_measuring(config, costs, n_steps, has_source=has_new_rows)
        heldout = {name: texts[: measuring.documents] for name, texts in heldout.items()}
        config = config.model_copy(
            update={"eval_every": measuring.every, "eval_documents": measuring.documents}
        )
    return Run(
        config=config,
        reason=settled.reason,
        folder=folder,
        directory=directory,
        accelerator=accelerator,
        objective=objective,
        tokenizer=tokenizer,
        is_new=is_new,
        teacher=teacher,
        mixture=mixture,
        heldout=heldout,
        measuring=measuring,
        context=context,
        suite=suite,
        stages=plan_stages(config.stages, n_steps),
        n_steps=n_steps,
    )


def reading_context(config: AdaptConfig, n_positions: int | None) -> int:
    """Return how many tokens held-out text is read with: 512 also where sequences are shorter.

    Else a model with longer tokens would be measured with more text before each of them.
    """
    return max(config.sequence_length, min(_CONTEXT, n_positions or _CONTEXT))


def hashes_of(run: Run) -> dict[str, Any]:
    """Return what identifies the inputs of a run."""
    record = run.directory / FOLDER / "provenance.safetensors"
    return {
        "model": model_hash(run.directory),
        "new rows": sha256(record) if record.is_file() else None,
        "tokenizer": tokenizer_hash(run.tokenizer),
        "text": {text.name: text.fingerprint for text in run.mixture.packed},
        "heldout": {name: fingerprint(file) for name, file in run.config.heldout.items()},
        **({} if run.teacher is None else {"teacher": run.teacher.identity}),
    }


def build_model(run: Run, number: int, saved: Saved | None) -> PreTrainedModel:
    """Return the model in float32 as a stage begins or goes on with it.

    Args:
        run: the run.
        number: of the stage; the number of stages for the end of the run.
        saved: the checkpoint to go on from; None for the model as it was given.

    Raises:
        TrainingError: the checkpoint is damaged, or of another model.
    """
    model = load_model(run.directory, run.config, run.objective).float()
    is_inside = saved is not None and goes_on_in(run, number, saved)
    if saved is not None and not is_inside:
        tuner = add_adapters(model, run.config) if saved.kind == "lora" else None
        load_weights(saved, model)
        model = tuner.merge_and_unload() if tuner else model
    if number < len(run.stages):
        choose_weights(model, run.stages[number].kind, run.config)
    if saved is not None and is_inside:
        load_weights(saved, model)
    return model


def goes_on_in(run: Run, number: int, saved: Saved) -> bool:
    """Whether a stage is the one that a checkpoint was saved in, or a later one."""
    if number == len(run.stages) or saved.stage != number:
        return False
    return saved.kind == run.stages[number].kind


def log_plan(run: Run, saved: Saved | None) -> None:
    """Say what is about to happen."""
    if not run.accelerator.is_main_process:
        return
    stages = ", ".join(f"{stage.kind} to step {stage.last}" for stage in run.stages)
    left = "" if saved is None else f"{run.n_steps - saved.step} of "
    logger.info(
        "%s%d steps of %d tokens, %s: %s, measurements not counted",
        *(left, run.n_steps, run.config.batch_tokens, stages),
        about(_expected_seconds(run, saved)),
    )
    if run.reason:
        logger.info("%s (docs/adapt.md)", run.reason)
    if run.teacher is not None:
        logger.info("%s", run.teacher)
    elif tokens_want_ngrams(run.directory):
        logger.warning(
            "the new tokens are so many that n-grams of the text must teach them; without a teacher"
            " a short run ends behind one of few tokens: --teacher ngrams"
        )
    if run.measuring is not None:
        logger.info("%s", run.measuring)
    wanted, length = _wanted_tokens(run.config), run.config.sequence_length
    if wanted is not None and wanted < run.config.batch_tokens:
        step = max(1, step_size(wanted, is_taught=run.teacher is not None) // length) * length
        logger.warning(
            "a step of %s tokens is more than the run of %s: it is one step; try --set"
            " batch_tokens=%d",
            f"{run.config.batch_tokens:,}",
            f"{wanted:,}",
            step,
        )
    for text, share in zip(run.mixture.packed, run.mixture.shares, strict=True):
        logger.info("%.1f %% from %s (%s tokens)", 100 * share, text.name, f"{len(text.tokens):,}")
    if saved is not None:
        logger.info("going on after step %d from %s", saved.step, saved.path)


def _expected_seconds(run: Run, saved: Saved | None) -> float:
    """Return how long the steps that are left are expected to take."""
    left = run.n_steps - (saved.step if saved is not None else 0)
    n_weights = count_weights(open_checkpoint(run.directory))
    per_product = seconds_a_trained_product(run.config.dtype, run.accelerator.device.type)
    n_tokens = left * run.config.batch_tokens / run.accelerator.num_processes
    seconds = training_seconds(n_tokens, n_weights, per_product)
    if isinstance(run.teacher, Teacher):
        n_read = sum(weight.numel() for weight in run.teacher.model.parameters())
        n_batches = n_tokens / run.config.sequence_length / run.config.micro_batch
        settings = run.teacher.model.config.get_text_config()
        n_layers = int(getattr(settings, "num_hidden_layers", 1))
        seconds += reading_seconds(n_tokens, n_batches, n_read, n_layers, per_product)
    return seconds


def _pack(
    config: AdaptConfig, tokenizer: PreTrainedTokenizerBase, frame: Frame, accelerator: Accelerator
) -> list[PackedText]:
    """Return the sources as tokens; all are looked at before the first is packed."""
    fingerprints = [fingerprint(name) for name in config.texts]
    wanted = _wanted_tokens(config)
    packed = {}
    for shared in (True, False):  # files that the processes share; then what one alone can pack
        with nullcontext() if shared else accelerator.main_process_first():
            for name, text in zip(config.texts, fingerprints, strict=True):
                if has_parts(name) == shared:
                    packed[name] = pack_text(
                        name, text, tokenizer, frame, cache=config.cache, max_tokens=wanted
                    )
    return [packed[name] for name in config.texts]


def are_taught(packed: Sequence[PackedText], config: AdaptConfig) -> list[bool]:
    """Return which texts a teacher teaches: all but English ones."""
    english = {str(file) for file in config.english}
    return [text.name not in english for text in packed]


def _wanted_tokens(config: AdaptConfig) -> int | None:
    """Return the length of a run in tokens; None if it is given in passes over the text."""
    if config.steps is not None:
        return config.steps * config.batch_tokens
    return config.tokens


def _settle(
    config: AdaptConfig,
    directory: Path,
    skeleton: PreTrainedModel,
    is_new: Bool[Tensor, " v"],
    accelerator: Accelerator,
    n_tokens: int,
) -> Settled:
    """Fill the gaps of a run's options, and make sure that its sequences fit.

    Raises:
        ConfigError: they do not.
    """
    settled = settle(
        config,
        n_tokens,
        has_new_rows=bool(is_new.any()),
        is_fitted=rows_are_fitted(directory),
        wants_ngrams=tokens_want_ngrams(directory),
        n_positions=positions_of(skeleton),
    )
    check_lengths(skeleton, settled.config, accelerator.num_processes)
    return settled


def _count_steps(packed: list[PackedText], config: AdaptConfig) -> int:
    if config.steps is not None:
        return config.steps
    if config.tokens is not None:
        return math.ceil(config.tokens / config.batch_tokens)
    n_sequences = sum(text.n_sequences(config.sequence_length) for text in packed)
    return max(1, round((config.epochs or 1) * n_sequences / config.batch_sequences))


def _heldout(config: AdaptConfig) -> Iterator[tuple[str, list[str]]]:
    for name, file in config.heldout.items():
        yield name, first([file], config.eval_documents, "--heldout")


def _suite(config: AdaptConfig) -> Iterator[Task]:
    if config.suite is None:
        return
    for item in plan_tasks(suite_named(str(config.suite))):
        if isinstance(item, Failure):
            raise DataError(
                f"{item.task} of {config.suite} cannot be measured: {item.reason}",
                f"{item.hint or 'saltlm evaluate --list names what there is'}; or leave out --set"
                " suite",
            )
        yield item
