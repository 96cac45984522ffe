"""New tokens inside the vocabulary of a BPE or Unigram model, behind all that it does by itself.

In a BPE the new merges rank below all old ones, so they start from what the old ones leave. A token
is merged from the tokens that its spelling is cut into by then, earlier new ones included; where
these do not add up to it in one step, what lies between becomes an intermediate token. As later
merges rank lower still, every token that was spliced in stays in reach.

In a Unigram model a new piece scores what the best cut of its spelling scores, and a trifle more
for every token it saves. So the best cut of a text is the old one, in as few tokens as the new
pieces allow, unless another old one comes within that trifle.

In both, a text in which no new token turns up is cut exactly as before.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from tokenizers.models import Model

from saltlm.tokenizer.bpe import apply_merges
from saltlm.tokenizer.definition import Definition

Merge = tuple[str, str]

# What a Unigram piece is worth per token that it saves. Scores are logarithms of probabilities;
# half a thousandth survives their storage in single precision.
_GAIN = 5e-4


@dataclass(frozen=True)
class Splice:
    """A definition with new tokens, and their spellings by id, behind the last old id."""

    definition: Definition
    added: tuple[str, ...]


def splice(
    definition: Definition,
    size: int,
    spellings: Iterable[str],
    banned: Set[str],
    cuts: dict[str, list[str]] | None = None,
    *,
    is_ranked: bool = False,
) -> Splice:
    """Return a definition with the new tokens that its model can be made to produce.

    Letters that the model does not know become tokens as well.

    Args:
        definition: of a BPE or Unigram tokenizer; it stays as it is.
        size: ids below this are taken.
        spellings: of the new tokens, as the model spells text.
        banned: spellings that must not become tokens.
        cuts: what the definition's model makes of spellings, as an earlier call found; filled.
        is_ranked: whether each of the spellings is made of two that come before it; else the
            shorter ones are made first.
    """
    known = {*definition.pieces.values()}
    taken = known | banned
    tokens = [
        token
        for token in sorted(dict.fromkeys(spellings), key=(lambda _: 0) if is_ranked else len)
        if token not in taken and banned.isdisjoint(token)
    ]
    letters = [letter for letter in dict.fromkeys("".join(tokens)) if letter not in known]
    if not tokens:
        return Splice(definition, ())
    spelled = _with_letters(definition, size, letters)
    if definition.kind == "Unigram":
        extended, new = _extend_unigram(spelled, _cuts(spelled, tokens, cuts))
    else:
        extended, new = _extend_bpe(spelled, _cuts(spelled, tokens, cuts), taken)
    return Splice(extended, (*letters, *new))


def _with_letters(definition: Definition, size: int, letters: Sequence[str]) -> Definition:
    """Return a definition whose model knows some letters, and its added tokens by their ids.

    Added tokens that the model does not know would move behind the new ones.
    """
    model = definition.model
    added = sorted((token["id"], token["content"]) for token in definition.added)
    if definition.kind == "Unigram":
        lowest = min(score for _, score in model["vocab"])
        behind = [[token, 0.0] for id, token in added if id >= len(model["vocab"])]
        vocab = [*model["vocab"], *behind, *([letter, lowest] for letter in letters)]
    else:
        vocab = {token: id for id, token in added} | model["vocab"]
        vocab |= {letter: size + place for place, letter in enumerate(letters)}
    return definition.with_model(vocab=vocab)


def bare_model(definition: Definition) -> Model:
    """Return a definition's model, which cuts text that is spelled as the model spells it."""
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    model: Model = definition.replace(**dict.fromkeys(parts), added_tokens=[]).build().model
    return model


def _cuts(
    definition: Definition, tokens: Iterable[str], known: dict[str, list[str]] | None
) -> dict[str, list[str]]:
    """Return what a definition's model makes of the spellings that it can spell.

    Those that are known already are taken as they are, since no other letter changes them.
    """
    known = {} if known is None else known
    if lacking := [token for token in tokens if token not in known]:
        model = bare_model(definition)
        known |= {token: [piece.value for piece in model.tokenize(token)] for token in lacking}
    return {token: [*known[token]] for token in tokens if "".join(known[token]) == token}


def _extend_unigram(
    definition: Definition, cuts: Mapping[str, list[str]]
) -> tuple[Definition, list[str]]:
    """Return a Unigram definition with some tokens that it cuts, and those that are new, by id."""
    model = definition.model
    scores = {piece: score for piece, score in model["vocab"]}
    new = [
        [token, sum(scores[piece] for piece in pieces) + _GAIN * (len(pieces) - 1)]
        for token, pieces in cuts.items()
        if token not in scores
    ]
    vocab = [*model["vocab"], *new]
    return definition.with_model(vocab=vocab), [token for token, _ in new]


def _extend_bpe(
    definition: Definition, cuts: Mapping[str, list[str]], taken: Set[str]
) -> tuple[Definition, list[str]]:
    """Return a BPE definition with some tokens that it cuts, and those that are new, by id."""
    model = definition.model
    ranks: dict[Merge, int] = {}
    made: dict[str, None] = {}
    for pieces in cuts.values():
        made.update(dict.fromkeys(_merge_into_one(pieces, ranks, made, taken)))
    first = 1 + max(model["vocab"].values())
    vocab = model["vocab"] | {token: first + place for place, token in enumerate(made)}
    merges = [*model["merges"], *ranks]
    return definition.with_model(vocab=vocab, merges=merges), list(made)


def _merge_into_one(
    pieces: list[str], ranks: dict[Merge, int], made: Collection[str], taken: Set[str]
) -> list[str]:
    """Add the merges that make one token of some pieces; none if a taken string is in the way.

    Of the ways to go on it takes one to a token that there is already, else from the end: the
    ends of words are fewer than their beginnings.

    Args:
        pieces: what the model makes of the token; edited.
        ranks: the new merges; edited.
        made: the new tokens.
        taken: what no merge may lead to.

    Returns:
        the products, the token last.
    """
    apply_merges(pieces, ranks)
    steps: list[Merge] = []
    while len(pieces) > 1:
        pairs = [pair for pair in pairwise(pieces) if "".join(pair) not in taken]
        if not pairs:
            for step in steps:
                del ranks[step]
            return []
        steps.append(next((pair for pair in pairs if "".join(pair) in made), pairs[-1]))
        ranks[steps[-1]] = len(ranks)
        apply_merges(pieces, ranks)
    return ["".join(step) for step in steps]
