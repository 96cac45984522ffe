"""A definition without some of its tokens."""

from collections.abc import Set

from saltlm.tokenizer.definition import Definition

_Merge = tuple[str, str, str]


def settle_unknown(
    definition: Definition,
    leaving: Set[str],
    source_unknown: str | None,
    *,
    spells_everything: bool = False,
) -> tuple[Definition, Set[str]]:
    """Decide which piece stands for what the model cannot spell.

    A model that has to have such a piece keeps it: in the name of the source's, if the source has
    one of its own, so that it can take the source's row.

    Args:
        definition: the PLM's.
        leaving: the PLM's special tokens that are to go.
        source_unknown: the source's unk piece.
        spells_everything: whether the model will have a piece for every byte.

    Returns:
        the definition, which names that piece or none, and the tokens that still have to go.
    """
    own = definition.unknown
    if own is None or own not in leaving:
        return definition, leaving
    if definition.spells_everything or spells_everything:
        none = {"Unigram": {"unk_id": None}, "BPE": {"unk_token": None}}
        return definition.with_model(**none.get(definition.kind, {})), leaving
    unknown = source_unknown or own
    if unknown not in definition.pieces.values():
        definition = _rename(definition, own, unknown)
    if definition.kind != "Unigram":
        definition = definition.with_model(unk_token=unknown)
    return definition, leaving - {unknown}


def _rename(definition: Definition, old: str, new: str) -> Definition:
    vocab = definition.model["vocab"]
    if definition.kind == "Unigram":
        return definition.with_model(
            vocab=[[new if piece == old else piece, score] for piece, score in vocab]
        )
    return definition.with_model(
        vocab={new if piece == old else piece: id for piece, id in vocab.items()}
    )


def keep_tokens(
    definition: Definition, leaving: Set[str], unknown: str | None
) -> tuple[Definition, list[tuple[str, int]]]:
    """Take the leaving tokens out of a definition and close the gaps.

    Added tokens that stay bear their old ids: whoever adds others has to number them.

    Args:
        definition: of a BPE, Unigram or WordPiece tokenizer.
        leaving: pieces and added tokens that are to go.
        unknown: the piece that stands for what the model cannot spell, if it has one.

    Returns:
        the definition, and the remaining tokens by new id, each with its old id.
    """
    removable = leaving
    if definition.kind == "BPE":
        merges = _reachable_merges(definition, leaving)
        definition = definition.with_model(merges=[[a, b] for a, b, _ in merges])
        removable = leaving - {piece for merge in merges for piece in merge if piece in leaving}
    kept = [(piece, id) for id, piece in definition.pieces.items() if piece not in removable]
    ids = {piece: id for id, (piece, _) in enumerate(kept)}
    if definition.kind == "Unigram":
        vocab = definition.model["vocab"]
        definition = definition.with_model(
            vocab=[vocab[id] for _, id in kept], unk_id=None if unknown is None else ids[unknown]
        )
    else:
        definition = definition.with_model(vocab=ids)
    added = [token for token in definition.added if token["content"] not in leaving]
    kept += [(token["content"], token["id"]) for token in added if token["content"] not in ids]
    return definition.replace(added_tokens=added), kept


def _reachable_merges(definition: Definition, leaving: Set[str]) -> list[_Merge]:
    """Return the merges and their products, without those that only a leaving token leads to.

    A special token stands in a BPE's vocabulary as a whole; a merge that takes it as a part can
    never be applied, unless other merges build the same string: then it is a text piece as well.
    """
    prefix = definition.prefix
    merges = [(a, b, a + b.removeprefix(prefix)) for a, b in definition.model["merges"]]
    if all(leaving.isdisjoint(merge) for merge in merges):
        return merges
    reached = {
        piece
        for piece in definition.model["vocab"]
        if len(piece.removeprefix(prefix).removesuffix(definition.suffix)) == 1
    }
    size = 0
    while size != len(reached):
        size = len(reached)
        reached.update(product for a, b, product in merges if a in reached and b in reached)
    return [
        merge
        for merge in merges
        if leaving.isdisjoint(merge) or (merge[0] in reached and merge[1] in reached)
    ]


def without_merges(definition: Definition, dead: Set[str]) -> Definition:
    """Return a definition without the merges that lead to some pieces, so that they can go."""
    if definition.kind != "BPE":
        return definition
    merges = definition.model["merges"]
    prefix = definition.prefix
    return definition.with_model(
        merges=[[a, b] for a, b in merges if dead.isdisjoint((a, b, a + b.removeprefix(prefix)))]
    )
