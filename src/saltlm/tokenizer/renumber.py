"""A definition in which tokens have other ids."""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.tokenizer.definition import Definition, Step


def with_id(definition: Definition, token: int, id: int) -> tuple[Definition, Int64[Tensor, " v"]]:
    """Return a definition in which a token has another id; all others keep their order.

    A token that was added to the model's pieces becomes one of them.

    Args:
        definition: of a tokenizer whose ids have no gaps, as a new model's have none.
        token: its old id.
        id: its new id, that of a piece.

    Returns:
        The definition, and the old id of every token.
    """
    strings = {old: string for string, old in definition.ids.items()}
    order = [old for old in range(len(strings)) if old != token]
    order.insert(id, token)
    ids = {strings[old]: new for new, old in enumerate(order)}
    size = len({*definition.pieces, token})
    if definition.kind == "Unigram":
        scores = dict(definition.model["vocab"])
        scores.setdefault(strings[token], min(scores.values()))  # texts are searched for it before
        unknown = definition.unknown
        changed = definition.with_model(
            vocab=[[strings[old], scores[strings[old]]] for old in order[:size]],
            unk_id=None if unknown is None else ids[unknown],
        )
    else:
        changed = definition.with_model(
            vocab={strings[old]: ids[strings[old]] for old in order[:size]}
        )
    added = [{**entry, "id": ids[entry["content"]]} for entry in definition.added]
    changed = changed.replace(
        added_tokens=sorted(added, key=lambda entry: entry["id"]),
        post_processor=renumbered_processor(definition.json["post_processor"], ids),
    )
    return Definition.of(changed.build()), torch.tensor(order)


def renumbered_processor(processor: Step | None, ids: Mapping[str, int]) -> Step | None:
    """Return a post-processor with new ids where it repeats a token's id."""
    if processor is None:
        return None
    new = dict(processor)
    if "processors" in processor:
        new["processors"] = [renumbered_processor(child, ids) for child in processor["processors"]]
    if "special_tokens" in processor:
        new["special_tokens"] = {
            name: {**token, "ids": [ids[piece] for piece in token["tokens"]]}
            for name, token in processor["special_tokens"].items()
        }
    for end in ("cls", "sep"):
        if end in processor:
            new[end] = [processor[end][0], ids[processor[end][0]]]
    return new
