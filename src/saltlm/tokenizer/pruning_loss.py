"""What pruning a tokenizer does to text, and whether every token that was kept is of use."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

from saltlm.tokenizer.counts import batches, encode_texts
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import TEXT, read_vocabulary


@dataclass(frozen=True)
class PruningLoss:
    """What pruning does to a corpus.

    Attributes:
        n_documents: lines of the corpus.
        n_changed: of those, how many do not come back as the whole one gives them back.
        tokens_before: tokens of the corpus before.
        tokens: tokens of the corpus after.
        resegmented: of the tokens before, how many are cut differently after.
        unknown_before: how many of them were unknown before.
        unknown: how many are unknown after.
        unreachable: kept pieces that the whole one can produce, and the pruned tokenizer cannot.
    """

    n_documents: int
    n_changed: int
    tokens_before: int
    tokens: int
    resegmented: int
    unknown_before: int
    unknown: int
    unreachable: tuple[str, ...]


def pruning_loss(whole: Definition, pruned: Definition, texts: Iterable[str]) -> PruningLoss:
    """Return what some texts lose by pruning, and check that every kept piece has a use."""
    n_documents = n_changed = resegmented = 0
    both = (whole, pruned)
    tokens, unknown = [0, 0], [0, 0]
    new_ids = {id: pruned.ids.get(token, -1) for token, id in whole.ids.items()}
    for batch in batches(texts, "compare tokenizers"):
        cut = [encode_texts(definition.tokenizer, batch) for definition in both]
        for i, definition in enumerate(both):
            tokens[i] += sum(map(len, cut[i]))
            unknown[i] += sum(document.count(definition.unknown_id) for document in cut[i])
        n_documents += len(batch)
        differing = [
            text
            for text, before, after in zip(batch, *cut, strict=True)
            if list(map(new_ids.__getitem__, before)) != after
        ]
        changed, elsewhere = _differences(both, differing)
        n_changed += changed
        resegmented += elsewhere
    return PruningLoss(
        n_documents=n_documents,
        n_changed=n_changed,
        tokens_before=tokens[0],
        tokens=tokens[1],
        resegmented=resegmented,
        unknown_before=unknown[0],
        unknown=unknown[1],
        unreachable=tuple(unreachable_pieces(whole, pruned)),
    )


def _differences(both: tuple[Definition, Definition], texts: list[str]) -> tuple[int, int]:
    """Return how many texts do not come back alike, and how many tokens are cut differently."""
    decoded, places = [], []
    for definition in both:
        encodings = definition.tokenizer.encode_batch(texts, add_special_tokens=False)
        decoded.append(definition.tokenizer.decode_batch([encoding.ids for encoding in encodings]))
        places.append([Counter(zip(e.tokens, e.offsets, strict=True)) for e in encodings])
    return (
        sum(before != after for before, after in zip(*decoded, strict=True)),
        sum((old - new).total() for old, new in zip(*places, strict=True)),
    )


def unreachable_pieces(whole: Definition, pruned: Definition) -> Iterator[str]:
    """Yield the pieces that the PLM's model makes of their own spelling, and the pruned not.

    Special tokens and bytes have no spelling, and count as reachable.
    """
    vocabulary = read_vocabulary(pruned)
    added = {token["content"] for token in pruned.added}
    pieces = [
        piece
        for piece, kind in zip(vocabulary.strings, vocabulary.kinds, strict=True)
        if kind == TEXT and piece not in added
    ]
    prefix = pruned.prefix
    # What continues a word has to stand behind a word's first letter.
    letters = [piece for piece in pieces if len(piece) == 1] if prefix else []
    for piece in pieces:
        continues = bool(prefix) and piece.startswith(prefix) and piece != prefix
        fronts = letters if continues else [""]
        stem = piece.removeprefix(prefix) if continues else piece
        if not _makes(pruned.tokenizer, piece, stem, fronts) and _makes(
            whole.tokenizer, piece, stem, fronts
        ):
            yield piece


def _makes(tokenizer: Tokenizer, piece: str, stem: str, fronts: Iterable[str]) -> bool:
    model = tokenizer.model
    expected = [[front, piece] if front else [piece] for front in fronts]
    return any(
        [token.value for token in model.tokenize(front + stem)] == pieces
        for front, pieces in zip(fronts, expected, strict=True)
    )
