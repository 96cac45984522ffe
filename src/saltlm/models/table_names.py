"""The names of a model's per-token tables: by what its class builds, or else by shape and words.

The words are for encoders, for layouts whose tensors the user names, and for classes that
transformers does not have. What has one row per token and is not understood is found either way:
left at its old size it would make the new model useless.
"""

import re
from dataclasses import dataclass, field

from transformers import PreTrainedConfig

from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import Checkpoint, TensorEntry
from saltlm.models.skeleton import class_of, in_order_of_rows, names_in_model
from saltlm.models.vocabulary_tensors import Built, built_for

FLOATING = ("F16", "BF16", "F32", "F64")
_HEAD = re.compile(r"head|decoder|predictions|logits|lm_loss|projector|pred_layer|(^|_)out")
_EMBEDDING = re.compile(r"emb(?!.*per_layer)|wte|shared|^w$")
_NOT_PER_TOKEN = re.compile(r"position|pos_emb|wpe|token_type|relative")


@dataclass
class TableNames:
    """The tensors of a checkpoint that have a row per token, by what they are.

    Attributes:
        embedding: one and the same table, or several.
        head: likewise.
        head_bias: likewise.
        further_input: tables beside the embedding whose rows are looked up by token.
        further_head: tables beside the head.
        unknown: what is not understood.
        rest: what holds the rest of the embedding, where it is stored in two tensors.
    """

    embedding: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    head_bias: list[str] = field(default_factory=list)
    further_input: list[str] = field(default_factory=list)
    further_head: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rest: str | None = None

    def of(self, kind: str) -> list[str]:
        """Return the names of one kind."""
        found: list[str] = getattr(self, kind)
        return found


def names_by_class(checkpoint: Checkpoint, config: PreTrainedConfig) -> TableNames | None:
    """Return the names by what the model's class builds; None if transformers has no such class.

    Tensors that the class has no place for, as those of layers that predict further tokens, go by
    their words.

    Raises:
        CheckpointError: the class cannot be built or has no one embedding, or a tensor has not the
            rows that it builds.
    """
    if class_of(config) is None:
        return None
    built = built_for(config, checkpoint.directory)
    places = names_in_model(built.model, checkpoint.tensors)
    names = TableNames()
    embedding = built.model.get_input_embeddings()
    if getattr(embedding, "weight", None) is None:
        raise CheckpointError(
            f"{checkpoint.directory} cannot be the SOURCE: {type(built.model).__name__} looks up"
            f" tokens in a {type(embedding).__name__}, not in one table",
            "use a language model that has one embedding",
        )
    width = embedding.weight.shape[1]
    sizes = {grown.shape[0] for grown in built.grows.values()}
    for entry in checkpoint.tensors.values():
        place = places.get(entry.name)
        if place is None:
            _put_by_words(names, entry, sizes, width)
        elif place in built.grows:
            grown = built.grows[place]
            parts = [name for name, other in places.items() if other == place]
            if len(parts) > 1 and entry.shape != grown.shape:
                _put_parts(names, checkpoint, built, place, parts)
                continue
            if entry.shape not in (grown.shape, (1, *grown.shape)):
                raise CheckpointError(
                    f"{entry.name} of {checkpoint.directory} has shape {list(entry.shape)}, but its"
                    f" config.json describes {list(grown.shape)}",
                    "put the number of rows of the embedding there as vocab_size",
                )
            names.of(grown.kind).append(entry.name)
    if not names.head_bias:  # one that is stored beside the layer only
        names.head_bias = [n for n in names.further_head if len(checkpoint.tensors[n].shape) == 1]
        names.further_head = [n for n in names.further_head if n not in names.head_bias]
    return names


def _put_parts(
    names: TableNames, checkpoint: Checkpoint, built: Built, place: str, parts: list[str]
) -> None:
    """Put down the two tensors of an embedding, as Molmo 2 has them.

    Raises:
        CheckpointError: they are not two whose rows make the embedding, one behind the other.
    """
    ordered, grown = in_order_of_rows(built.model, parts), built.grows[place]
    shapes = [checkpoint.tensors[name].shape for name in ordered]
    n_rows = sum(rows for rows, *_ in shapes)
    fits = {(n_rows, *width) for _, *width in shapes} == {grown.shape}
    if grown.kind != "embedding" or len(ordered) != 2 or not fits:
        raise CheckpointError(
            f"{checkpoint.directory} cannot be the SOURCE: one of its tables is stored in parts,"
            f" {' and '.join(sorted(parts)[:3])}",
            "use a model whose embedding and head are whole tensors",
        )
    names.embedding, names.rest = [ordered[0]], ordered[1]


def _put_by_words(names: TableNames, entry: TensorEntry, sizes: set[int], width: int) -> None:
    """Put a tensor that the class has no place for under what its name and shape say."""
    if sizes.isdisjoint(entry.shape) or _NOT_PER_TOKEN.search(entry.name):
        return
    role = _role(entry, max(entry.shape))
    is_table = entry.dtype in FLOATING and entry.shape[1:] == (width,)
    if role == "head_bias" and not names.head_bias:
        names.head_bias.append(entry.name)
    elif role in ("embedding", "head") and is_table:
        (names.further_input if role == "embedding" else names.further_head).append(entry.name)
    else:
        names.unknown.append(entry.name)


def names_by_words(checkpoint: Checkpoint, config: PreTrainedConfig, rows: int) -> TableNames:
    """Return the names of all tensors that seem to have one row per token."""
    text = config.get_text_config().to_dict()
    sizes = {rows} | {size for key, size in text.items() if key.startswith("vocab_size")}
    is_also_a_width = any(
        size == rows
        for key, size in text.items()
        if "vocab" not in key and not key.endswith(("token_id", "token_index"))
    )
    names = TableNames()
    for entry in checkpoint.tensors.values():
        if sizes.isdisjoint(entry.shape) or _NOT_PER_TOKEN.search(entry.name):
            continue
        is_layer_weight = entry.dtype in FLOATING and re.search(r"\.\d+\.", entry.name) is not None
        role = None if is_layer_weight and is_also_a_width else _role(entry, rows)
        if role is not None:
            names.of(role).append(entry.name)
        elif not (is_layer_weight or is_also_a_width):
            names.unknown.append(entry.name)
    return names


def _role(entry: TensorEntry, rows: int) -> str | None:
    path, _, kind = entry.name.rpartition(".")
    word = path.rpartition(".")[2] or kind
    if entry.shape in {(rows,), (1, rows)} and kind.endswith("bias") and _HEAD.search(word):
        return "head_bias"
    if len(entry.shape) == 2 and entry.shape[0] == rows:
        if _HEAD.search(word):
            return "head"
        if _EMBEDDING.search(word):
            return "embedding"
    return None
