"""A head of its own for a model whose head is its embedding."""

from dataclasses import replace

from transformers import PreTrainedConfig

from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import Checkpoint
from saltlm.models.skeleton import class_of, names_in_model
from saltlm.models.token_tables import Tables
from saltlm.models.vocabulary_tensors import built_for


def untie(
    checkpoint: Checkpoint, config: PreTrainedConfig, tables: Tables
) -> tuple[Checkpoint, Tables]:
    """Return weights and tables of a tied model as if its head had been stored on its own.

    A model that is not tied comes back as it is. Nothing is copied: the head's tensor lies where
    the embedding's does.

    Args:
        checkpoint: the model's weights.
        config: its configuration as loaded by transformers.
        tables: its tables.

    Raises:
        CheckpointError: it is not known under which name transformers looks for a head.
    """
    if not tables.is_tied:
        return checkpoint, tables
    names = tables.names["embedding"]
    head = _head_name(checkpoint, config, names[0])
    embedding = tuple(name for name in names if name != head)
    entry = replace(checkpoint.tensors[embedding[0]], name=head)
    # A head that is stored as a copy keeps its place; a new one stands behind the embedding.
    tensors = dict(checkpoint.tensors)
    tensors.setdefault(head, entry)
    untied = replace(
        tables,
        head=tables.embedding,
        names={**tables.names, "embedding": embedding, "head": (head,)},
        is_tied=False,
    )
    return replace(checkpoint, tensors=tensors), untied


def _head_name(checkpoint: Checkpoint, config: PreTrainedConfig, stored: str) -> str:
    """Return the name of the head's tensor in a checkpoint, by the embedding's name there.

    A checkpoint may put a prefix before the names of the text model, or leave out the base
    model's; transformers finds a head behind the same prefix, or at the top.
    """
    if class_of(config) is None:
        raise CheckpointError(
            f"transformers has no model of type {config.model_type} to look up its head's name in",
            "leave out --untie: one row for both sides",
        )
    built = built_for(config, checkpoint.directory)
    (place,) = [name for name, grown in built.grows.items() if grown.kind == "head"]
    parts, base = stored.split(".")[:-2], built.model.base_model_prefix
    prefixes = [parts[:n] for n in range(len(parts), 0, -1)]
    names = [".".join([*prefix, place]) for prefix in prefixes if prefix[-1] != base]
    found = names_in_model(built.model, names)
    return next((name for name in names if found.get(name) == place), place)
