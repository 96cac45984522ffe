"""Do a model's tensors fit the model that its config.json builds? Asked before any work.

What does not fit is found by transformers only when the model is loaded, and then the missing
weights are drawn at random, or the rest left out, with a line in a log.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import Checkpoint
from saltlm.models.skeleton import build_skeleton, class_of, names_in_model

_LAYERS = re.compile(r"(num|n)_((hidden|encoder|decoder|text)_)?layers?|(en|de)coder_layers")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_MOST = 5  # tensors that are named


def check_source_fits(checkpoint: Checkpoint, config: PreTrainedConfig) -> None:
    """Build the language model of a configuration on the meta device, and compare the tensors.

    Raises:
        CheckpointError: config.json builds no model, or one that the tensors do not fit.
    """
    if class_of(config) is not None:  # else it has code of its own
        check_layers(checkpoint, config)
        check_tensors(checkpoint, build_skeleton(config, checkpoint.directory))


def check_plm_fits(checkpoint: Checkpoint, config: PreTrainedConfig) -> None:
    """Do the same for a PLM, which may have any head or none.

    Raises:
        CheckpointError: as `check_source_fits` does.
    """
    from transformers import MODEL_MAPPING, AutoModel
    from transformers.initialization import no_init_weights

    if type(config) not in MODEL_MAPPING:
        return
    check_layers(checkpoint, config)
    try:
        with torch.device("meta"), no_init_weights():
            model: PreTrainedModel = AutoModel.from_config(config)
    except Exception as error:  # each class fails in its own way on numbers that do not go together
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise _refused(checkpoint.directory, f"builds no model: {reason}") from error
    check_tensors(checkpoint, model)


def check_layers(checkpoint: Checkpoint, config: PreTrainedConfig) -> None:
    """Refuse more layers than there are tensors, which would take for ever to build.

    Raises:
        CheckpointError: there are.
    """
    for name, number in _numbers(config.to_dict()):
        if _LAYERS.fullmatch(name) and number > len(checkpoint.tensors):
            raise _refused(
                checkpoint.directory, f"has {name} {number:,} for {len(checkpoint.tensors)} tensors"
            )


def _numbers(values: Mapping[Any, Any]) -> list[tuple[str, int]]:
    found = [(str(name), value) for name, value in values.items() if type(value) is int]
    parts = [value for value in values.values() if isinstance(value, Mapping)]
    return found + [item for part in parts for item in _numbers(part)]


def check_tensors(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Make sure that every tensor has the size of its place, and that no layer lacks or is left.

    Args:
        checkpoint: the stored tensors.
        model: what the configuration builds; may be a skeleton.

    Raises:
        CheckpointError: they do not fit.
    """
    if getattr(model.config, "quantization_config", None):
        return  # packed tensors have other sizes
    places = names_in_model(model, checkpoint.tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [
        f"{name} is {_sizes(checkpoint.tensors[name].shape)}, not {_sizes(shapes[place])}"
        for name, place in places.items()
        if _same_name(name, place)
        and math.prod(checkpoint.tensors[name].shape) != math.prod(shapes[place])
    ]
    filled = {_pattern(name) for name in places}
    wrong += [
        f"{name} has no place"
        for name in checkpoint.tensors
        if name not in places and _is_beyond(name, filled) and not _is_ignored(name, model)
    ]
    taken = set(places.values())
    full = {_pattern(place) for place in taken}
    wrong += [
        f"{name} is not stored"
        for name, _ in model.named_parameters()
        if name not in taken and _is_beyond(name, full)
    ]
    if wrong:
        more = f" and {len(wrong) - _MOST:,} more" if len(wrong) > _MOST else ""
        raise _refused(
            checkpoint.directory,
            f"builds a {type(model).__name__} that the tensors do not fit:"
            f" {'; '.join(wrong[:_MOST])}{more}",
        )


def _same_name(name: str, place: str) -> bool:
    """Whether a tensor is that parameter itself, and not a part of one that is fused or split."""
    return name.endswith(place) or place.endswith(name)


def _pattern(name: str) -> str:
    return _NUMBER.sub("N", name)


def _is_beyond(name: str, patterns: set[str]) -> bool:
    """Whether the same weight of another layer is there."""
    return _pattern(name) != name and _pattern(name) in patterns


def _is_ignored(name: str, model: PreTrainedModel) -> bool:
    known = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    return any(re.search(pattern, name) for pattern in known)


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _refused(directory: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{directory / 'config.json'} {problem}",
        "config.json and the weights are of two models, or one is damaged: fetch both again",
    )
