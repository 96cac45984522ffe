"""A tokenizer's definition, as ``tokenizer.json`` holds it: its parts, and taking tokens out."""

from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

Definition = dict[str, Any]


def steps(node: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a normalizer, pre-tokenizer or decoder, sequences unfolded."""
    if node is None:
        return
    if node["type"] != "Sequence":
        yield node
        return
    for children in ("normalizers", "pretokenizers", "decoders"):
        for child in node.get(children, ()):
            yield from steps(child)


def model_pieces(model: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield id and string of a model's vocabulary, as ``tokenizer.json`` holds it."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        yield from enumerate(piece for piece, _ in vocabulary)
    else:
        for piece, id in vocabulary.items():
            yield id, piece


def unknown_piece(model: Mapping[str, Any]) -> str | None:
    """Return the piece a model writes for what it cannot spell; None if it names none."""
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])
    piece: str | None = model.get("unk_token")
    return piece if piece in model["vocab"] else None


def is_byte_level(definition: Mapping[str, Any]) -> bool:
    """Tell whether a tokenizer's definition spells text in the byte alphabet."""
    return any(
        step["type"] == "ByteLevel"
        for part in ("normalizer", "pre_tokenizer")
        for step in steps(definition[part])
    )


def settle_unknown(
    definition: Definition, leaving: set[str], source_unknown: str | None
) -> tuple[str | None, set[str]]:
    """Decide which piece stands for what the model cannot spell; edits the definition.

    A model that has to have such a piece keeps it: in the name of the source's, if the source has
    one of its own, so that it can take the source's row.

    Args:
        definition: the PLM's.
        leaving: the PLM's special tokens that are to go.
        source_unknown: the source's unk piece.

    Returns:
        the piece, None if the model does without, and the tokens that still have to go.
    """
    model = definition["model"]
    own = unknown_piece(model)
    if own is None or own not in leaving:
        return own, leaving
    if _spells_everything(definition):
        model["unk_token"] = None
        return None, leaving
    unknown = source_unknown or own
    if unknown not in (piece for _, piece in model_pieces(model)):
        _rename(model, own, unknown)
    if model["type"] != "Unigram":
        model["unk_token"] = unknown
    return unknown, leaving - {unknown}


def _spells_everything(definition: Definition) -> bool:
    """Tell whether a BPE has a piece for every byte; other models ask for an unk all the same."""
    model = definition["model"]
    if model["type"] != "BPE":
        return False
    if is_byte_level(definition):
        return all(letter in model["vocab"] for letter in ByteLevel.alphabet())
    return bool(model["byte_fallback"]) and all(
        f"<0x{byte:02X}>" in model["vocab"] for byte in range(256)
    )


def _rename(model: Definition, old: str, new: str) -> None:
    if isinstance(model["vocab"], list):
        model["vocab"] = [
            [new if piece == old else piece, score] for piece, score in model["vocab"]
        ]
    else:
        model["vocab"] = {
            new if piece == old else piece: id for piece, id in model["vocab"].items()
        }


def keep_tokens(
    definition: Definition, leaving: set[str], unknown: str | None
) -> list[tuple[str, int]]:
    """Take the leaving tokens out of a definition and close the gaps; edits it.

    Returns:
        the remaining tokens by new id, each with its old id.
    """
    model = definition["model"]
    removable = leaving
    if model["type"] == "BPE":
        merges = _reachable_merges(model, leaving)
        model["merges"] = [[a, b] for a, b, _ in merges]
        removable = leaving - {piece for merge in merges for piece in merge if piece in leaving}
    kept = [(piece, id) for id, piece in sorted(model_pieces(model)) if piece not in removable]
    ids = {piece: id for id, (piece, _) in enumerate(kept)}
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][id] for _, id in kept]
        model["unk_id"] = None if unknown is None else ids[unknown]
    else:
        model["vocab"] = ids
    added = [token for token in definition["added_tokens"] if token["content"] not in leaving]
    definition["added_tokens"] = added
    return kept + [
        (token["content"], token["id"]) for token in added if token["content"] not in ids
    ]


def _reachable_merges(model: Definition, leaving: set[str]) -> list[tuple[str, str, str]]:
    """Return the merges and their products, without those that only a leaving token leads to.

    A special token stands in a BPE's vocabulary as a whole; a merge that takes it as a part can
    never be applied, unless other merges build the same string: then it is a text piece as well.
    """
    prefix = model["continuing_subword_prefix"] or ""
    merges = [(a, b, a + b.removeprefix(prefix)) for a, b in model["merges"]]
    if all(leaving.isdisjoint(merge) for merge in merges):
        return merges
    reached = {piece for piece in model["vocab"] if len(piece.removeprefix(prefix)) == 1}
    size = 0
    while size != len(reached):
        size = len(reached)
        reached.update(product for a, b, product in merges if a in reached and b in reached)
    return [
        merge
        for merge in merges
        if leaving.isdisjoint(merge) or (merge[0] in reached and merge[1] in reached)
    ]
