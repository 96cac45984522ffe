"""The source's tokenizer with the PLM's tokens, and without those of its own that no text needs.

It is an extended one (see `saltlm.tokenizer.extend`), of which only tokens of the source are cut.
So it writes whatever the source can: bytes, letters, white space and control tokens all stay. And
the corpus and the kept texts are cut as the extended one cuts them: all that they use is there.

Other text like the kept one meets tokens that are gone, and is cut into their parts. Most likely to
be met is what a text has in another case or at another place in a word: of `` house``, ``House``.
How much longer other text becomes is foretold by leaving out a tenth of the kept text: what one
tenth alone uses is what other text would lack. First such variants, and then the source's earliest
tokens, its most frequent ones, are kept until the kept texts promise no more than was asked for.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import BYTE_FALLBACK, Definition
from saltlm.tokenizer.extend import Extension
from saltlm.tokenizer.prune import PrunedTokenizer, letters_of, prune_tokenizer
from saltlm.tokenizer.target import TargetTokenizer
from saltlm.tokenizer.vocabulary import HOLE, Vocabulary

logger = logging.getLogger(__name__)

_PARTS = 10  # of the kept text, of which each is left out once


@dataclass(frozen=True)
class SwapCounts:
    """What became of the source's tokens.

    Attributes:
        n_source: tokens that the source had.
        n_kept: of those, how many there still are.
        n_variants: of those, how many no text uses, but uses in another case, or at another place.
        n_earliest: of those, how many neither is true of: the source's earliest ones.
        expected_cost: how much longer a tenth of the kept text would become if only the other
            tenths were kept, as a share of its tokens.
    """

    n_source: int
    n_kept: int
    n_variants: int
    n_earliest: int
    expected_cost: float


@dataclass(frozen=True)
class Swap:
    """An extended tokenizer without the tokens of the source that no text needs.

    Attributes:
        target: the tokenizer, its ids without gaps.
        extended_ids: the id that each of its tokens has in the extended one.
        counts: for the record.
    """

    target: TargetTokenizer
    extended_ids: Int64[Tensor, " v"]
    counts: SwapCounts

    def record(self) -> dict[str, Any]:
        """Return the counts, for the manifest."""
        return asdict(self.counts)


def swap_tokenizer(
    extension: Extension,
    n_source: int,
    counts: Int64[Tensor, " v_x"],
    texts: Sequence[str],
    *,
    within: float,
    special: Iterable[str] = (),
) -> Swap:
    """Cut those tokens of the source from an extended tokenizer that no text needs.

    Args:
        extension: the extended tokenizer; its new tokens all stay.
        n_source: ids below this are the source's.
        counts: occurrences of each id in the corpus of the target language.
        texts: the kept ones, a document each.
        within: how much longer other text like these may become, as a share of its tokens.
        special: tokens to keep beside those that the tokenizer itself marks as special.
    """
    definition, vocabulary = extension.target.definition, extension.vocabulary
    is_token = torch.tensor([kind != HOLE for kind in vocabulary.kinds])
    special = {*special, *(token["content"] for token in definition.added)}

    def cut(stays: Bool[Tensor, " v_x"]) -> PrunedTokenizer:
        return prune_tokenizer(definition, (stays & is_token).long(), special=special)

    is_new = torch.arange(len(vocabulary)) >= n_source
    stays = is_new | (counts > 0) | _indispensable(definition, vocabulary)
    occurrences, n_parts = _count(definition.tokenizer, texts, len(vocabulary))
    total = int(occurrences.sum())

    def spared(stays: Bool[Tensor, " v_x"]) -> tuple[Bool[Tensor, " v_x"], float]:
        """Return which of the source's earliest tokens have to stay, and what the rest may cost."""
        once = (~stays & (n_parts == 1)).nonzero().squeeze(1)
        tokenizer = cut(stays | (n_parts > 1)).tokenizer
        pieces = _pieces(tokenizer, [vocabulary.strings[id] for id in once.tolist()])
        n_first, cost = _earliest(once, occurrences[once] * (pieces - 1), within * total)
        return torch.arange(len(vocabulary)) < n_first, cost

    is_used, is_variant = stays | (n_parts > 0), torch.zeros_like(stays)
    is_early, cost = spared(stays)
    if is_early.any():
        variants = _variants(vocabulary, n_source)
        is_variant = variants((counts > 0) | (n_parts > 0)) & is_token & ~is_used
        is_early, cost = spared(stays | variants((counts > 0) | (n_parts > 1)))
    is_early &= is_token & ~is_used & ~is_variant
    pruned = cut(is_used | is_variant | is_early)
    result = Swap(
        target=extension.target.selected(pruned.definition, pruned.kept),
        extended_ids=pruned.kept,
        counts=SwapCounts(
            n_source=int(is_token[:n_source].sum()),
            n_kept=int((pruned.kept < n_source).sum()),
            n_variants=int(is_variant.sum()),
            n_earliest=int(is_early.sum()),
            expected_cost=cost / max(1, total),
        ),
    )
    logger.debug("swapped vocabulary: %s", result.record())
    return result


def _count(
    tokenizer: Tokenizer, texts: Sequence[str], size: int
) -> tuple[Int64[Tensor, " v_x"], Int64[Tensor, " v_x"]]:
    """Return how often each id occurs in the texts, and in how many tenths of them."""
    occurrences, n_parts = torch.zeros(2, size, dtype=torch.int64)
    for part in range(_PARTS):
        first, last = (len(texts) * end // _PARTS for end in (part, part + 1))
        found = count_tokens(tokenizer, texts[first:last], n_rows=size)
        occurrences += found
        n_parts += found > 0
    return occurrences, n_parts


def _indispensable(definition: Definition, vocabulary: Vocabulary) -> Bool[Tensor, " v_x"]:
    """Return which tokens text could not be written without, or which texts in files do not show.

    White space is not shown: a document of a corpus has none around it, and seldom any tabs or
    indentation within. Where bytes do not spell what has no token, letters have to.
    """
    needed = set() if _spells_bytes(definition) else letters_of(definition, definition.ids)
    return torch.tensor(
        [
            string in needed or (form is not None and not form.text.strip())
            for string, form in zip(vocabulary.strings, vocabulary.forms, strict=True)
        ]
    )


def _variants(
    vocabulary: Vocabulary, n_source: int
) -> Callable[[Bool[Tensor, " v_x"]], Bool[Tensor, " v_x"]]:
    """Return what adds to some tokens those of the source with another case, or another place."""
    texts = [
        None if form is None else form.text.decode(errors="replace").casefold()
        for form in vocabulary.forms[:n_source]
    ]

    def added(used: Bool[Tensor, " v_x"]) -> Bool[Tensor, " v_x"]:
        known = {text for text, is_used in zip(texts, used.tolist(), strict=False) if is_used}
        of_source = [text is not None and text in known for text in texts]
        return used | torch.tensor([*of_source, *[False] * (len(vocabulary) - n_source)])

    return added


def _spells_bytes(definition: Definition) -> bool:
    spelled = definition.has_byte_fallback and definition.ids.keys() >= {*BYTE_FALLBACK}
    return spelled or definition.spells_everything


def _pieces(tokenizer: Tokenizer, spellings: Iterable[str]) -> Int64[Tensor, " n"]:
    """Return how many tokens take the place of each."""
    pieces = [len(tokenizer.model.tokenize(spelling)) for spelling in spellings]
    return torch.tensor(pieces, dtype=torch.int64)


def _earliest(
    ids: Int64[Tensor, " n"], costs: Int64[Tensor, " n"], allowed: float
) -> tuple[int, float]:
    """Return below which id all tokens are kept, so that the others cost no more, and the cost."""
    ids, order = ids.sort(descending=True)
    total = costs[order].cumsum(0)
    n_cut = int((total <= allowed).sum())
    n_first = int(ids[n_cut]) + 1 if n_cut < len(ids) else 0
    return n_first, float(total[n_cut - 1]) if n_cut else 0.0


def swap_notes(counts: dict[str, Any]) -> Iterator[str]:
    """Say in words what a record of `Swap` holds."""
    n_cut = counts["n_source"] - counts["n_kept"]
    yield (
        f"{n_cut:,} of the source's {counts['n_source']:,} tokens are cut: neither the corpus nor "
        "the kept texts use them. These are cut into tokens as before; other text like the kept "
        f"one may take about {counts['expected_cost']:.1%} more"
    )
    if n_spare := counts["n_variants"] + counts["n_earliest"]:
        yield (
            f"{n_spare:,} of the tokens that stay are in no text either, but other text may have "
            f"them: {counts['n_variants']:,} in another case or without the space of one that "
            f"is, and the source's {counts['n_earliest']:,} earliest of the others"
        )
