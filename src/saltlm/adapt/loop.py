"""SALT's step 5: causal language modelling on text of the target language, on accelerate.

`adapt` is the run. A run is a list of stages; each builds its model anew from the checkpoint that
the one before it ended with, so that going on after a stage and going on after a crash are the
same thing.
"""

import logging
import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import nn
from torch.distributed.fsdp import FSDPModule
from tqdm import tqdm
from transformers import PreTrainedModel

from saltlm.adapt import checkpoints
from saltlm.adapt.checkpoints import Saved
from saltlm.adapt.config import AdaptConfig, LearningRates
from saltlm.adapt.finish import write_model
from saltlm.adapt.groups import (
    Table,
    frozen_hash,
    mask_gradients,
    parameter_groups,
    row_rates,
    row_tables,
    stage_rates,
)
from saltlm.adapt.loss import Inside, causal_loss, separates_documents
from saltlm.adapt.metrics import flatten, log_metrics, read_metrics, show
from saltlm.adapt.mixture import count_bytes, read_batch
from saltlm.adapt.run_folder import RunFolder, choose_start, identity, only_run
from saltlm.adapt.safety import check_finite, check_untouched, memory_errors
from saltlm.adapt.schedule import Stage, learning_rate_factor
from saltlm.adapt.start import (
    Run,
    build_model,
    goes_on_in,
    hashes_of,
    log_plan,
    read_inputs,
    recompute_activations,
    start_accelerator,
)
from saltlm.evaluate.bits_per_byte import bits_per_byte
from saltlm.hub import resolve_model
from saltlm.logits import check_logits
from saltlm.record import environment

logger = logging.getLogger(__name__)

_BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class AdaptResult:
    """What a run ended with.

    Attributes:
        directory: the adapted model.
        n_steps: steps done, over all starts of the run.
        n_tokens: tokens read in them.
        seconds: spent in them; measuring and saving are not counted.
        bits_per_byte: of each held-out text at the end.
    """

    directory: Path
    n_steps: int
    n_tokens: int
    seconds: float
    bits_per_byte: dict[str, float]


def adapt(
    model: str | Path, out: str | Path, config: AdaptConfig, *, resume: str = "auto"
) -> AdaptResult:
    """Train a model on text of its new language and write the result as a model directory.

    A killed run goes on from its last checkpoint when it is called again, and ends with the same
    bytes as one that was not killed.

    Args:
        model: Hub id or directory, as ``saltlm transfer`` wrote it or any causal language model.
        out: the directory to make; checkpoints and metrics lie in its folder ``saltlm``.
        config: options.
        resume: ``auto``, ``never``, or the path of a checkpoint; see `choose_start`.

    Raises:
        SaltlmError: the inputs do not fit together, or training cannot go on.
    """
    folder = RunFolder(Path(out).expanduser().resolve())
    accelerator = start_accelerator(config, folder)
    is_main = accelerator.is_main_process
    with accelerator.main_process_first():
        directory = resolve_model(str(model))
    with only_run(folder) if is_main else nullcontext():
        run = read_inputs(directory, folder, config, accelerator)
        inputs = hashes_of(run) if is_main else {}
        chosen = [choose_start(folder, identity(config, inputs), resume) if is_main else None]
        saved: Saved | None = broadcast_object_list(chosen)[0]
        log_plan(run, saved)
        accelerator.init_trackers("saltlm", config=flatten(config.model_dump(mode="json")))
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


@dataclass(frozen=True)
class _Training:
    """What learns in a stage.

    Attributes:
        model: the model itself.
        inside: the same as `Inside`, wrapped for its devices.
        optimizer: of all that learns.
        tables: with the rates of their rows.
        rates: peak learning rates.
        can_mask: whether the model keeps attention inside a document.
    """

    model: PreTrainedModel
    inside: nn.Module
    optimizer: torch.optim.Optimizer
    tables: list[Table]
    rates: LearningRates
    can_mask: bool


def _run_stage(run: Run, number: int, saved: Saved | None) -> Saved:
    """Train one stage, from its beginning or from a checkpoint in it, and save its end."""
    config, stage, is_main = run.config, run.stages[number], run.accelerator.is_main_process
    training = _set_up(run, number, saved)
    first = saved.step if saved is not None else 0
    seconds, n_bytes = (saved.seconds, saved.n_bytes) if saved is not None else (0.0, 0.0)
    untouched = frozen_hash(training.tables)
    if first == 0:
        row = {"step": 0, "tokens": 0, "bytes": 0.0, "seconds": 0.0}
        _log(run, row | _measure(run, training.inside))
    hidden = None if is_main else True  # None: where there is no terminal
    with tqdm(desc=stage.kind, total=run.n_steps, initial=first, disable=hidden) as bar:
        for step in range(first, stage.last):
            row = _train_step(run, training, stage, step)
            done = step + 1
            row["seconds"] = seconds = seconds + row["seconds"]
            row["bytes"] = n_bytes = n_bytes + row["bytes"]
            if done % config.eval_every == 0 or done == run.n_steps:
                row |= _measure(run, training.inside)
            _log(run, row)
            show(bar, row)
            if done % config.save_every == 0 or done == stage.last:
                check_untouched(untouched, frozen_hash(training.tables), done)
                saved = _save(run, training, number, row)
    run.accelerator.free_memory()
    assert saved is not None  # a stage has a step, and its last one is saved
    return saved


def _set_up(run: Run, number: int, saved: Saved | None) -> _Training:
    config = run.config
    rates = stage_rates(run.stages[number].kind, config.lr)
    model = build_model(run, number, saved)
    can_mask = _probe(run, model)
    if config.checkpointing:
        recompute_activations(model)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        parameter_groups(model, rates, run.is_new, config.weight_decay), betas=_BETAS, fused=True
    )
    inside, optimizer = run.accelerator.prepare(Inside(model).train(), optimizer)
    if saved is not None and goes_on_in(run, number, saved):
        checkpoints.load_optimizer(saved, model, optimizer)
    tables = row_tables(model, rates, run.is_new)
    return _Training(model, inside, optimizer, tables, rates, can_mask)


def _probe(run: Run, model: PreTrainedModel) -> bool:
    """Make sure that the loss is the model's own, and find out whether it can mask documents."""
    check_logits(model, read_batch(run.mixture, 0, 1).ids[:, :16])
    can_mask = separates_documents(model)
    if not can_mask:
        logger.warning(
            "%s cannot keep attention inside a document: it sees the end of the one before",
            type(model).__name__,
        )
    return can_mask


def _train_step(run: Run, training: _Training, stage: Stage, step: int) -> dict[str, Any]:
    """Do one step on all processes and return its line of the metrics."""
    config, accelerator = run.config, run.accelerator
    began = time.perf_counter()
    n = config.batch_sequences
    factor = learning_rate_factor(step, stage, run.n_steps, config)
    for group in training.optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    with memory_errors(step, config):
        loss = _accumulate(run, training, step)
        mask_gradients(training.tables)
        norm = accelerator.clip_grad_norm_(training.inside.parameters(), config.clip)
        gradient_norm = float(norm)
        kept = checkpoints.find(run.folder.checkpoints)
        check_finite(loss, gradient_norm, run.mixture, step * n, n, kept)
        with row_rates(training.tables):
            training.optimizer.step()
        training.optimizer.zero_grad()
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


def _accumulate(run: Run, training: _Training, step: int) -> float:
    """Leave the gradient of a step's mean loss in the weights, and return that loss."""
    config, accelerator = run.config, run.accelerator
    rank, n_processes = accelerator.process_index, accelerator.num_processes
    _seed(config.seed, step, rank)
    n_own = config.batch_sequences // n_processes
    batch = read_batch(run.mixture, step * config.batch_sequences + rank * n_own, n_own)
    ids, positions = batch.ids.to(accelerator.device), batch.positions.to(accelerator.device)
    total = torch.zeros((), dtype=torch.float64)
    for first in range(0, n_own, config.micro_batch):
        part = slice(first, first + config.micro_batch)
        is_last = first + config.micro_batch >= n_own
        with nullcontext() if is_last else accelerator.no_sync(training.inside):
            nats = training.inside(
                causal_loss,
                ids[part],
                positions[part] if training.can_mask else None,
                chunk_logits=config.loss_chunk,
            )
            # Processes average their gradients, but the loss is a sum over all of their tokens.
            accelerator.backward(nats * (n_processes / config.batch_tokens))
        total += nats.detach().cpu().double()
    everyone = accelerator.reduce(total.to(accelerator.device, torch.float32), "sum")
    return float(everyone) / config.batch_tokens


def _seed(*parts: int) -> None:
    """Make the random numbers of a step a function of seed, step and process."""
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))


def _measure(run: Run, inside: nn.Module) -> dict[str, Any]:
    """Return bits per byte of each held-out text; every process measures the same."""
    with torch.no_grad():
        values = {
            name: inside(
                bits_per_byte,
                run.tokenizer,
                texts,
                context=run.config.sequence_length,
                stride=max(1, run.config.sequence_length // 2),
                batch=run.config.micro_batch,
            ).value
            for name, texts in run.heldout.items()
        }
    if isinstance(inside, FSDPModule):
        inside.reshard()  # as the backward pass would
    return {"bits_per_byte": values} if values else {}


def _save(run: Run, training: _Training, number: int, row: dict[str, Any]) -> Saved:
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
    write_model(
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
            "processes": run.accelerator.num_processes,
            "environment": environment(),
        },
        trust_remote_code=config.trust_remote_code,
    )
    logger.info("%s: adapted on %s tokens", run.folder.out, f"{result.n_tokens:,}")


def _result(run: Run, saved: Saved) -> AdaptResult:
    measured = [row for row in read_metrics(run.folder.metrics) if "bits_per_byte" in row]
    return AdaptResult(
        directory=run.folder.out,
        n_steps=saved.step,
        n_tokens=saved.step * run.config.batch_tokens,
        seconds=saved.seconds,
        bits_per_byte=measured[-1]["bits_per_byte"] if measured else {},
    )


def _log(run: Run, row: dict[str, Any]) -> None:
    if run.accelerator.is_main_process:
        log_metrics(run.folder.metrics, row)
    run.accelerator.log(flatten(row), step=row["step"])
