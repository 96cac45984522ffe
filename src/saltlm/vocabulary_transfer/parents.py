"""The two models, read without their weights, and how their vocabularies meet."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedConfig

from saltlm.alignment.align import Alignment, align
from saltlm.auxiliary.vectors import read_vectors
from saltlm.config.fits import FitsConfig
from saltlm.config.transfer import TransferConfig
from saltlm.errors import CheckpointError, ConfigError, VocabularyError
from saltlm.files.damage import reading
from saltlm.files.documents import first
from saltlm.files.json_object import read_json
from saltlm.models.architecture import (
    check_is_causal_lm,
    check_not_quantised,
    positions_begin_at,
    read_config,
)
from saltlm.models.checkpoint import Checkpoint, open_checkpoint
from saltlm.models.fits_config import check_plm_fits, check_source_fits
from saltlm.models.hub import resolve_model, revision_of
from saltlm.models.quantised_tables import settings_of_decoded, with_decoded_tables
from saltlm.models.token_tables import Tables, read_tables
from saltlm.models.untie import untie
from saltlm.tokenizer.counts import CutTexts, count_tokens, cut_texts
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.fit import fit_warnings, preparation_notes
from saltlm.tokenizer.load import check_ids, read_tokenizer, without_rowless
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
        between: pieces of its tokenizer without a row, each with its parts; see `read_tokenizer`.
    """

    name: str
    directory: Path
    revision: str | None
    config: PreTrainedConfig
    checkpoint: Checkpoint
    definition: Definition
    special: SpecialTokens
    notes: tuple[str, ...]
    between: tuple[tuple[int, int, int], ...]

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; treat it as read-only."""
        return self.definition.tokenizer


@dataclass(frozen=True)
class Pair:
    """Two models with their per-token tables, and how their vocabularies meet.

    Attributes:
        cut: the first documents of the corpus as both models' tokenizers and the new one cut them;
            None where that is not kept.
    """

    source: Parent
    plm: Parent
    tables: Tables
    plm_tables: Tables
    alignment: Alignment
    cut: tuple[CutTexts, CutTexts, CutTexts] | None = None


def read_parents(source: str, plm: str, config: TransferConfig, *, keeps_cut: bool = False) -> Pair:
    """Read all of two models that a transfer needs, and let their vocabularies meet.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the target-language model.
        config: options of the transfer.
        keeps_cut: whether the result has the documents that are looked at, as they are cut.

    Raises:
        CheckpointError: a model is not there, the source is no causal LLM, or a table is missing
            or damaged.
        VocabularyError: a tokenizer cannot be read, or has tokens without rows.
        ConfigError: the source is to be fitted, and reads tokens by more than its embedding.
    """
    left, right = load_source(source, config), load_plm(plm, config)
    _, decoded_note = settings_of_decoded(
        read_json(left.directory / "config.json"), left.checkpoint
    )
    other, other_notes = _other_tokenizer(config)
    names = config.tensors
    tables = read_tables(
        left.checkpoint,
        left.config,
        side="source",
        embedding=names.source_embedding,
        head=names.source_head,
    )
    _check_reads_by_embedding(tables, config.fits)
    left = _without_rowless(left, len(tables.embedding))
    check_ids(left.name, left.tokenizer, len(tables.embedding))
    if config.untie:
        checkpoint, tables = untie(left.checkpoint, left.config, tables)
        left = replace(left, checkpoint=checkpoint)
    if config.plm_vectors is None:
        plm_tables = read_tables(
            right.checkpoint, right.config, side="plm", embedding=names.plm_embedding
        )
        plm_tables = replace(
            plm_tables, embedding=with_between(plm_tables.embedding, right.between)
        )
        right = _without_rowless(right, len(plm_tables.embedding))
        check_ids(right.name, right.tokenizer, len(plm_tables.embedding))
    alignment = align(
        left.definition,
        left.special,
        right.definition,
        right.special,
        config,
        n_source_rows=len(tables.embedding),
        other=other,
        held=positions_begin_at(left.config),
    )
    texts = first(config.corpus, _MAX_DOCUMENTS) if config.corpus else []
    tokenizers = (left.tokenizer, right.tokenizer, alignment.target.tokenizer)
    cut = None
    if keeps_cut:
        one, two, three = (cut_texts(tokenizer, texts) for tokenizer in tokenizers)
        cut = one, two, three
    notes = (
        *(*left.notes, *right.notes, *other_notes),
        *([decoded_note] if decoded_note else []),
        *preparation_notes(right.definition.ids, texts),
        *_fit_warnings(left, alignment, texts, cut, config),
        *alignment.target.notes,
        *_untied_notes(tables, len(alignment.match.plm_ids), config),
    )
    alignment = replace(alignment, target=replace(alignment.target, notes=notes))
    if config.plm_vectors is not None:
        rows = read_vectors(config.plm_vectors, alignment.surface[: len(alignment.plm)]).matrix
        plm_tables = Tables(rows, None, None, {"embedding": (config.plm_vectors,)}, is_tied=False)
    return Pair(left, right, tables, plm_tables, alignment, cut)


def load_source(ref: str, config: TransferConfig) -> Parent:
    """Find an LLM, and refuse one that cannot be given new tokens.

    Raises:
        CheckpointError: it is not there, is no causal LLM, or its files are not sound.
        VocabularyError: its tokenizer cannot be used.
    """
    source = load_parent(ref, trust_remote_code=config.trust_remote_code)
    check_is_causal_lm(source.config, source.directory)
    check_source_fits(source.checkpoint, source.config)
    if config.dtype is not None:
        check_not_quantised(source.config, source.directory)
    source = replace(source, checkpoint=with_decoded_tables(source.checkpoint, source.config))
    _check_begins(source)
    return source


def load_plm(ref: str, config: TransferConfig) -> Parent:
    """Find a PLM, or only its tokenizer if its rows come from elsewhere.

    Raises:
        CheckpointError: it is not there, or its files are not sound.
        VocabularyError: its tokenizer cannot be used.
    """
    if config.plm_vectors is not None:
        return load_tokenizer_parent(ref, trust_remote_code=config.trust_remote_code)
    plm = load_parent(ref, trust_remote_code=config.trust_remote_code)
    check_plm_fits(plm.checkpoint, plm.config)
    return plm


def _fit_warnings(
    source: Parent,
    alignment: Alignment,
    texts: Sequence[str],
    cut: tuple[CutTexts, CutTexts, CutTexts] | None,
    config: TransferConfig,
) -> Iterator[str]:
    """Say where a new vocabulary does not fit; an extended one is the source's, and need not."""
    if config.mode != "replace":
        return
    new = alignment.target.tokenizer
    if cut is None:
        by_source, by_new = (count_tokens(one, texts) for one in (source.tokenizer, new))
    else:
        by_source, _, by_new = (one.counts(0) for one in cut)
    yield from fit_warnings(by_source, by_new, new.get_vocab_size())


def _untied_notes(tables: Tables, n_rows: int, config: TransferConfig) -> list[str]:
    if not tables.was_tied:
        return []
    dtype = tables.embedding.dtype if config.dtype is None else getattr(torch, config.dtype)
    size = n_rows * tables.embedding.shape[1] * dtype.itemsize
    return [
        f"the head is no longer the embedding but {n_rows:,} rows of its own: {size / 1e6:,.0f} MB"
        " more on disk, and in memory whenever the model is used"
    ]


def _check_reads_by_embedding(tables: Tables, fits: FitsConfig) -> None:
    """Make sure that a source which is to be fitted reads tokens by its embedding alone."""
    further = [name for table in tables.further if table.is_input for name in table.names]
    if further and (fits.input or fits.head):
        raise ConfigError(
            "fits.input and fits.head read text by rows of the embedding, but the source reads each"
            f" token by {further[0]} too",
            "leave the fits out: --set fits.input=false --set fits.head=false",
        )


def _check_begins(source: Parent) -> None:
    """Make sure that the source's tokens say where words begin, as everything new is put there."""
    if suffix := source.definition.suffix:
        raise VocabularyError(
            f"the tokenizer of {source.name} marks where words end ({suffix!r}), not where they"
            " begin",
            "use a SOURCE with a byte-level or SentencePiece tokenizer",
        )


def _without_rowless(parent: Parent, n_rows: int) -> Parent:
    """Return a model without the special tokens that it has no row for."""
    definition, rowless = without_rowless(parent.definition, n_rows)
    if not rowless:
        return parent
    names = ", ".join(map(repr, rowless))
    note = f"{parent.name} has no row for its {names}: left out, as they are no text"
    special = read_special_tokens(parent.directory, definition.tokenizer)
    return replace(parent, definition=definition, special=special, notes=(*parent.notes, note))


def with_between(
    embedding: Float[Tensor, "v h"], between: Sequence[tuple[int, int, int]]
) -> Float[Tensor, "v_all h"]:
    """Return an embedding with rows for pieces that stand between others in merges.

    Such a piece stands where the mean of its parts' rows stands.

    Args:
        embedding: of the PLM.
        between: (id, id of the left part, id of the right part), the ids counted on from the rows.
    """
    if not between:
        return embedding
    size = 1 + max(id for id, _, _ in between)
    rows = torch.cat([embedding, embedding.new_zeros(size - len(embedding), embedding.shape[1])])
    for id, left, right in between:
        rows[id] = (rows[left] + rows[right]) / 2
    return rows


def _other_tokenizer(
    config: TransferConfig,
) -> tuple[tuple[Definition, SpecialTokens] | None, tuple[str, ...]]:
    """Return the tokenizer that is wanted instead of the PLM's, its special tokens, and notes."""
    if config.target_tokenizer is None:
        return None, ()
    directory = resolve_model(config.target_tokenizer, with_weights=False)
    with _reading(directory):
        read = read_tokenizer(directory, trust_remote_code=config.trust_remote_code)
        special = read_special_tokens(directory, read.tokenizer)
    return (Definition.of(read.tokenizer), special), read.notes


def load_parent(ref: str, *, trust_remote_code: bool = False) -> Parent:
    """Find a model and read everything but its weights.

    Raises:
        CheckpointError: the model is not there, or its files are not sound.
        VocabularyError: its tokenizer cannot be read or converted.
    """
    directory = resolve_model(ref)
    with _reading(directory):
        config = read_config(directory, trust_remote_code=trust_remote_code)
        read = read_tokenizer(directory, trust_remote_code=trust_remote_code)
        return Parent(
            name=ref,
            directory=directory,
            revision=revision_of(directory),
            config=config,
            checkpoint=open_checkpoint(directory),
            definition=Definition.of(read.tokenizer),
            special=read_special_tokens(directory, read.tokenizer),
            notes=read.notes,
            between=read.between,
        )


def _reading(directory: Path) -> AbstractContextManager[None]:
    """Name the model of which something is damaged in a way that nothing else tells."""
    return reading(directory, CheckpointError, "fetch it again")


def load_tokenizer_parent(ref: str, *, trust_remote_code: bool = False) -> Parent:
    """Find a tokenizer whose rows come from elsewhere.

    Raises:
        CheckpointError: the directory is not there.
        VocabularyError: its tokenizer cannot be read or converted.
    """
    directory = resolve_model(ref, with_weights=False)
    with _reading(directory):
        read = read_tokenizer(directory, trust_remote_code=trust_remote_code)
        return Parent(
            name=ref,
            directory=directory,
            revision=revision_of(directory),
            config=PreTrainedConfig(),
            checkpoint=Checkpoint(directory, {}, (), {}),
            definition=Definition.of(read.tokenizer),
            special=read_special_tokens(directory, read.tokenizer),
            notes=read.notes,
            between=read.between,
        )
