"""The model that a configuration describes, built without memory for its weights.

What a class builds says more of a model than its name and than the numbers of its configuration.
"""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from saltlm.errors import CheckpointError

_KINDS = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")


def class_of(config: PreTrainedConfig) -> Any:
    """Return the class that generates text from such a configuration; None if none is known.

    It is the class that the configuration names, if that fits and can generate; else the one that
    transformers has for the type.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    for name in config.architectures or ():
        named: Any = getattr(transformers, str(name), None)
        is_model = isinstance(named, type) and issubclass(named, PreTrainedModel)
        if is_model and isinstance(config, named.config_class or ()) and named.can_generate():
            return named
    for kind in _KINDS:
        known = getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING")
        if type(config) in known:
            found = known[type(config)]
            return found[0] if isinstance(found, tuple) else found
    return None


def hide_bars() -> None:
    """Let transformers show no bars of its own, for as long as this process runs."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def loader_of(config: PreTrainedConfig) -> Any:
    """Return the class whose ``from_pretrained`` opens a language model, also one with code.

    It shows no bar of transformers' own.
    """
    from transformers import AutoModelForCausalLM

    hide_bars()
    return class_of(config) or AutoModelForCausalLM


def build_skeleton(
    config: PreTrainedConfig, directory: Path, *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Return the language model that a configuration describes, on torch's meta device.

    Args:
        config: as loaded by transformers; it stays as it is.
        directory: where it is from.
        trust_remote_code: run modelling code that the directory brings along.

    Raises:
        CheckpointError: no class is known for it, or the class cannot be built from it.
    """
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    config = copy.deepcopy(config)
    known = class_of(config)
    if known is None and not getattr(config, "auto_map", None):
        raise CheckpointError(
            f"transformers has no language model of type {config.model_type}, as"
            f" {directory / 'config.json'} names it",
            "give a causal language model, or pip install -U transformers",
        )
    try:
        with torch.device("meta"), no_init_weights():
            if known is not None:
                return known(config)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=trust_remote_code
            )
            return model
    except Exception as error:  # each class fails in its own way on numbers that do not go together
        name = config.model_type if known is None else known.__name__
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{directory / 'config.json'} does not build a model ({name}): {reason}",
            "fetch the file again; if it is the publisher's, pip install -U transformers",
        ) from error


def names_in_model(model: PreTrainedModel, names: Iterable[str]) -> dict[str, str]:
    """Return where transformers puts each tensor of a checkpoint, if it has a place for it.

    Tensors that are fused with others when they are loaded have the place of the whole.

    Args:
        model: may be a skeleton.
        names: of a checkpoint's tensors.
    """
    from transformers.core_model_loading import rename_source_key

    places = model.state_dict(keep_vars=True)
    renamings, converters = _steps_of_loading(model)
    found = {}
    for name in names:
        for before, after in ((renamings, converters), ([], [])):
            place, _ = rename_source_key(name, before, after, model.base_model_prefix, places)
            if place in places:
                found[name] = place
                break
    return found


def in_order_of_rows(model: PreTrainedModel, names: Iterable[str]) -> tuple[str, ...]:
    """Return the parts of one tensor in the order in which transformers puts their rows together.

    Empty if it does something else with them.

    Args:
        model: may be a skeleton.
        names: of a checkpoint's tensors, all with one place in the model.
    """
    from transformers.core_model_loading import Concatenate, rename_source_key

    renamings, converters = _steps_of_loading(model)
    ranks = {
        pattern: rank
        for step in converters
        if [type(one) for one in step.operations] == [Concatenate] and not step.operations[0].dim
        for rank, pattern in enumerate(step.source_patterns)
    }
    patterns = {name: rename_source_key(name, renamings, converters)[1] for name in names}
    if not ranks.keys() >= {*patterns.values()}:
        return ()
    return tuple(sorted(patterns, key=lambda name: ranks[str(patterns[name])]))


def _steps_of_loading(model: PreTrainedModel) -> tuple[list[Any], list[Any]]:
    """Return what renames a checkpoint's tensors, and what makes others of them."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming

    steps = get_model_conversion_mapping(model)
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    return renamings, [step for step in steps if isinstance(step, WeightConverter)]


def positions_of(skeleton: PreTrainedModel) -> int | None:
    """Return the tokens of the longest sequence that a model takes; None if it names none."""
    found: int | None = getattr(skeleton.config.get_text_config(), "max_position_embeddings", None)
    return found
