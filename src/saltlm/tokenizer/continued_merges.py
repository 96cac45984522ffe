"""More merges for a tokenizer, in the order of what each saves on a text.

Byte-pair merging goes on where the tokenizer's own has ended: again and again the two neighbouring
pieces that stand together most often become one. So every prefix of the result is a vocabulary, in
which each token is made of two that come before it.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from saltlm.tokenizer.insert import Merge


class Merged(NamedTuple):
    """A new token.

    Attributes:
        left: the piece that it begins with.
        right: the piece that follows.
        occurrences: how often the two stood together when merged: the pieces that it saves.
    """

    left: str
    right: str
    occurrences: int

    @property
    def token(self) -> str:
        """The token as the tokenizer spells it."""
        return self.left + self.right


def rank_merges(
    words: Mapping[tuple[str, ...], int],
    *,
    most: int,
    least: float,
    refused: Set[Merge] = frozenset(),
    is_allowed: Callable[[str, str], bool] = lambda left, right: True,
) -> list[Merged]:
    """Return the merges that save the most pieces, one after the other.

    Each pair is counted in the text as the merges before it have left it; of pairs that stand
    together equally often, the first in the order of their spelling is merged. No token is made in
    two ways.

    Args:
        words: what merges do not cross, cut into pieces -> how often it occurs.
        most: merges to make.
        least: occurrences of a pair; rarer ones are not merged.
        refused: pairs that are never merged.
        is_allowed: asked of a pair when its turn has come, after all merges before it.
    """
    pieces = [list(word) for word in words]
    weights = list(words.values())
    counts: Counter[Merge] = Counter()
    places: defaultdict[Merge, set[int]] = defaultdict(set)
    for place, word in enumerate(pieces):
        _count(word, weights[place], place, counts, places)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merged: list[Merged] = []
    made: set[str] = set()
    while queue and len(merged) < most:
        negative, pair = heapq.heappop(queue)
        count = counts[pair]
        if count != -negative:  # it has changed, and stands in the queue with its new count
            continue
        if count < max(least, 1):
            break
        if pair in refused or "".join(pair) in made or not is_allowed(*pair):
            continue
        merged.append(Merged(*pair, count))
        made.add("".join(pair))
        changed: set[Merge] = set()
        for place in places.pop(pair):
            word, weight = pieces[place], weights[place]
            for old in pairwise(word):
                counts[old] -= weight
                places[old].discard(place)
            changed.update(pairwise(word))
            pieces[place] = word = _join(word, pair)
            _count(word, weight, place, counts, places)
            changed.update(pairwise(word))
        for other in changed:
            if counts[other] > 0:
                heapq.heappush(queue, (-counts[other], other))
    return merged


def pairs_in(words: Iterable[Sequence[str]]) -> set[Merge]:
    """Return the neighbours in some words."""
    return {pair for word in words for pair in pairwise(word)}


def _count(
    word: Sequence[str],
    weight: int,
    place: int,
    counts: Counter[Merge],
    places: defaultdict[Merge, set[int]],
) -> None:
    for pair in pairwise(word):
        counts[pair] += weight
        places[pair].add(place)


def _join(word: Sequence[str], pair: Merge) -> list[str]:
    """Return a word with a pair merged wherever it stands, from the left."""
    joined: list[str] = []
    at = 0
    while at < len(word):
        is_pair = word[at] == pair[0] and at + 1 < len(word) and word[at + 1] == pair[1]
        joined.append(word[at] + word[at + 1] if is_pair else word[at])
        at += 1 + is_pair
    return joined
