"""The two models, read without their weights, and how their vocabularies meet."""

from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedConfig

from saltlm.alignment.align import Alignment, align
from saltlm.auxiliary.vectors import read_vectors
from saltlm.config.transfer import TransferConfig
from saltlm.files.documents import first
from saltlm.models.architecture import check_is_causal_lm, check_not_quantised, read_config
from saltlm.models.checkpoint import Checkpoint, open_checkpoint
from saltlm.models.hub import resolve_model, revision_of
from saltlm.models.token_tables import Tables, read_tables
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.fit import fit_warnings, preparation_notes
from saltlm.tokenizer.load import check_ids, read_tokenizer
from saltlm.tokenizer.special_tokens import SpecialTokens, read_special_tokens

_MAX_DOCUMENTS = 5000  # of the corpus are looked at


@dataclass(frozen=True)
class Parent:
    """One of the two models.

    Attributes:
        name: as the user gave it.
        directory: where its files are.
        revision: commit of the Hub repository; None for a local directory.
        notes: what to know of its tokenizer, a sentence each.
    """

    name: str
    directory: Path
    revision: str | None
    config: PreTrainedConfig
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    special: SpecialTokens
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two models with their per-token tables, and how their vocabularies meet."""

    source: Parent
    plm: Parent
    tables: Tables
    plm_tables: Tables
    alignment: Alignment


def read_parents(source: str, plm: str, config: TransferConfig) -> Pair:
    """Read all of two models that a transfer needs, and let their vocabularies meet.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the target-language model.
        config: options of the transfer.

    Raises:
        CheckpointError: a model is not there, the source is no causal LLM, or a table is missing
            or damaged.
        VocabularyError: a tokenizer cannot be read, or has tokens without rows.
    """
    left = load_parent(source, trust_remote_code=config.trust_remote_code)
    load_plm = load_parent if config.plm_vectors is None else load_tokenizer_parent
    right = load_plm(plm, trust_remote_code=config.trust_remote_code)
    check_is_causal_lm(left.config, left.directory)
    if config.dtype is not None:
        check_not_quantised(left.config, left.directory)
    other, other_notes = _other_tokenizer(config)
    names = config.tensors
    tables = read_tables(
        left.checkpoint,
        left.config,
        side="source",
        embedding=names.source_embedding,
        head=names.source_head,
    )
    check_ids(left.name, left.tokenizer, len(tables.embedding))
    if config.plm_vectors is None:
        plm_tables = read_tables(
            right.checkpoint, right.config, side="plm", embedding=names.plm_embedding
        )
        check_ids(right.name, right.tokenizer, len(plm_tables.embedding))
    alignment = align(
        Definition.of(left.tokenizer),
        left.special,
        Definition.of(right.tokenizer),
        right.special,
        config,
        n_source_rows=len(tables.embedding),
        other=other,
    )
    texts = first(config.corpus, _MAX_DOCUMENTS) if config.corpus else []
    notes = (
        *(*left.notes, *right.notes, *other_notes),
        *preparation_notes(right.tokenizer, texts),
        *fit_warnings(left.tokenizer, alignment.target.tokenizer, texts),
        *alignment.target.notes,
    )
    alignment = replace(alignment, target=replace(alignment.target, notes=notes))
    if config.plm_vectors is not None:
        rows = read_vectors(config.plm_vectors, alignment.surface[: len(alignment.plm)]).matrix
        plm_tables = Tables(rows, None, None, {"embedding": (config.plm_vectors,)}, is_tied=False)
    return Pair(left, right, tables, plm_tables, alignment)


def _other_tokenizer(
    config: TransferConfig,
) -> tuple[tuple[Definition, SpecialTokens] | None, tuple[str, ...]]:
    """Return the tokenizer that is wanted instead of the PLM's, its special tokens, and notes."""
    if config.target_tokenizer is None:
        return None, ()
    directory = resolve_model(config.target_tokenizer, with_weights=False)
    tokenizer, notes = read_tokenizer(directory, trust_remote_code=config.trust_remote_code)
    return (Definition.of(tokenizer), read_special_tokens(directory, tokenizer)), notes


def load_parent(ref: str, *, trust_remote_code: bool = False) -> Parent:
    """Find a model and read everything but its weights.

    Raises:
        CheckpointError: the model is not there, or its files are not sound.
        VocabularyError: its tokenizer cannot be read or converted.
    """
    directory = resolve_model(ref)
    config = read_config(directory, trust_remote_code=trust_remote_code)
    tokenizer, notes = read_tokenizer(directory, trust_remote_code=trust_remote_code)
    return Parent(
        name=ref,
        directory=directory,
        revision=revision_of(directory),
        config=config,
        checkpoint=open_checkpoint(directory),
        tokenizer=tokenizer,
        special=read_special_tokens(directory, tokenizer),
        notes=notes,
    )


def load_tokenizer_parent(ref: str, *, trust_remote_code: bool = False) -> Parent:
    """Find a tokenizer whose rows come from elsewhere.

    Raises:
        CheckpointError: the directory is not there.
        VocabularyError: its tokenizer cannot be read or converted.
    """
    directory = resolve_model(ref, with_weights=False)
    tokenizer, notes = read_tokenizer(directory, trust_remote_code=trust_remote_code)
    return Parent(
        name=ref,
        directory=directory,
        revision=revision_of(directory),
        config=PreTrainedConfig(),
        checkpoint=Checkpoint(directory, {}, (), {}),
        tokenizer=tokenizer,
        special=read_special_tokens(directory, tokenizer),
        notes=notes,
    )
