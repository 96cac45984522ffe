"""What comes after up to four tokens, counted in a text: a language model that is made in seconds.

Interpolated Kneser-Ney with three discounts a level (Chen and Goodman 1999, "modified"). An n-gram
of the highest order counts how often it occurs; a shorter one counts its different predecessors,
and the places where a document begins with it (the first token of a document alone is not counted:
nothing foretells it). With c(h w) that count, D(c) the discount of a count, T(h) the sum over w of
c(h w), and h' the context h without its first token,

    p(w | h) = (c(h w) - D(c(h w))) / T(h)  +  S(h) / T(h) p(w | h'),

    S(h) = sum over w of D(c(h w)),

down to the uniform distribution. Where the text that is read is the text that was counted, a place
would foretell itself. So it is left out: `left_out` says by how much its counts were less
without it. That is exact but for the discounts, which stay as they are, and where a sequence begins
inside a document: there a shorter n-gram always loses a predecessor.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

ORDER = 5  # tokens in the longest n-grams
_FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small to have counts of counts


@dataclass(frozen=True)
class NgramLevel:
    """All n-grams of one order, sorted by their context and then by their last token.

    Attributes:
        keys: id of the context, an n-gram of the order below, times vocabulary plus last token.
        occurrences: how often it occurs.
        count: occurrences, or different predecessors.
        kept: count less its discount.
        first: of each context, its first n-gram here; and the number of all.
        total: T of each context.
        discounted: S of each context.
        discounts: of the counts 0, 1, 2, and 3 or more.
    """

    keys: Int64[Tensor, " n"]
    occurrences: Int32[Tensor, " n"]
    count: Int32[Tensor, " n"]
    kept: Float[Tensor, " n"]
    first: Int64[Tensor, " c1"]
    total: Float[Tensor, " c"]
    discounted: Float[Tensor, " c"]
    discounts: Float[Tensor, "4"]


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of a text.

    Attributes:
        n_ids: number of tokens in the vocabulary.
        levels: of order 1, 2, and so on; the only context of order 1 is the empty one.
    """

    n_ids: int
    levels: tuple[NgramLevel, ...]

    def to(self, device: torch.device) -> "Ngrams":
        """Return the same on a device."""
        levels = tuple(
            replace(level, **{f.name: getattr(level, f.name).to(device) for f in fields(level)})
            for level in self.levels
        )
        return replace(self, levels=levels)


class Mixed(NamedTuple):
    """The distribution at each of some places, as a sum over the orders.

    Attributes:
        uniform: what every token has at a place.
        weight: of each order at a place, for what is kept of its n-grams' counts.
        context: of each order at a place.
        left_out: what is to be taken off the token that comes, so that the place is not counted.
    """

    uniform: Float[Tensor, " p"]
    weight: Float[Tensor, "o p"]
    context: Int64[Tensor, "o p"]
    left_out: Float[Tensor, " p"]


def count_ngrams(
    tokens: Int64[Tensor, " n"], positions: Int64[Tensor, " n"], n_ids: int, order: int = ORDER
) -> Ngrams:
    """Count the n-grams of some documents.

    Args:
        tokens: of all documents, one after the other.
        positions: of each token in its document.
        n_ids: all tokens are below this.
        order: tokens in the longest n-grams.
    """
    ending = tokens  # the n-gram that ends at each token; of order 1 its id is the token
    keys = torch.arange(n_ids)
    occurrences = torch.bincount(tokens, minlength=n_ids)
    levels: list[NgramLevel] = []
    for n in range(1, order + 1):
        begins = (positions == n - 1) & (n > 1)  # with nothing before it
        predecessors = torch.bincount(ending[begins], minlength=len(keys))
        is_longer = positions >= n
        if n < order:
            longer = _shifted(ending)[is_longer] * n_ids + tokens[is_longer]
            next_keys, number, next_occurrences = longer.unique(
                return_inverse=True, return_counts=True
            )
            suffix = torch.empty_like(next_keys)
            suffix[number] = ending[is_longer]
            predecessors += torch.bincount(suffix, minlength=len(keys))
        n_contexts = 1 if n == 1 else len(levels[-1].keys)
        count = predecessors if n < order else occurrences
        levels.append(_level(keys, occurrences, count, n_contexts, n_ids))
        if n < order and len(next_keys):
            ending = torch.full_like(tokens, -1)
            ending[is_longer] = number
            keys, occurrences = next_keys, next_occurrences
        else:
            break
    return Ngrams(n_ids, tuple(levels))


def _shifted(ending: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return what ends at the token before each."""
    return torch.cat([ending.new_full((1,), -1), ending])[:-1]


def _level(
    keys: Int64[Tensor, " n"],
    occurrences: Int64[Tensor, " n"],
    count: Int64[Tensor, " n"],
    n_contexts: int,
    n_ids: int,
) -> NgramLevel:
    discounts = _discounts(count)
    discount = discounts[count.clamp(max=3)]
    context = keys // n_ids

    def summed(values: Tensor) -> Tensor:
        sums = torch.zeros(n_contexts, dtype=torch.float64)
        return sums.index_add_(0, context, values.double()).float()

    return NgramLevel(
        keys=keys,
        occurrences=occurrences.int(),
        count=count.int(),
        kept=(count.double() - discount).float(),
        first=torch.searchsorted(keys, torch.arange(n_contexts + 1) * n_ids),
        total=summed(count),
        discounted=summed(discount),
        discounts=discounts.float(),
    )


def _discounts(count: Int64[Tensor, " n"]) -> Float[Tensor, "4"]:
    """Return the discounts of the counts 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (int((count == c).sum()) for c in (1, 2, 3, 4))
    found = _FALLBACK
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return torch.tensor([0.0, *(min(max(d, 0.0), c) for c, d in enumerate(found, 1))]).double()


def mixed(
    ngrams: Ngrams,
    ids: Int64[Tensor, "b t1"],
    positions: Int64[Tensor, "b t"],
    is_counted: Bool[Tensor, "b t"],
) -> Mixed:
    """Return the distribution behind each token of some sequences, each counted place left out.

    Args:
        ngrams: of a text, on the device of the sequences.
        ids: the tokens of each sequence and the one after it.
        positions: of each token in its document; contexts do not reach into the one before.
        is_counted: whether the n-grams that end at the token after each were counted there.
    """
    context = _contexts(ngrams, ids[:, :-1], positions)
    target = ids[:, 1:]
    came = [
        _find(level, here, target, ngrams.n_ids)
        for level, here in zip(ngrams.levels, context, strict=True)
    ]
    rest = torch.ones(target.shape, device=ids.device)
    left_out = torch.zeros_like(rest)
    weights = []
    for n in reversed(range(len(ngrams.levels))):
        level, here, entry = ngrams.levels[n], context[n], came[n]
        is_known = here >= 0
        total = torch.where(is_known, level.total[here.clamp(min=0)], 0)
        discounted = torch.where(is_known, level.discounted[here.clamp(min=0)], 0)
        count = torch.where(entry >= 0, level.count[entry.clamp(min=0)], 0).long()
        gone = (count > 0) & is_counted
        if n + 1 < len(ngrams.levels):
            # A shorter n-gram loses this predecessor if nowhere else it stands before it.
            longer, at = came[n + 1], ngrams.levels[n + 1]
            is_only = at.occurrences[longer.clamp(min=0)] == 1
            gone &= (positions == n - 1) | ((longer >= 0) & is_only)
        count_left = count - gone.long()
        discount, discount_left = (level.discounts[c.clamp(max=3)] for c in (count, count_left))
        total = total - gone.long()
        discounted = discounted - discount + discount_left
        is_used = total > 0
        weight = torch.where(is_used, rest / total, 0)
        left_out += weight * (count - discount - (count_left - discount_left))
        rest = torch.where(is_used, rest * discounted / total, rest)
        weights.append(weight.flatten())
    return Mixed(
        uniform=rest.flatten() / ngrams.n_ids,
        weight=torch.stack(weights[::-1]),
        context=torch.stack([here.clamp(min=0).flatten() for here in context]),
        left_out=left_out.flatten(),
    )


def _contexts(
    ngrams: Ngrams, ids: Int64[Tensor, "b t"], positions: Int64[Tensor, "b t"]
) -> list[Int64[Tensor, "b t"]]:
    """Return of each order the context that ends at each token; -1 for one that never occurs."""
    found = [torch.zeros_like(ids), ids]
    for n in range(2, len(ngrams.levels)):
        before = torch.cat([torch.full_like(ids[:, :1], -1), found[-1][:, :-1]], 1)
        before = torch.where(positions >= n - 1, before, -1)
        found.append(_find(ngrams.levels[n - 1], before, ids, ngrams.n_ids))
    return found[: len(ngrams.levels)]


def _find(
    level: NgramLevel, context: Int64[Tensor, "b t"], token: Int64[Tensor, "b t"], n_ids: int
) -> Int64[Tensor, "b t"]:
    """Return the n-gram of a context and a token, -1 where it does not occur."""
    if not len(level.keys):
        return torch.full_like(context, -1)
    wanted = context * n_ids + token
    place = torch.searchsorted(level.keys, wanted).clamp(max=len(level.keys) - 1)
    return torch.where((context >= 0) & (level.keys[place] == wanted), place, -1)


def subtract(
    ngrams: Ngrams,
    places: Mixed,
    share: Float[Tensor, " p"],
    target: Int64[Tensor, " p"],
    out: Float[Tensor, "p v"],
) -> None:
    """Take a share of the distribution at each place off a row, in place.

    Args:
        ngrams: of a text.
        places: what `mixed` has found.
        share: of the distribution, at each place.
        target: the token that came.
        out: the rows.
    """
    weight = (places.weight * share).to(out.dtype)
    of_text = out[:, : ngrams.n_ids]
    of_text.sub_((places.uniform * share).unsqueeze(1))
    of_text.addr_(weight[0], ngrams.levels[0].kept.to(out.dtype), alpha=-1)
    flat = out.view(-1)
    row = torch.arange(len(out), device=out.device)
    for level, at, context in zip(ngrams.levels[1:], weight[1:], places.context[1:], strict=True):
        begin = level.first[context]
        n = torch.where(at > 0, level.first[context + 1] - begin, 0)
        of_row = row.repeat_interleave(n)
        ngram = torch.arange(len(of_row), device=out.device) + (begin - n.cumsum(0) + n)[of_row]
        place = of_row * out.shape[1] + level.keys[ngram] % ngrams.n_ids
        flat.index_add_(0, place, level.kept[ngram] * at[of_row], alpha=-1)
    out[row, target] += places.left_out * share
