"""Which tensors of a model grow with its vocabulary, by what its class builds.

The class is built twice on the meta device, the second time for a larger vocabulary. Whatever then
has another shape has a row for each token; neither names nor equal numbers deceive.
"""

import copy
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from saltlm.models.skeleton import build_skeleton

_STEP = 1024  # a multiple of what classes round a vocabulary up to

Growth = Literal["embedding", "head", "head_bias", "further_input", "further_head", "unknown"]


@dataclass(frozen=True)
class VocabularyTensor:
    """A tensor of the class that grows with the vocabulary.

    Attributes:
        kind: the embedding, the head, its bias, a further table of input or output rows, or
            something that no row can be made for.
        shape: that it has for the vocabulary at hand.
    """

    kind: Growth
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Built:
    """What a class builds.

    Attributes:
        model: without memory for its weights.
        grows: what grows with the vocabulary, by its name in the model.
    """

    model: PreTrainedModel
    grows: dict[str, VocabularyTensor]


def built_for(config: PreTrainedConfig, directory: Path) -> Built:
    """Return what the class of a model builds for its vocabulary.

    Args:
        config: of the model.
        directory: where it is from.

    Raises:
        CheckpointError: no class is known, or it cannot be built.
    """
    return _built(_Described(f"{type(config)}{config.to_json_string()}", config, directory))


@dataclass(frozen=True)
class _Described:
    """A configuration by its text, so that what it builds is built once."""

    text: str
    config: PreTrainedConfig = field(compare=False)
    directory: Path = field(compare=False)


@functools.lru_cache(maxsize=8)
def _built(described: _Described) -> Built:
    config, directory = described.config, described.directory
    model = build_skeleton(config, directory)
    larger = build_skeleton(_with_larger_vocabulary(config), directory).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    grown = [name for name, shape in shapes.items() if tuple(larger[name].shape) != shape]
    ends = _ends(model, grown)
    kinds = {name: ends.get(name) or _kind(model, name, shapes[name]) for name in grown}
    for name in grown:
        shape = shapes[name]
        if tuple(larger[name].shape) != (shape[0] + _STEP, *shape[1:]):
            kinds[name] = "unknown"
    return Built(model, {name: VocabularyTensor(kinds[name], shapes[name]) for name in grown})


def _with_larger_vocabulary(config: PreTrainedConfig) -> PreTrainedConfig:
    config = copy.deepcopy(config)
    text = config.get_text_config()
    rows = text.vocab_size
    sections: list[Any] = [config]
    while sections:
        section = sections.pop()
        for key, value in list(vars(section).items()):
            if isinstance(value, PreTrainedConfig):
                sections.append(value)
            elif key.startswith("vocab_size") and (value == rows or (section is text and value)):
                setattr(section, key, value + _STEP)
    if text.vocab_size == rows:  # under another name
        text.vocab_size = rows + _STEP
    return config


def _ends(model: PreTrainedModel, grown: list[str]) -> dict[str, Growth]:
    """Return the names of embedding, head and its bias."""
    ends: dict[str, Growth] = {}
    of_parameter = {id(value): name for name, value in model.named_parameters()}
    modules: dict[Growth, Any] = {"embedding": model.get_input_embeddings()}
    if (head := model.get_output_embeddings()) is not None:
        modules["head"] = head
    if "head" not in modules:
        linear = [name for name in grown if isinstance(_owner(model, name), nn.Linear)]
        owners = {name.rpartition(".")[0] for name in linear}
        if len(owners) == 1:
            modules["head"] = model.get_submodule(owners.pop())
    for kind, module in modules.items():
        weight = getattr(module, "weight", None)
        if weight is not None:
            ends[of_parameter.get(id(weight), "")] = kind
    # A bias may be kept beside the layer, as in Reformer, or there as well, as in BERT.
    heads = [name for name, kind in ends.items() if kind == "head"]
    own = {name.removesuffix("weight") + "bias" for name in heads}
    for name in grown:
        block = name.removesuffix("bias")
        if block != name and any(head.startswith(block) for head in heads):
            is_main = name in own or own.isdisjoint(grown)
            ends[name] = "head_bias" if is_main else "further_head"
    return ends


def _owner(model: PreTrainedModel, name: str) -> nn.Module:
    owner: nn.Module = model.get_submodule(name.rpartition(".")[0])
    return owner


def _kind(model: PreTrainedModel, name: str, shape: tuple[int, ...]) -> Growth:
    """Return what a table beside the main ones is: of rows that are looked up, or multiplied."""
    if len(shape) == 2 and name.endswith(".weight"):
        owner = _owner(model, name)
        if isinstance(owner, nn.Embedding):
            return "further_input"
        if isinstance(owner, nn.Linear):
            return "further_head"
    return "unknown"
