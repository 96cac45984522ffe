"""A tokenizer cut to the tokens that a corpus needs.

While every token that the corpus uses stays, cutting the others changes nothing about how the
corpus is cut into tokens: Unigram's best path, BPE's merges and WordPiece's longest match are all
still there.

Where more tokens are wanted than the corpus uses, the others are the PLM's most frequent ones
that look like the corpus: they serve other texts of the language, and of its neighbours.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from saltlm.errors import VocabularyError
from saltlm.tokenizer.bpe import Ranks, apply_merges, merge_ranks
from saltlm.tokenizer.cut import keep_tokens
from saltlm.tokenizer.definition import BYTE_FALLBACK, Definition
from saltlm.tokenizer.renumber import renumbered_processor


@dataclass(frozen=True)
class PrunedTokenizer:
    """A smaller tokenizer, and where its tokens were.

    Attributes:
        definition: of the new one; the tokens keep their order.
        kept: the PLM's id of each new id.
        n_used: how many of them the corpus needs; the others fill up the size that was asked for.
    """

    definition: Definition
    kept: Int64[Tensor, " v"]
    n_used: int

    @property
    def tokenizer(self) -> Tokenizer:
        """The new tokenizer."""
        return self.definition.tokenizer


def prune_tokenizer(
    definition: Definition,
    counts: Int64[Tensor, " v"],
    *,
    size: int | None = None,
    special: Iterable[str] = (),
) -> PrunedTokenizer:
    """Return the tokenizer with the most frequent tokens only.

    With them stay the special tokens, the letters of every token that occurs, so that no text of
    the corpus becomes unknown, the bytes that stand for all other letters, and what a kept token of
    a BPE is merged from. When all that occurs is in, those follow that look like it, in the PLM's
    order, which is that of their frequency in what it was trained on.

    Args:
        definition: of a BPE, Unigram or WordPiece tokenizer.
        counts: occurrences of each id in the corpus, from `count_tokens`.
        size: tokens to keep, fewer only if no others look like those that occur; None keeps every
            token that occurs.
        special: tokens to keep beside those that the tokenizer itself marks as special.

    Raises:
        VocabularyError: ``size`` is too small for what has to stay.
    """
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    strings = {id: token for token, id in definition.ids.items()}
    used = [strings[id] for id in order.tolist()]
    specials = _special_tokens(definition, special)
    kept = specials | letters_of(definition, used)
    if size is not None and size < len(kept):
        raise VocabularyError(
            f"{size:,} tokens cannot hold what has to stay: {len(specials)} special tokens and "
            f"{len(kept) - len(specials)} letters and bytes",
            f"prune to {len(kept)} tokens or more",
        )
    merges = merge_ranks(definition)

    def keep(tokens: Iterable[str]) -> None:
        for token in tokens:
            if len(kept) == size:
                break
            needed = {token, *_merged_from(token, merges, definition)} - kept
            if size is None or len(kept) + len(needed) <= size:
                kept.update(needed)

    keep(used)
    n_used = len(kept)
    if size is not None and n_used < size:
        keep(_alike(definition, used, kept))
    pruned, old = _cut(definition, kept)
    return PrunedTokenizer(Definition.of(pruned.build()), old, n_used)


def without_pieces(definition: Definition, going: Set[str]) -> Definition:
    """Return a tokenizer without some pieces, of which none leads to one that stays."""
    return _cut(definition, definition.ids.keys() - going)[0]


def _alike(definition: Definition, used: Iterable[str], kept: Collection[str]) -> Iterator[str]:
    """Yield the pieces beside the kept ones that look like the used ones, in the order of ids.

    All their pairs of letters occur in used pieces. A single letter is one of theirs in the other
    case or with other accents: a text that has it would be unknown without.
    """
    prefix, suffix = definition.prefix, definition.suffix
    stems = {piece.removeprefix(prefix).removesuffix(suffix) for piece in used}
    pairs = {pair for stem in stems for pair in pairwise(stem)}
    letters = {_base(letter) for stem in stems for letter in stem}
    for piece in definition.pieces.values():
        stem = piece.removeprefix(prefix).removesuffix(suffix)
        looks_alike = pairs.issuperset(pairwise(stem)) if len(stem) > 1 else _base(stem) in letters
        if looks_alike and piece not in kept:
            yield piece


def _base(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[:1].casefold()


def _special_tokens(definition: Definition, special: Iterable[str]) -> set[str]:
    """Return what is no text: tokens marked special, put around texts, unknown, or named so."""
    framing = _framing_tokens(definition)
    return {*definition.ids} & {*special, *definition.specials, *framing, definition.unknown}


def _framing_tokens(definition: Definition) -> Iterator[str]:
    """Yield the tokens that a definition puts around texts."""
    for step in definition.post_processor_steps:
        for token in step.get("special_tokens", {}).values():
            yield from token["tokens"]
        yield from (step[end][0] for end in ("cls", "sep") if end in step)


def letters_of(definition: Definition, used: Iterable[str]) -> set[str]:
    """Return the pieces that spell any used token, and any other text as far as there are bytes.

    A token whose letters are no pieces themselves cannot be spelled: it stands for itself.
    """
    pieces = {*definition.pieces.values()}
    letters: set[str] = set()
    for token in pieces.intersection(used):
        spelling = set(_spell(token, definition))
        letters |= spelling if spelling <= pieces else {token}
    if definition.is_byte_level:
        letters |= pieces.intersection(ByteLevel.alphabet())
    if definition.has_byte_fallback:
        letters |= pieces.intersection(BYTE_FALLBACK)
    return letters


def _spell(piece: str, definition: Definition) -> list[str]:
    """Return the pieces of one character that a piece consists of."""
    prefix, suffix = definition.prefix, definition.suffix
    stem = piece.removeprefix(prefix)
    continues = stem != piece
    letters = list(stem.removesuffix(suffix))
    if letters and suffix and stem.endswith(suffix):
        letters[-1] += suffix
    return [prefix + char if at or continues else char for at, char in enumerate(letters)]


def _merged_from(token: str, ranks: Ranks, definition: Definition) -> list[str]:
    """Return every piece that BPE goes through when it builds a token, its letters included.

    Merges that a text has executed lie within its tokens, each as if the token stood alone. So
    with these pieces kept, the token is built wherever it was. Nothing if merges do not build it.
    """
    if not ranks:
        return []
    pieces = _spell(token, definition)
    passed = [*pieces, *apply_merges(pieces, ranks, definition.prefix)]
    return passed if len(pieces) == 1 else []


def _cut(definition: Definition, kept: Set[str]) -> tuple[Definition, Int64[Tensor, " v"]]:
    """Return the tokenizer with the kept tokens only, and the old id of each."""
    prefix = definition.prefix
    if "merges" in definition.model:
        merges = definition.model["merges"]
        definition = definition.with_model(
            merges=[[a, b] for a, b in merges if {a, b, a + b.removeprefix(prefix)} <= kept]
        )
    definition, tokens = keep_tokens(definition, definition.ids.keys() - kept, definition.unknown)
    ids = {token: id for id, (token, _) in enumerate(tokens)}
    pruned = definition.replace(
        added_tokens=[{**token, "id": ids[token["content"]]} for token in definition.added],
        post_processor=renumbered_processor(definition.json["post_processor"], ids),
    ).unbounded()
    return pruned, torch.tensor([old for _, old in tokens], dtype=torch.int64)
