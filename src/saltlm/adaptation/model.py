"""The model of a run: its skeleton for checks that cost nothing, and the model itself."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.objective import Objective
from saltlm.adaptation.parameters import WHOLE, import_peft
from saltlm.errors import CheckpointError, ConfigError, quoted
from saltlm.files.damage import reading
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.fits_config import check_layers, check_tensors
from saltlm.models.skeleton import positions_of
from saltlm.models.states import layers_of
from saltlm.tokenizer.load import check_loadable

_TOLD_WHAT_IS_TEXT = {"molmo2"}  # model types that refuse to be trained without being told


def read_skeleton(directory: Path, config: AdaptConfig, objective: Objective) -> PreTrainedModel:
    """Return the model without memory for its weights.

    Raises:
        CheckpointError: the directory is not that of a model which the objective trains,
            or its tensors are not those of its config.json.
    """
    settings = read_config(directory, trust_remote_code=config.trust_remote_code)
    objective.check_config(settings, directory)
    checkpoint = open_checkpoint(directory)
    check_layers(checkpoint, settings)
    loader = objective.loader(settings)
    hint = "fetch the file again; if it is the publisher's, pip install -U transformers"
    with reading(directory / "config.json", CheckpointError, hint), torch.device("meta"):
        model: PreTrainedModel = (
            loader._from_config(settings)
            if issubclass(loader, PreTrainedModel)
            else loader.from_config(settings, trust_remote_code=config.trust_remote_code)
        )
    check_tensors(checkpoint, model)
    return model


def read_fitting_tokenizer(
    directory: Path, skeleton: PreTrainedModel, config: AdaptConfig
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Raises:
        CheckpointError: it does not load, or has more tokens than the model has rows.
        VocabularyError: its ids would take gigabytes.
    """
    check_loadable(directory)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # as above
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"the tokenizer of {directory} does not load: {reason}",
            f"saltlm check {quoted(directory)}",
        ) from error
    n_rows = skeleton.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_rows:
        raise CheckpointError(
            f"the tokenizer of {directory} has {len(tokenizer)} tokens, but the embedding"
            f" {n_rows} rows",
            f"saltlm check {quoted(directory)}",
        )
    return tokenizer


def check_lengths(skeleton: PreTrainedModel, config: AdaptConfig, n_processes: int) -> None:
    """Make sure that sequences fit into the model, and steps into the processes.

    Raises:
        ConfigError: they do not.
    """
    positions = positions_of(skeleton)
    if positions is not None and config.sequence_length > positions:
        raise ConfigError(
            f"sequence_length={config.sequence_length} is more than the model's {positions}"
            " positions",
            config.sequences_of(positions),
        )
    if config.batch_sequences % n_processes:
        raise ConfigError(
            f"a step of {config.batch_sequences} sequences cannot be split over {n_processes}"
            " processes",
            f"--set batch_tokens={config.sequence_length * n_processes} or a multiple of it",
        )


def check_methods(skeleton: PreTrainedModel, config: AdaptConfig) -> None:
    """Make sure that the model can be trained in the ways that are asked for.

    Raises:
        SaltlmError: peft is not installed for ``lora``, the layers for ``top-bottom`` are not
            found, or activations cannot be recomputed.
    """
    kinds = {stage.kind for stage in config.stages}
    if "lora" in kinds:
        import_peft()
    if "top-bottom" in kinds:
        layers_of(skeleton, WHOLE)
    if config.checkpointing and not skeleton.supports_gradient_checkpointing:
        raise ConfigError(
            f"{type(skeleton).__name__} cannot recompute its activations",
            "--set checkpointing=false",
        )


def load_model(directory: Path, config: AdaptConfig, objective: Objective) -> PreTrainedModel:
    """Load a model in the dtype it is stored in.

    Raises:
        CheckpointError: transformers cannot load it.
    """
    settings = read_config(directory, trust_remote_code=config.trust_remote_code)
    try:
        model: PreTrainedModel = objective.loader(settings).from_pretrained(
            directory,
            dtype="auto",
            attn_implementation=config.attention,
            local_files_only=True,
            trust_remote_code=config.trust_remote_code,
        )
    except Exception as error:  # what transformers raises on a broken directory is not listed
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{directory} does not load: {reason}", f"saltlm check {quoted(directory)}"
        ) from error
    if model.config.model_type in _TOLD_WHAT_IS_TEXT:
        model.register_forward_pre_hook(_all_is_text, with_kwargs=True)
    return model


def _all_is_text(
    model: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if not model.training:
        return None
    return args, named | {"mm_token_type_ids": torch.zeros_like(named["input_ids"])}


def recompute_activations(model: PreTrainedModel) -> None:
    """Let a model keep only its layers' inputs, and compute the rest again when it is needed."""
    older = model.gradient_checkpointing_enable  # deprecated in transformers 5 for the other
    getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})
