"""A PLM cut to the tokens that a corpus needs: its tokenizer, and its rows.

A multilingual PLM spends most of its rows on other languages, and the new model would inherit them.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.definition import unknown_piece
from saltlm.directory import new_directory
from saltlm.pair import Side, check_ids, load_side
from saltlm.pruned_tokenizer import PrunedTokenizer, batches, count_tokens, encode, prune_tokenizer
from saltlm.record import environment, sha256, write_manifest
from saltlm.tables import per_token_tensors
from saltlm.target_tokenizer import own_tokenizer, save_tokenizer
from saltlm.text import check_corpus, documents
from saltlm.token_ids import read_json, renumber, set_vocabulary_size
from saltlm.tokens import TEXT, read_vocabulary
from saltlm.write import write_checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PruningLoss:
    """What pruning does to a corpus.

    Attributes:
        n_documents: lines of the corpus.
        n_changed: of those, how many do not come back as the donor gives them back.
        donor_tokens: tokens of the corpus before.
        tokens: tokens of the corpus after.
        donor_unknown: how many of them were unknown before.
        unknown: how many are unknown after.
        unreachable: kept pieces that the donor can produce, and the pruned tokenizer cannot.
    """

    n_documents: int
    n_changed: int
    donor_tokens: int
    tokens: int
    donor_unknown: int
    unknown: int
    unreachable: tuple[str, ...]


def prune_model(
    plm: str | Path,
    out: str | Path,
    corpus: Sequence[Path],
    *,
    size: int | None = None,
    force: bool = False,
) -> PruningLoss:
    """Write a PLM with the tokens that a corpus needs into a new directory.

    It loads in transformers as any other. ``saltlm/manifest.json`` in it says how it was made.

    Args:
        plm: Hub id or directory of the donor.
        out: the directory to make.
        corpus: text of the target language, one document a line.
        size: tokens to keep at most; None keeps every token that occurs.
        force: replace ``out`` if it exists.

    Returns:
        What the corpus loses.

    Raises:
        SaltlmError: the donor or the corpus cannot be read, ``size`` is too small, or ``out``
            cannot be written.
    """
    check_corpus(corpus)
    side = load_side(str(plm))
    tensors = per_token_tensors(side.checkpoint, side.config)
    n_rows = side.checkpoint.tensors[tensors[0]].shape[0]
    check_ids(side.name, side.tokenizer, n_rows)
    counts = count_tokens(side.tokenizer, documents(corpus))
    pruned = prune_tokenizer(side.tokenizer, counts, size=size, special=side.special.tokens)
    loss = pruning_loss(side.tokenizer, pruned.tokenizer, documents(corpus))
    per_row = sum(side.checkpoint.tensors[name].nbytes for name in tensors) // n_rows
    expected_bytes = side.checkpoint.nbytes - per_row * (n_rows - len(pruned.kept))
    with new_directory(Path(out), force=force, expected_bytes=expected_bytes) as directory:
        cut = {name: _rows(side.checkpoint.read(name), pruned.kept) for name in tensors}
        write_checkpoint(side.checkpoint, directory, cut)
        _write_settings(directory, side, pruned)
        manifest = {
            "donor": {"name": side.name, "revision": side.revision},
            "corpus": {str(file): sha256(file) for file in corpus},
            "size": size,
            "tokens": len(pruned.kept),
            "donor_tokens": len(counts),
            "loss": asdict(loss),
            "environment": environment(),
        }
        write_manifest(directory, manifest)
    _report(len(counts), len(pruned.kept), loss)
    return loss


def pruning_loss(donor: Tokenizer, pruned: Tokenizer, texts: Iterable[str]) -> PruningLoss:
    """Return what some texts lose by pruning, and check that every kept piece has a use."""
    n_documents = n_changed = 0
    both = (donor, pruned)
    unknown_ids = [_unknown_id(tokenizer) for tokenizer in both]
    tokens, unknown = [0, 0], [0, 0]
    for batch in batches(texts, "compare tokenizers"):
        decoded = []
        for i, tokenizer in enumerate(both):
            ids = encode(tokenizer, batch)
            tokens[i] += sum(map(len, ids))
            unknown[i] += sum(document.count(unknown_ids[i]) for document in ids)
            decoded.append(tokenizer.decode_batch(ids))
        n_documents += len(batch)
        n_changed += sum(before != after for before, after in zip(*decoded, strict=True))
    return PruningLoss(
        n_documents=n_documents,
        n_changed=n_changed,
        donor_tokens=tokens[0],
        tokens=tokens[1],
        donor_unknown=unknown[0],
        unknown=unknown[1],
        unreachable=tuple(unreachable_pieces(donor, pruned)),
    )


def unreachable_pieces(donor: Tokenizer, pruned: Tokenizer) -> Iterator[str]:
    """Yield the pieces that the donor's model makes of their own spelling, and the pruned not.

    Special tokens and bytes have no spelling, and count as reachable.
    """
    vocabulary = read_vocabulary(pruned)
    added = {token.content for token in pruned.get_added_tokens_decoder().values()}
    pieces = [
        piece
        for piece, kind in zip(vocabulary.strings, vocabulary.kinds, strict=True)
        if kind == TEXT and piece not in added
    ]
    prefix = getattr(pruned.model, "continuing_subword_prefix", None) or ""
    # What continues a word has to stand behind a word's first letter.
    letters = [piece for piece in pieces if len(piece) == 1] if prefix else []
    for piece in pieces:
        continues = bool(prefix) and piece.startswith(prefix) and piece != prefix
        fronts = letters if continues else [""]
        stem = piece.removeprefix(prefix) if continues else piece
        if _makes(donor, piece, stem, fronts) and not _makes(pruned, piece, stem, fronts):
            yield piece


def _makes(tokenizer: Tokenizer, piece: str, stem: str, fronts: Iterable[str]) -> bool:
    model = tokenizer.model
    expected = [[front, piece] if front else [piece] for front in fronts]
    return any(
        [token.value for token in model.tokenize(front + stem)] == pieces
        for front, pieces in zip(fronts, expected, strict=True)
    )


def _report(donor_size: int, size: int, loss: PruningLoss) -> None:
    logger.info(
        "%d of %d tokens kept: the corpus takes %d tokens instead of %d",
        size,
        donor_size,
        loss.tokens,
        loss.donor_tokens,
    )
    if loss.n_changed or loss.unreachable:
        logger.warning(
            "%d of %d documents do not come back as before; out of reach: %s",
            loss.n_changed,
            loss.n_documents,
            ", ".join(map(repr, loss.unreachable)) or "no piece",
        )


def _rows(table: Tensor, kept: Int64[Tensor, " v"]) -> Tensor:
    """Return the kept rows of a per-token tensor; some biases are stored as one row."""
    return table[:, kept] if table.ndim == 2 and table.shape[0] == 1 else table[kept]


def _write_settings(directory: Path, side: Side, pruned: PrunedTokenizer) -> None:
    """Write what stands beside the weights: configuration, tokenizer, card and licence."""
    target = own_tokenizer(pruned.tokenizer, side.special)
    values = renumber(
        read_json(side.directory / "config.json"), side.tokenizer, pruned.tokenizer, target.roles
    )
    values = set_vocabulary_size(values, len(pruned.kept))
    (directory / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    save_tokenizer(target, directory, model_type=side.config.model_type)
    for pattern in ("README.md", "LICENSE*", "NOTICE*"):
        for file in sorted(side.directory.glob(pattern)):
            shutil.copyfile(file, directory / file.name)


def _unknown_id(tokenizer: Tokenizer) -> int:
    unknown = unknown_piece(json.loads(tokenizer.to_str())["model"])
    return -1 if unknown is None else tokenizer.get_vocab()[unknown]
