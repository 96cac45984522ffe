"""Which sequence comes when: sources mixed by share, each shuffled anew in every epoch.

The order of a run is a function of the seed and the sources alone, so the place in it is one
number: how many sequences came before. It does not depend on the run's length or on how many
devices read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.packing import PackedText, bytes_before, positions, sequence
from saltlm.errors import DataError


@dataclass(frozen=True)
class Mixture:
    """Sources and the order of their sequences.

    Attributes:
        packed: the sources.
        shares: share of each in the training tokens; they sum to 1.
        length: tokens in a sequence.
        seed: of the shuffling.
        source: of each sequence of the run, an index into ``packed``.
        rank: how many sequences of the same source came before.
    """

    packed: tuple[PackedText, ...]
    shares: tuple[float, ...]
    length: int
    seed: int
    source: Int64[np.ndarray, " n"]
    rank: Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Batch:
    """Some consecutive sequences of a run.

    Attributes:
        ids: the tokens of each sequence and the one after it.
        positions: of each token in its document.
        sources: of each sequence, an index into the packed texts.
        begins: place of its first token in that text.
    """

    ids: Int64[Tensor, "b t1"]
    positions: Int64[Tensor, "b t"]
    sources: Int64[Tensor, " b"]
    begins: Int64[Tensor, " b"]

    def part(self, which: slice) -> "Batch":
        """Return some of the sequences."""
        return Batch(*(getattr(self, field.name)[which] for field in fields(self)))

    def to(self, device: torch.device) -> "Batch":
        """Return the same on a device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


def check_texts(packed: Sequence[PackedText], config: AdaptConfig) -> None:
    """Refuse a source that has not one sequence.

    Raises:
        DataError: naming the source and its size.
    """
    length = config.sequence_length
    for text in packed:
        if not text.n_sequences(length):
            most = len(text.tokens) - 1
            shorter = config.sequences_of(max(min(8, most), most // 4))
            raise DataError(
                f"{text.name} has {len(text.tokens)} tokens, fewer than one sequence of {length}",
                f"give more text{f', or shorter sequences: {shorter}' if most > 1 else ''}",
            )


def mix(
    packed: Sequence[PackedText],
    wanted: Mapping[str, float | None],
    *,
    n_sequences: int,
    length: int,
    seed: int,
) -> Mixture:
    """Return the order of a run.

    Args:
        packed: the sources.
        wanted: share of each by name, or None for its part of the rest, by size; they sum to 1.
        n_sequences: length of the run.
        length: tokens in a sequence.
        seed: of the shuffling.
    """
    shares = _shares([len(text.tokens) for text in packed], [wanted[text.name] for text in packed])
    source, rank = interleave(shares, n_sequences)
    return Mixture(tuple(packed), shares, length, seed, source, rank)


def interleave(
    shares: Sequence[float], n: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return the source of each of n sequences, and its rank within that source.

    The j-th sequence of a source with share s comes at time (j + 1/2) / s, so that every stretch
    of the run has nearly the right mixture, and a longer run begins like a shorter one.
    """
    # One more than a source can have before time n, so that rounding leaves no gap at the end.
    counts = [int(share * n) + 2 if share else 0 for share in shares]
    source = np.repeat(np.arange(len(shares)), counts)
    rank = np.concatenate([np.arange(count) for count in counts])
    time = (rank + 0.5) / np.repeat(shares, counts)
    order = np.argsort(time, kind="stable")[:n]
    return source[order], rank[order]


def read_batch(mixture: Mixture, first: int, count: int) -> Batch:
    """Return sequences ``first`` to ``first + count - 1`` of the run."""
    located = [_locate(mixture, number) for number in range(first, first + count)]
    ids = [sequence(text, place, mixture.length) for text, place in located]
    places = [positions(text, place, mixture.length) for text, place in located]
    return Batch(
        ids=torch.from_numpy(np.stack(ids)),
        positions=torch.from_numpy(np.stack(places)),
        sources=torch.from_numpy(mixture.source[first : first + count]),
        begins=torch.tensor([place * mixture.length for _, place in located]),
    )


def count_bytes(mixture: Mixture, first: int, count: int) -> float:
    """Return the bytes of raw text in sequences ``first`` to ``first + count - 1``."""
    total = 0.0
    for number in range(first, first + count):
        text, place = _locate(mixture, number)
        begin = place * mixture.length
        total += bytes_before(text, begin + mixture.length) - bytes_before(text, begin)
    return total


def describe(mixture: Mixture, first: int, count: int) -> str:
    """Return where the sequences of a batch come from, for a message."""
    places: dict[str, list[int]] = {}
    for number in range(first, first + count):
        text, place = _locate(mixture, number)
        places.setdefault(text.name, []).append(place)
    return "; ".join(
        f"{name}: {', '.join(map(str, sorted(numbers)[:8]))}{' ...' * (len(numbers) > 8)}"
        for name, numbers in places.items()
    )


def _locate(mixture: Mixture, number: int) -> tuple[PackedText, int]:
    source, rank = int(mixture.source[number]), int(mixture.rank[number])
    text = mixture.packed[source]
    n = text.n_sequences(mixture.length)
    return text, int(epoch_order(n, mixture.seed, source, rank // n)[rank % n])


@lru_cache(maxsize=16)
def epoch_order(n: int, seed: int, source: int, epoch: int) -> Int64[np.ndarray, " n"]:
    """Return the order in which a source's sequences come in an epoch: a permutation."""
    return np.random.default_rng([seed, source, epoch]).permutation(n)


def _shares(sizes: Sequence[int], wanted: Sequence[float | None]) -> tuple[float, ...]:
    given = sum(share or 0.0 for share in wanted)
    rest = sum(size for size, share in zip(sizes, wanted, strict=True) if share is None)
    shares = [
        (1 - given) * size / rest if share is None else share
        for size, share in zip(sizes, wanted, strict=True)
    ]
    return tuple(shares)
