"""What a model's `config.json` says: read it, and refuse what cannot be a SOURCE."""

import re
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel

from saltlm.errors import CheckpointError, quoted, shown
from saltlm.models.skeleton import class_of
from saltlm.models.vocabulary_tensors import built_for


def read_config(directory: Path, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Load the configuration with the defaults of its class, which the file may leave out.

    Args:
        directory: a model directory.
        trust_remote_code: run the configuration code that the directory brings along.

    Raises:
        CheckpointError: ``config.json`` is missing, broken, or of a type unknown to transformers.
    """
    from transformers import AutoConfig

    file = directory / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{directory} has no config.json", _without_settings(directory))
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            directory, local_files_only=True, trust_remote_code=trust_remote_code
        )
        if not all(isinstance(name, str) for name in config.architectures or ()):
            raise TypeError(f"architectures is {shown(config.architectures)}")
    except Exception as error:  # each config class validates in its own way
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{file} cannot be loaded: {reason}",
            "pip install -U transformers, or set trust_remote_code if you trust the model's code",
        ) from None
    return config


def _without_settings(directory: Path) -> str:
    """Return what to do about a directory that has no config.json."""
    if (directory / "saltlm" / "metrics.jsonl").is_file():
        return "its training has not ended: give the same saltlm adapt command again"
    return "give a model directory in the Hugging Face layout"


_TASK_HEAD = re.compile(r"For(?!CausalLM|ConditionalGeneration)[A-Z]")


def text_config_of(config: PreTrainedConfig, directory: Path) -> PreTrainedConfig:
    """Return the configuration of a model's text model.

    Raises:
        CheckpointError: it has several.
    """
    try:
        return config.get_text_config()
    except ValueError as error:
        raise CheckpointError(
            f"{directory} has several text models ({config.model_type}): {error}".partition(". ")[
                0
            ],
            "give a model with one text model, that makes text from left to right",
        ) from None


def check_is_causal_lm(config: PreTrainedConfig, directory: Path) -> None:
    """Refuse a SOURCE that cannot generate text from left to right.

    Raises:
        CheckpointError: an encoder, an encoder-decoder, or a model with a task head.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED,
    )

    classes = list(config.architectures or [])
    name = classes[0] if classes else f"{config.model_type} model"
    known = getattr(class_of(config), "__name__", None)
    text = text_config_of(config, directory)
    is_decoder = bool(getattr(config, "is_decoder", False))
    if any(getattr(part, "is_encoder_decoder", False) for part in (config, text)):
        problem = "is an encoder-decoder, whose decoder needs an encoder's output"
    elif (config.model_type in MASKED and not is_decoder) or text.model_type == "t5":
        problem = "is an encoder, which fills in masked tokens and cannot generate text"
    elif known not in classes and any(_TASK_HEAD.search(item) for item in classes):
        problem = "has a task head in place of the language modelling head"
    elif known is None and "CausalLM" not in name:
        problem = "is not a causal language model that transformers knows"
    else:
        return
    raise CheckpointError(
        f"{directory} cannot be the SOURCE: {name} {problem}",
        "give a causal language model first and this one second:"
        f" saltlm transfer HuggingFaceTB/SmolLM2-135M {quoted(directory)} --out DIR",
    )


def check_not_quantised(config: PreTrainedConfig, directory: Path) -> None:
    """Refuse another dtype for weights that are packed: their scales would be converted alone.

    Raises:
        CheckpointError: the model is quantised.
    """
    quantised = getattr(config, "quantization_config", None)
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise CheckpointError(
            f"{directory} is quantised ({method}), so its weights cannot be converted",
            "leave --dtype out, or use a copy of the model that is not quantised",
        )


def positions_begin_at(config: PreTrainedConfig) -> int | None:
    """Return ``pad_token_id`` where it says where positions begin, as in XGLM and RoBERTa.

    Such a model would read other positions, or none, if pad had another id. It is known by modules
    of the decoder that keep a padding index and are no table of tokens.
    """
    pad: int | None = getattr(config.get_text_config(), "pad_token_id", None)
    if pad is None or class_of(config) is None:
        return None
    built = built_for(config, Path())
    decoder = set(built.model.get_decoder().modules())
    others = {
        f"{name}.weight"
        for name, module in built.model.named_modules()
        if module in decoder
        and getattr(module, "padding_idx", None) is not None
        and not isinstance(module, PreTrainedModel)
        and module is not built.model.get_input_embeddings()
    }
    return pad if others - built.grows.keys() else None
