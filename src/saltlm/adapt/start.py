"""What a run needs before its first step: devices, text, stages, and the model of a stage."""

import hashlib
import importlib.util
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from jaxtyping import Bool
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saltlm.adapt.checkpoints import Saved, load_weights
from saltlm.adapt.config import AdaptConfig
from saltlm.adapt.corpus import Source, documents
from saltlm.adapt.errors import DataError
from saltlm.adapt.groups import add_adapters, choose_weights, new_rows
from saltlm.adapt.mixture import Mixture, check_texts, mix
from saltlm.adapt.packing import PackedText, frame_of, prepare, tokenizer_hash
from saltlm.adapt.run_folder import RunFolder
from saltlm.adapt.schedule import Stage, plan_stages
from saltlm.architecture import check_is_causal_lm, read_config
from saltlm.errors import CheckpointError, ConfigError
from saltlm.record import sha256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """All that stays the same during a run.

    Attributes:
        config: its options.
        folder: where it writes.
        directory: the model it adapts.
        accelerator: its devices.
        tokenizer: of the model.
        is_new: which rows a transfer made.
        mixture: the text and its order.
        heldout: documents to measure bits per byte on, by name.
        stages: what learns when.
        n_steps: its length.
    """

    config: AdaptConfig
    folder: RunFolder
    directory: Path
    accelerator: Accelerator
    tokenizer: PreTrainedTokenizerBase
    is_new: Bool[Tensor, " v"]
    mixture: Mixture
    heldout: dict[str, list[str]]
    stages: tuple[Stage, ...]
    n_steps: int


def start_accelerator(config: AdaptConfig, folder: RunFolder) -> Accelerator:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started, if any.

    Raises:
        ConfigError: a tracker is not installed.
    """
    for tracker in config.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ConfigError(f"the tracker {tracker} is not installed", f"pip install {tracker}")
    # Without an accelerator, accelerate takes processes for copies unless it is told of the CPU.
    has_device = torch.cuda.is_available() or torch.xpu.is_available()
    has_device = has_device or torch.backends.mps.is_available()
    has_bfloat16 = torch.xpu.is_available() or (
        torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    uses_bfloat16 = config.dtype == "bfloat16" or (config.dtype == "auto" and has_bfloat16)
    return Accelerator(
        cpu=not has_device,
        mixed_precision="bf16" if uses_bfloat16 else "no",
        log_with=list(config.trackers) or None,
        project_dir=folder.path,
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=timedelta(days=1)),  # others wait while one packs text
        ],
    )


def read_inputs(
    directory: Path, folder: RunFolder, config: AdaptConfig, accelerator: Accelerator
) -> Run:
    """Read the text and plan the run.

    Raises:
        SaltlmError: the model, the text and the options do not fit together.
    """
    skeleton = _skeleton(directory, config)
    tokenizer = _tokenizer(directory, skeleton, config)
    frame = frame_of(skeleton, tokenizer)
    _check_lengths(skeleton, config, accelerator.num_processes)
    wanted = config.tokens
    if config.steps is not None:
        wanted = config.steps * config.batch_tokens
    with accelerator.main_process_first():
        packed = [
            prepare(_source(name, config), tokenizer, frame, cache=config.cache, max_tokens=wanted)
            for name in config.data
        ]
    check_texts(packed, config.sequence_length)
    n_steps = _count_steps(packed, config)
    is_new = new_rows(directory, skeleton.get_input_embeddings().weight.shape[0])
    return Run(
        config=config,
        folder=folder,
        directory=directory,
        accelerator=accelerator,
        tokenizer=tokenizer,
        is_new=is_new,
        mixture=mix(
            packed,
            config.data,
            n_sequences=n_steps * config.batch_sequences,
            length=config.sequence_length,
            seed=config.seed,
        ),
        heldout=dict(_heldout(config)),
        stages=plan_stages(config.stages, n_steps, has_new_rows=bool(is_new.any())),
        n_steps=n_steps,
    )


def hashes_of(run: Run) -> dict[str, Any]:
    """Return what identifies the inputs of a run."""
    weights = hashlib.sha256()
    for file in sorted([*run.directory.glob("*.safetensors"), *run.directory.glob("*.bin")]):
        weights.update(sha256(file).encode())
    return {
        "model": weights.hexdigest(),
        "tokenizer": tokenizer_hash(run.tokenizer),
        "text": {text.name: text.fingerprint for text in run.mixture.packed},
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
    model = load_model(run.directory, run.config).float()
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


def load_model(directory: Path, config: AdaptConfig) -> PreTrainedModel:
    """Load a model in the dtype it is stored in.

    Raises:
        CheckpointError: transformers cannot load it.
    """
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype="auto",
            local_files_only=True,
            trust_remote_code=config.trust_remote_code,
        )
    except Exception as error:  # what transformers raises on a broken directory is not listed
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{directory} does not load: {reason}", f"saltlm check {directory}"
        ) from error
    return model


def log_plan(run: Run, saved: Saved | None) -> None:
    """Say what is about to happen."""
    if not run.accelerator.is_main_process:
        return
    stages = ", ".join(f"{stage.kind} to step {stage.last}" for stage in run.stages)
    logger.info("%d steps of %d tokens: %s", run.n_steps, run.config.batch_tokens, stages)
    for text, share in zip(run.mixture.packed, run.mixture.shares, strict=True):
        logger.info("%.1f %% from %s (%s tokens)", 100 * share, text.name, f"{len(text.tokens):,}")
    if saved is not None:
        logger.info("going on after step %d from %s", saved.step, saved.path)


def recompute_activations(model: PreTrainedModel) -> None:
    """Let a model keep only its layers' inputs, and compute the rest again when it is needed.

    Raises:
        ConfigError: the model cannot.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"{type(model).__name__} cannot recompute its activations", "--set checkpointing=false"
        )
    older = model.gradient_checkpointing_enable  # deprecated in transformers 5 for the other
    getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})


def _skeleton(directory: Path, config: AdaptConfig) -> PreTrainedModel:
    """Return the model without memory for its weights."""
    settings = read_config(directory, trust_remote_code=config.trust_remote_code)
    check_is_causal_lm(settings, directory)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            settings, trust_remote_code=config.trust_remote_code
        )
    return model


def _tokenizer(
    directory: Path, skeleton: PreTrainedModel, config: AdaptConfig
) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # as above
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"the tokenizer of {directory} does not load: {reason}", f"saltlm check {directory}"
        ) from error
    n_rows = skeleton.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_rows:
        raise CheckpointError(
            f"the tokenizer of {directory} has {len(tokenizer)} tokens, but the embedding"
            f" {n_rows} rows",
            f"saltlm check {directory}",
        )
    return tokenizer


def _check_lengths(skeleton: PreTrainedModel, config: AdaptConfig, n_processes: int) -> None:
    positions = getattr(skeleton.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and config.sequence_length > positions:
        raise ConfigError(
            f"sequence_length={config.sequence_length} is more than the model's {positions}"
            " positions",
            f"--set sequence_length={positions}",
        )
    if config.batch_sequences % n_processes:
        raise ConfigError(
            f"a step of {config.batch_sequences} sequences cannot be split over {n_processes}"
            " processes",
            f"--set batch_tokens={config.sequence_length * n_processes} or a multiple of it",
        )


def _source(name: str, config: AdaptConfig) -> Source:
    return Source(name, config.text_field, config.split, config.max_bad_share)


def _count_steps(packed: list[PackedText], config: AdaptConfig) -> int:
    if config.steps is not None:
        return config.steps
    if config.tokens is not None:
        return math.ceil(config.tokens / config.batch_tokens)
    n_sequences = sum(text.n_sequences(config.sequence_length) for text in packed)
    return max(1, round((config.epochs or 1) * n_sequences / config.batch_sequences))


def _heldout(config: AdaptConfig) -> Iterator[tuple[str, list[str]]]:
    for name, file in config.heldout.items():
        kept = list(islice(documents(_source(str(file), config)), config.eval_documents))
        if not kept:
            raise DataError(f"{file} holds no document", "give --heldout a file with text in it")
        yield name, kept
