"""What one stage needs to learn, one step of it, and how the model does on held-out text."""

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from saltlm.adaptation import checkpoints
from saltlm.adaptation.checkpoints import Saved
from saltlm.adaptation.config import LearningRates
from saltlm.adaptation.loss import Inside, SoftTargets, into_gradients
from saltlm.adaptation.mixture import Batch, count_bytes, read_batch
from saltlm.adaptation.model import recompute_activations
from saltlm.adaptation.new_tokens import DOCUMENTS, new_token_measures
from saltlm.adaptation.ngram_teacher import NgramTeacher
from saltlm.adaptation.parameters import (
    Table,
    clear_gradients,
    mask_gradients,
    parameter_groups,
    row_rates,
    row_tables,
    stage_rates,
)
from saltlm.adaptation.prepare import Run, are_taught, build_model, goes_on_in
from saltlm.adaptation.schedule import Stage, learning_rate_factor
from saltlm.adaptation.stops import check_finite
from saltlm.adaptation.teacher import Teacher
from saltlm.evaluation.evaluate import attempt
from saltlm.evaluation.results import Failure, ModelRecord, Result
from saltlm.evaluation.task import Subject
from saltlm.files.atomic import replace_text

logger = logging.getLogger(__name__)

_BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Training:
    """What learns in a stage.

    Attributes:
        model: the model itself.
        inside: the same as `Inside`, wrapped for its devices.
        optimizer: of all that learns.
        tables: with the rates of their rows.
        rates: peak learning rates.
        can_mask: whether the model keeps attention inside a document.
        teacher: on the devices, in their number format.
    """

    model: PreTrainedModel
    inside: nn.Module
    optimizer: torch.optim.Optimizer
    tables: list[Table]
    rates: LearningRates
    can_mask: bool
    teacher: Teacher | NgramTeacher | None


def set_up(run: Run, number: int, saved: Saved | None) -> Training:
    """Build what a stage needs, at its beginning or as a checkpoint in it has left it.

    Raises:
        SaltlmError: the model's logits are not known here, or the checkpoint is damaged.
    """
    config = run.config
    rates = stage_rates(run.stages[number].kind, config.lr)
    model = build_model(run, number, saved)
    if config.checkpointing:
        recompute_activations(model)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        parameter_groups(model, rates, run.is_new, config.weight_decay), betas=_BETAS, fused=True
    )
    inside, optimizer = run.accelerator.prepare(Inside(model).train(), optimizer)
    can_mask = _probe(run, inside, type(model).__name__)
    if saved is not None and goes_on_in(run, number, saved):
        checkpoints.load_optimizer(saved, model, optimizer)
    tables = row_tables(model, rates, run.is_new)
    teacher = run.teacher
    if teacher is not None:
        is_short = run.accelerator.mixed_precision == "bf16"
        dtype = torch.bfloat16 if is_short else torch.float32
        teacher = teacher.on(run.accelerator.device, dtype)
    return Training(model, inside, optimizer, tables, rates, can_mask, teacher)


def _probe(run: Run, inside: nn.Module, name: str) -> bool:
    """Make sure that the loss is the model's own, and find out whether it can mask documents."""
    config = run.config
    ids = read_batch(run.mixture, 0, 1).ids[:, :16].to(run.accelerator.device)
    without_gradient(inside, run.objective.check_model, ids)
    rows = min(2, config.micro_batch)
    can_mask: bool = without_gradient(inside, run.objective.separates, rows)
    if not can_mask:
        logger.warning(
            "%s cannot keep attention inside a document%s: it sees the end of the one before",
            name,
            "" if rows == 1 else " (flash attention can, with --set micro_batch=1)",
        )
    return can_mask


def train_step(run: Run, training: Training, stage: Stage, step: int) -> dict[str, Any]:
    """Do one step on all processes and return its line of the metrics.

    Raises:
        TrainingError: the loss or the gradient is not a number; the weights are as before.
    """
    config, accelerator = run.config, run.accelerator
    began = time.perf_counter()
    n = config.batch_sequences
    factor = learning_rate_factor(step, stage, run.n_steps, config)
    for group in training.optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    loss = _accumulate(run, training, step)
    mask_gradients(training.tables)
    norm = accelerator.clip_grad_norm_(training.inside.parameters(), config.clip)
    # The float of a norm that processes share may be that of one's own part, as in torch 2.8.
    gradient_norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    kept = checkpoints.find(run.folder.checkpoints)
    check_finite(loss, gradient_norm, run.mixture, step * n, n, kept, config)
    with row_rates(training.tables):
        training.optimizer.step()
    clear_gradients(training.optimizer, training.tables)
    seconds = time.perf_counter() - began
    n_bytes = count_bytes(run.mixture, step * n, n)
    return {
        "step": step + 1,
        "stage": stage.kind,
        "tokens": (step + 1) * config.batch_tokens,
        "bytes": n_bytes,
        "loss": loss,
        "train_bits_per_byte": loss * config.batch_tokens / n_bytes / math.log(2),
        "learning_rates": {key: rate * factor for key, rate in training.rates.model_dump().items()},
        "gradient_norm": gradient_norm,
        "tokens_per_second": config.batch_tokens / seconds,
        "seconds": seconds,
    }


def _accumulate(run: Run, training: Training, step: int) -> float:
    """Leave the gradient of a step's mean loss in the weights, and return that loss."""
    config, accelerator = run.config, run.accelerator
    rank, n_processes = accelerator.process_index, accelerator.num_processes
    _seed(config.seed, step, rank)
    n_own = config.batch_sequences // n_processes
    batch = read_batch(run.mixture, step * config.batch_sequences + rank * n_own, n_own)
    batch = batch.to(accelerator.device)
    total = torch.zeros((), dtype=torch.float64)
    for first in range(0, n_own, config.micro_batch):
        part = batch.part(slice(first, first + config.micro_batch))
        is_last = first + config.micro_batch >= n_own
        # Processes average their gradients, but the loss is a sum over all of their tokens.
        factor = n_processes / config.batch_tokens
        is_alone = accelerator.distributed_type == DistributedType.NO
        with (
            nullcontext() if is_last else accelerator.no_sync(training.inside),
            into_gradients(training.model, factor) if is_alone else nullcontext(),
        ):
            nats = training.inside(
                run.objective.loss,
                part.ids,
                part.positions if training.can_mask else None,
                chunk_logits=config.loss_chunk,
                **_lesson(run, training.teacher, step, part),
            )
            accelerator.backward(nats * factor)
        total += nats.detach().cpu().double()
    everyone = accelerator.reduce(total.to(accelerator.device, torch.float32), "sum")
    return float(everyone) / config.batch_tokens


def _lesson(
    run: Run, teacher: Teacher | NgramTeacher | None, step: int, batch: Batch
) -> dict[str, SoftTargets]:
    """Return what the teacher says of some sequences, for the loss; English is not taught.

    Its share of the targets falls linearly to nothing: at first it knows more than the model.
    """
    if teacher is None:
        return {}
    of_texts = torch.tensor(are_taught(run.mixture.packed, run.config))
    is_taught = of_texts.to(batch.sources.device)[batch.sources]
    if not is_taught.any():
        return {}
    share = teacher.share * (1 - step / run.n_steps)
    return {"soft": teacher.targets(batch, is_taught, share=share)}


def _seed(*parts: int) -> None:
    """Make the random numbers of a step a function of seed, step and process."""
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))


def without_gradient(
    inside: nn.Module, function: Callable[..., Any], *args: Any, **named: Any
) -> Any:
    """Return ``function(model, ...)`` where no backward pass follows."""
    with torch.no_grad():
        value = inside(function, *args, **named)
    if isinstance(inside, FSDPModule):
        inside.reshard()  # as the backward pass would
    return value


def measure(run: Run, inside: nn.Module) -> dict[str, Any]:
    """Return bits per byte of each held-out text, of how many documents, and of new tokens in it.

    Every process measures the same.
    """
    values = {
        name: without_gradient(
            inside,
            run.objective.measure,
            run.tokenizer,
            texts,
            context=run.context,
            stride=max(1, run.context // 2),
            batch=run.config.micro_batch,
        )
        for name, texts in run.heldout.items()
    }
    if not values:
        return {}
    row = {"bits_per_byte": values, "documents": run.config.eval_documents}
    if not run.is_new.any():
        return row
    new_tokens = {
        name: without_gradient(
            inside,
            new_token_measures,
            run.tokenizer,
            texts[:DOCUMENTS],
            run.is_new,
            context=run.context,
            chunk_logits=run.config.loss_chunk,
        )
        for name, texts in run.heldout.items()
    }
    return row | {"new_tokens": new_tokens}


def write_samples(run: Run, inside: nn.Module) -> dict[str, Any]:
    """Return what the model writes after beginnings of the first held-out text.

    What fails is told and left out, as in `run_suite`.
    """
    go_on, texts = run.objective.go_on, next(iter(run.heldout.values()), [])[: run.config.samples]
    if go_on is None or not texts:
        return {}
    try:
        return {"samples": without_gradient(inside, go_on, run.tokenizer, texts)}
    except Exception as error:  # what a model of others raises is not listed
        logger.warning("no samples of what the model writes: %s", str(error).partition("\n")[0])
        return {}


def run_suite(run: Run, inside: nn.Module, step: int) -> dict[str, Any]:
    """Do the suite and keep its results; return their numbers, by task and metric.

    What fails is told and left out: a measurement does not end a run.
    """
    if not run.suite:
        return {}
    record = ModelRecord(name=f"{run.folder.out.name} at step {step}", sha256="")

    def attempt_all(model: PreTrainedModel) -> list[Result]:
        subject = Subject(model, run.tokenizer)
        done = [attempt(task, record, subject) for task in run.suite]
        return [item for item in done if not isinstance(item, Failure)]

    results = without_gradient(inside, attempt_all)
    if run.accelerator.is_main_process:
        file = run.folder.evaluation(step)
        file.parent.mkdir(exist_ok=True)
        replace_text(file, json.dumps(results, ensure_ascii=False) + "\n")
    numbers = {
        result["task"]: {name: metric["value"] for name, metric in result["metrics"].items()}
        for result in results
    }
    return {"suite": numbers}
