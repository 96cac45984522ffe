"""The per-token tables of a model: its embedding, its head, the bias of its head, and further ones.

What has one row per token and is not understood stops a SOURCE.
"""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedConfig

from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import Checkpoint, TensorEntry, largest_in_rows
from saltlm.models.table_names import FLOATING, TableNames, names_by_class, names_by_words

_LOG = logging.getLogger(__name__)

ParentKind = Literal["source", "plm"]
_ROLES = ("embedding", "head", "head_bias")


@dataclass(frozen=True)
class FurtherTable:
    """A per-token table beside embedding and head.

    Gemma 3n has rows for every layer, DeepSeek-V3 those of a layer that predicts further tokens.

    Attributes:
        names: the tensors that hold it.
        is_input: its rows are looked up by token, like the embedding's; else they make logits.
        table: one row per token, or of fewer tokens than there are.
    """

    names: tuple[str, ...]
    is_input: bool
    table: Float[Tensor, "rows w"]


@dataclass(frozen=True)
class Tables:
    """The per-token tables of a model, as stored.

    Attributes:
        embedding: one row per token (v, h), in the file's dtype.
        head: the output rows (v, h); None if the head is the embedding, or for a PLM.
        head_bias: one number per token (v); None without one, or for a PLM.
        names: the tensors that hold each table; several where a checkpoint stores it twice.
        is_tied: the head is the embedding.
        further: tables beside these.
        rest: the tensor of the embedding's surplus rows, where they are stored apart.
    """

    embedding: Float[Tensor, "v h"]
    head: Float[Tensor, "v_out h_out"] | None
    head_bias: Float[Tensor, " v_out"] | None
    names: dict[str, tuple[str, ...]]
    is_tied: bool
    further: tuple[FurtherTable, ...] = ()
    rest: str | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every tensor that has a row per token."""
        named = [*self.names.values(), *(further.names for further in self.further)]
        named += [(self.rest,)] if self.rest is not None else []
        return tuple(name for names in named for name in names)

    @property
    def surplus(self) -> int:
        """Rows of the embedding that the head has none for; they stand behind all others."""
        return 0 if self.head is None else len(self.embedding) - len(self.head)

    @property
    def was_tied(self) -> bool:
        """Whether the head was the embedding until `models.untie` gave it a name."""
        return self.head is self.embedding


def read_tables(
    checkpoint: Checkpoint,
    config: PreTrainedConfig,
    *,
    side: ParentKind,
    embedding: str | None = None,
    head: str | None = None,
) -> Tables:
    """Find and read the per-token tables, and nothing else.

    A table that is stored under several names (a tied copy) is recognised by its content, so that
    the writer can replace all of them. Tying follows transformers: a head that is stored and
    differs from the embedding is a head of its own, whatever ``tie_word_embeddings`` says.

    Args:
        checkpoint: the model's weights.
        config: its configuration as loaded by transformers, with the defaults of its class.
        side: a ``source`` must be understood to the last table; of a ``plm`` only the embedding
            is read.
        embedding: the embedding's tensor, when its name says too little.
        head: the head's tensor, likewise.

    Returns:
        The tables in the file's dtype.

    Raises:
        CheckpointError: a table is missing, ambiguous, not floating point, not finite, or not
            understood.
    """
    rows = _count_rows(checkpoint, config, embedding)
    names = None
    if side == "source" and embedding is None and head is None:
        names = names_by_class(checkpoint, config)
    names = names or names_by_words(checkpoint, config, rows)
    is_tied = bool(getattr(config, "tie_word_embeddings", False))
    if not names.embedding and not embedding and is_tied:
        names.embedding, names.head = names.head, []  # transformers ties either way
    rivals = _settle(checkpoint, names, rows, "embedding", embedding)
    if not names.embedding:
        raise _missing(checkpoint, rows, side, "embedding", "embed, wte or shared")
    if side == "plm":
        if rivals and embedding is None:
            raise _ambiguous(checkpoint, names.embedding + rivals)
        only = tuple(names.embedding)
        return Tables(_read_finite(checkpoint, only[0]), None, None, {"embedding": only}, is_tied)

    _settle(checkpoint, names, rows, "head", head)
    _settle(checkpoint, names, rows, "head_bias")
    if is_tied and names.rest is None and _head_is_a_copy(checkpoint, names):
        names.embedding += names.head
        names.head = []
    elif not names.head:
        raise _missing(checkpoint, rows, side, "head", "head, embed_out or output")
    further = _settle_further(checkpoint, names)
    _check_all_understood(checkpoint, config, names, side)
    kept = {role: tuple(names.of(role)) for role in _ROLES if names.of(role)}
    tables = {role: _read_finite(checkpoint, same[0]) for role, same in kept.items()}
    if names.rest is not None and checkpoint.tensors[names.rest].shape[0]:
        tables["embedding"] = torch.cat([tables["embedding"], _read_finite(checkpoint, names.rest)])
    bias = tables.get("head_bias")
    return Tables(
        embedding=tables["embedding"],
        head=tables.get("head"),
        head_bias=None if bias is None else bias.reshape(-1),
        names=kept,
        is_tied="head" not in tables,
        further=tuple(
            FurtherTable(same, is_input, _as_matrix(_read_finite(checkpoint, same[0])))
            for same, is_input in further
        ),
        rest=names.rest,
    )


def per_token_tensors(checkpoint: Checkpoint, config: PreTrainedConfig) -> tuple[str, ...]:
    """Name every tensor with one row per token: what has to follow a change of the vocabulary.

    Args:
        checkpoint: the model's weights.
        config: its configuration as loaded by transformers.

    Returns:
        The embedding, then heads and their biases, copies included.

    Raises:
        CheckpointError: there is no embedding, or a tensor is not understood.
    """
    rows = _count_rows(checkpoint, config, None)
    names = names_by_words(checkpoint, config, rows)
    if not names.embedding:
        raise _missing(checkpoint, rows, "plm", "embedding", "embed, wte or shared")
    _check_all_understood(checkpoint, config, names, "plm")
    return tuple(name for role in _ROLES for name in names.of(role))


def replacements(
    checkpoint: Checkpoint,
    tables: Tables,
    embedding: Float[Tensor, "v h"],
    head: Float[Tensor, "v_out h_out"] | None,
    head_bias: Float[Tensor, " v_out"] | None,
    further: Sequence[Float[Tensor, "..."]] = (),
) -> dict[str, Tensor]:
    """The new table for every tensor of the source that held an old one.

    Args:
        checkpoint: the source's weights.
        tables: the source's tables.
        embedding: the new embedding.
        head: the new head, None exactly if the source's is.
        head_bias: the new bias, None exactly if the source's is.
        further: one for each further table of the source.

    Returns:
        A tensor by name, for `write_checkpoint`.
    """
    new = {"embedding": embedding, "head": head, "head_bias": head_bias}
    present = {role: table for role, table in new.items() if table is not None}
    if present.keys() != tables.names.keys():
        raise ValueError(f"new tables {sorted(present)} for the old {sorted(tables.names)}")
    named = [(tables.names[role], table) for role, table in present.items()]
    named += [(old.names, table) for old, table in zip(tables.further, further, strict=True)]
    found = {
        name: _shaped_as(checkpoint.tensors[name], table)
        for names, table in named
        for name in names
    }
    if tables.rest is not None:
        parts = embedding.split([len(embedding) - tables.surplus, tables.surplus])
        found |= zip((tables.names["embedding"][0], tables.rest), parts, strict=True)
    return found


def _as_matrix(table: Tensor) -> Float[Tensor, "rows w"]:
    """Return a bias, of any shape, as a column."""
    return table if table.ndim == 2 and len(table) > 1 else table.reshape(-1, 1)


def _shaped_as(old: TensorEntry, table: Tensor) -> Tensor:
    """Return a new table in the shape of the old one; a bias may be a row."""
    if old.shape[0] == 1:
        return table.reshape(1, -1)
    return table.reshape(-1) if len(old.shape) == 1 else table


def _count_rows(checkpoint: Checkpoint, config: PreTrainedConfig, embedding: str | None) -> int:
    if embedding is not None:
        return _named_table(checkpoint, embedding, None).shape[0]
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if not isinstance(rows, int) or rows < 1:
        raise CheckpointError(
            f"config.json of {checkpoint.directory} gives vocab_size {rows}",
            "put the number of rows of the embedding there",
        )
    return rows


def _named_table(checkpoint: Checkpoint, name: str, rows: int | None) -> TensorEntry:
    """Return the entry of a tensor that the user named, which must be a table of these rows."""
    if name not in checkpoint.tensors:
        close = difflib.get_close_matches(name, checkpoint.tensors, n=3, cutoff=0.3)
        raise CheckpointError(
            f"{checkpoint.directory} has no tensor {name!r}",
            f"the closest names are: {', '.join(close) or 'none'}",
        )
    entry = checkpoint.tensors[name]
    if len(entry.shape) != 2 or rows not in (None, entry.shape[0]):
        raise CheckpointError(
            f"{name} of {checkpoint.directory} has shape {list(entry.shape)}, but a table has two"
            f" dimensions and {rows or 'v'} rows",
            "name a tensor with one row per token",
        )
    return entry


def _settle(
    checkpoint: Checkpoint, names: TableNames, rows: int, role: str, chosen: str | None = None
) -> list[str]:
    """Leave under `role` only names of one and the same table, the user's choice first.

    Names of other tables move to `unknown` and are returned.
    """
    found = names.of(role)
    if chosen is not None:
        _named_table(checkpoint, chosen, rows)
        for kind in (*_ROLES, "unknown"):
            if chosen in names.of(kind):
                names.of(kind).remove(chosen)
        found.insert(0, chosen)
    if len(found) < 2:
        return []
    digests = {name: checkpoint.sha256(name) for name in found}
    others = [name for name in found if digests[name] != digests[found[0]]]
    found[:] = [name for name in found if name not in others]
    names.unknown += others
    return others


def _settle_further(
    checkpoint: Checkpoint, names: TableNames
) -> list[tuple[tuple[str, ...], bool]]:
    """Return further tables, those with equal content as one, and whether they are input rows.

    One that is a copy of the embedding or the head goes to their names.
    """
    settled = []
    for kind, mains in (
        ("further_input", ("embedding",)),
        ("further_head", ("embedding", "head", "head_bias")),
    ):
        same: dict[str, list[str]] = {}
        for role in mains if names.of(kind) else ():
            for name in names.of(role)[:1]:
                same.setdefault(checkpoint.sha256(name), names.of(role))
        known = len(same)
        for name in names.of(kind):
            same.setdefault(checkpoint.sha256(name), []).append(name)
        settled += [(tuple(found), len(mains) == 1) for found in list(same.values())[known:]]
    return settled


def _head_is_a_copy(checkpoint: Checkpoint, names: TableNames) -> bool:
    if not names.head:
        return True
    embedding, head = names.embedding[0], names.head[0]
    if checkpoint.sha256(embedding) == checkpoint.sha256(head):
        return True
    _LOG.warning(
        "%s says tie_word_embeddings, but %s and %s differ: they are kept apart, as transformers"
        " does",
        checkpoint.directory / "config.json",
        embedding,
        head,
    )
    return False


def _check_all_understood(
    checkpoint: Checkpoint, config: PreTrainedConfig, names: TableNames, side: ParentKind
) -> None:
    if not names.unknown:
        return
    listed = ", ".join(_describe(checkpoint.tensors[name]) for name in names.unknown)
    taken = ", ".join(f"{name} as {role}" for role in _ROLES for name in names.of(role))
    raise CheckpointError(
        f"{checkpoint.directory} has tensors with one row per token that saltlm does not"
        f" understand: {listed} (taken: {taken})",
        f"{_named(side)}; else {config.model_type} models cannot be the SOURCE",
    )


def _missing(
    checkpoint: Checkpoint, rows: int, side: ParentKind, role: str, words: str
) -> CheckpointError:
    matrices = [entry for entry in checkpoint.tensors.values() if len(entry.shape) == 2]
    nearest = sorted(matrices, key=lambda entry: (abs(entry.shape[0] - rows), entry.name))[:3]
    return CheckpointError(
        f"{checkpoint.directory} has no {role}: looked for a tensor of {rows} rows (vocab_size)"
        f" with {words} in its name; the nearest are"
        f" {', '.join(map(_describe, nearest)) or 'none'}",
        _named(side),
    )


def _ambiguous(checkpoint: Checkpoint, names: list[str]) -> CheckpointError:
    listed = ", ".join(_describe(checkpoint.tensors[name]) for name in names)
    return CheckpointError(
        f"{checkpoint.directory} has several embeddings, and they differ: {listed}",
        _named("plm"),
    )


def _describe(entry: TensorEntry) -> str:
    return f"{entry.name} {list(entry.shape)}"


def _named(side: ParentKind) -> str:
    names = [f"{side}_embedding"] + ["source_head"] * (side == "source")
    return "name the tensors: " + " ".join(f"--set tensors.{name}=NAME" for name in names)


def _read_finite(checkpoint: Checkpoint, name: str) -> Tensor:
    entry = checkpoint.tensors[name]
    rows = max(entry.shape[:2]) if entry.shape[0] == 1 else entry.shape[0]
    if entry.dtype not in FLOATING:
        raise CheckpointError(
            f"{name} of {checkpoint.directory} is stored as {entry.dtype}, but a table must be one"
            f" of {', '.join(FLOATING)}",
            "use a copy of the model that is not quantised",
        )
    table = checkpoint.read(name)
    bad = ~largest_in_rows(table.reshape(rows, -1)).isfinite()
    if bad.any():
        raise CheckpointError(
            f"{name} of {checkpoint.directory} has NaN or inf in {int(bad.sum())} of {rows}"
            f" rows, the first is row {int(bad.nonzero()[0])}",
            "fetch the model again; if it is still so, the model is broken",
        )
    return table
