"""A PLM cut to the tokens that a corpus needs: its tokenizer, and its rows.

A multilingual PLM spends most of its rows on other languages, and the new model would inherit them.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jaxtyping import Int64
from torch import Tensor

from saltlm.files.atomic import new_directory
from saltlm.files.documents import check_corpus, documents
from saltlm.files.json_object import read_json
from saltlm.files.source import fingerprint
from saltlm.models.config_json import renumber, set_vocabulary_size
from saltlm.models.token_tables import per_token_tensors
from saltlm.models.write import write_checkpoint
from saltlm.record.manifest import Manifest, environment, write_manifest
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.load import check_ids
from saltlm.tokenizer.prune import PrunedTokenizer, prune_tokenizer
from saltlm.tokenizer.pruning_loss import PruningLoss, pruning_loss
from saltlm.tokenizer.save import save_tokenizer
from saltlm.tokenizer.target import own_tokenizer
from saltlm.vocabulary_transfer.parents import Parent, load_parent

logger = logging.getLogger(__name__)


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
        plm: Hub id or directory of the PLM.
        out: the directory to make.
        corpus: text of the target language.
        size: tokens to keep; None keeps every token that occurs. See `prune_tokenizer`.
        force: replace ``out`` if it exists.

    Returns:
        What the corpus loses.

    Raises:
        SaltlmError: the PLM or the corpus cannot be read, ``size`` is too small, or ``out``
            cannot be written.
    """
    check_corpus(corpus)
    parent = load_parent(str(plm))
    tensors = per_token_tensors(parent.checkpoint, parent.config)
    n_rows = parent.checkpoint.tensors[tensors[0]].shape[0]
    check_ids(parent.name, parent.tokenizer, n_rows)
    counts = count_tokens(parent.tokenizer, documents(corpus))
    definition = parent.definition
    pruned = prune_tokenizer(definition, counts, size=size, special=parent.special.tokens)
    loss = pruning_loss(definition, pruned.definition, documents(corpus))
    per_row = sum(parent.checkpoint.tensors[name].nbytes for name in tensors) // n_rows
    expected_bytes = parent.checkpoint.nbytes - per_row * (n_rows - len(pruned.kept))
    with new_directory(Path(out), force=force, expected_bytes=expected_bytes) as directory:
        cut = {name: _rows(parent.checkpoint.read(name), pruned.kept) for name in tensors}
        write_checkpoint(parent.checkpoint, directory, cut)
        notes = _write_settings(directory, parent, pruned)
        manifest: Manifest = {
            "kind": "pruned",
            "plm": {"name": parent.name, "revision": parent.revision},
            "files": {str(file): fingerprint(file) for file in corpus},
            "pruned": {
                "size": size,
                "tokens": len(pruned.kept),
                "used_tokens": pruned.n_used,
                "tokens_before": len(counts),
                "loss": asdict(loss),
            },
            "notes": list(notes),
            "environment": environment(),
        }
        write_manifest(directory, manifest)
    _report(len(counts), pruned, loss)
    return loss


def _report(size_before: int, pruned: PrunedTokenizer, loss: PruningLoss) -> None:
    logger.info(
        "%d of %d tokens kept, %d of them needed by the corpus; it takes %d tokens instead of %d",
        len(pruned.kept),
        size_before,
        pruned.n_used,
        loss.tokens,
        loss.tokens_before,
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


def _write_settings(directory: Path, parent: Parent, pruned: PrunedTokenizer) -> tuple[str, ...]:
    """Write what stands beside the weights, and return the notes for the manifest."""
    target = own_tokenizer(pruned.definition, parent.special)
    values, notes = renumber(
        read_json(parent.directory / "config.json"),
        parent.tokenizer,
        pruned.definition.tokenizer,
        target.roles,
    )
    values = set_vocabulary_size(values, len(pruned.kept))
    (directory / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    for pattern in ("README.md", "LICENSE*", "NOTICE*"):
        for file in sorted(parent.directory.glob(pattern)):
            shutil.copyfile(file, directory / file.name)
    saved = save_tokenizer(target, directory, model_type=parent.config.model_type)
    return (*(f"config.json: {note}" for note in notes), *saved)
