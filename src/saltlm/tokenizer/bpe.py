"""Byte-pair merges, as a BPE model applies them."""

import math
from collections.abc import Mapping
from itertools import pairwise

from saltlm.tokenizer.definition import Definition

Ranks = Mapping[tuple[str, str], int]


def merge_ranks(definition: Definition) -> dict[tuple[str, str], int]:
    """Return the merges of its model with their ranks; nothing for models that do not merge."""
    return {(a, b): rank for rank, (a, b) in enumerate(definition.model.get("merges", ()))}


def apply_merges(pieces: list[str], ranks: Ranks, prefix: str = "") -> list[str]:
    """Merge neighbours, the lowest rank first, until no merge is left; edits ``pieces``.

    Args:
        pieces: of one word.
        ranks: the merges.
        prefix: what continues a word, in models that write it.

    Returns:
        every product, in the order in which they came about.
    """
    products = []
    while len(pieces) > 1:
        found = [ranks.get(pair, math.inf) for pair in pairwise(pieces)]
        if (lowest := min(found)) == math.inf:
            break
        at = found.index(lowest)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1].removeprefix(prefix)]
        products.append(pieces[at])
    return products
