"""What a merge puts together: tensors of the body by name, and rows by token."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saltlm.adaptation.merge_formulas import interpolated, slerp, with_chat_vector
from saltlm.alignment.match import same_tokens
from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import DTYPES
from saltlm.models.token_tables import Tables, read_tables, replacements
from saltlm.models.write import Replacement
from saltlm.tokenizer.load import check_ids
from saltlm.tokenizer.vocabulary import Vocabulary, read_vocabulary
from saltlm.vocabulary_transfer.parents import Parent, load_parent

_LAYER = re.compile(r"(?:^|\.)(\d+)\.")
_OTHER_TOWER = re.compile(r"vision|visual|audio|image")


@dataclass(frozen=True)
class Recipe:
    """How tensors become one.

    Attributes:
        method: ``linear``, ``slerp`` or ``chat-vector``.
        weight: 0 is the base and 1 the adapted model; of a chat vector, its length.
        ends: the weights of the first layer, the second, ..., and of the last, the one before it,
            ..., where they are others.
        special: whose rows special tokens get, ``base`` or ``adapted``.
        shared: likewise the tokens that both have, or ``merged``.
    """

    method: str
    weight: float
    ends: tuple[float, ...] = ()
    special: str = "base"
    shared: str = "adapted"

    def merge(self, adapted: Tensor, others: list[Tensor], weight: float | None = None) -> Tensor:
        """Return one tensor of the adapted one, the base's and, of a chat vector, a third."""
        weight = self.weight if weight is None else weight
        if self.method == "chat-vector":
            return with_chat_vector(adapted, others[0], others[1], weight)
        return (slerp if self.method == "slerp" else interpolated)(others[0], adapted, weight)

    def weight_of(self, name: str, n_layers: int) -> float:
        """Return the weight of a tensor by the layer in its name."""
        found = None if _OTHER_TOWER.search(name) else _LAYER.search(name)
        if found is None:
            return self.weight
        from_end = min(int(found[1]), n_layers - 1 - int(found[1]))
        return self.ends[from_end] if 0 <= from_end < len(self.ends) else self.weight


@dataclass(frozen=True)
class Model:
    """A model that takes part, its per-token tables read."""

    parent: Parent
    tables: Tables

    @property
    def vocabulary(self) -> Vocabulary:
        """What its tokens stand for."""
        return read_vocabulary(self.parent.definition, special=self.parent.special.tokens)

    def table(self, role: str) -> Tensor | None:
        """Return a table; the head of a tied model is its embedding."""
        table: Tensor | None = getattr(self.tables, role)
        return self.tables.embedding if table is None and role == "head" else table


@dataclass(frozen=True)
class SameRows:
    """Where rows stand in the other models, one entry per row of the adapted one.

    Attributes:
        ids: in the base and, of a chat vector, the third; -1 where one of them lacks the token.
        is_special: whether the base has it as a special token too.
    """

    ids: tuple[Int64[Tensor, " v"], ...]
    is_special: Bool[Tensor, " v"]

    @property
    def is_shared(self) -> Bool[Tensor, " v"]:
        """Whether all have the token, and it is not special."""
        return (torch.stack(self.ids) >= 0).all(0) & ~self.is_special


def read_model(name: str, *, trust_remote_code: bool) -> Model:
    """Read a model's settings, tokenizer and tables.

    Raises:
        CheckpointError: it is not there, is quantised, or its tables are not understood.
        VocabularyError: its tokenizer cannot be read, or has tokens without rows.
    """
    parent = load_parent(name, trust_remote_code=trust_remote_code)
    if getattr(parent.config, "quantization_config", None):
        raise CheckpointError(
            f"{parent.directory} is quantised, so its weights cannot be merged",
            "give a copy of the model that is not quantised",
        )
    tables = read_tables(parent.checkpoint, parent.config, side="source")
    check_ids(parent.name, parent.tokenizer, len(tables.embedding))
    return Model(parent, tables)


def match_rows(adapted: Model, others: list[Model]) -> SameRows:
    """Return which rows are of the same tokens, by canonical form, special ones by name."""
    n_rows = len(adapted.tables.embedding)
    own = adapted.vocabulary
    ids = []
    for other in others:
        found = torch.full((n_rows,), -1)
        limit = len(other.tables.embedding)
        found[: len(own)] = same_tokens(
            own, other.vocabulary, ids=torch.arange(len(own)), n_rows=limit
        )
        for token in adapted.parent.special.tokens:
            id = other.parent.tokenizer.token_to_id(token)
            place = adapted.parent.tokenizer.token_to_id(token)
            found[place] = id if id is not None and id < limit else -1
        ids.append(found)
    is_special = torch.zeros(n_rows, dtype=torch.bool)
    for token in {*adapted.parent.special.tokens} & {*others[0].parent.special.tokens}:
        is_special[adapted.parent.tokenizer.token_to_id(token)] = True
    return SameRows(tuple(ids), is_special & (ids[0] >= 0))


def merged_rows(
    adapted: Float[Tensor, "v *h"],
    others: list[Tensor],
    rows: SameRows,
    recipe: Recipe,
) -> Float[Tensor, "v *h"]:
    """Return a table: new rows as they are, special and shared ones by choice.

    A head may have fewer rows than the embedding; what one of the tables has no row for stays.

    Args:
        adapted: the table of the adapted model.
        others: the tables of the other models.
        rows: where each row stands in these.
        recipe: whose rows are taken.
    """
    made, ids = adapted.clone(), torch.stack(rows.ids)[:, : len(adapted)]
    has_row = (ids < min(map(len, others))).all(0)
    special, shared = (kind[: len(made)] & has_row for kind in (rows.is_special, rows.is_shared))
    if recipe.special == "base":
        made[special] = others[0][ids[0][special]].to(made.dtype)
    if recipe.shared == "base":
        made[shared] = others[0][ids[0][shared]].to(made.dtype)
    elif recipe.shared == "merged":
        there = [table[one[shared]] for table, one in zip(others, ids, strict=True)]
        made[shared] = recipe.merge(adapted[shared], there).to(made.dtype)
    return made


def counterparts(adapted: Model, others: list[Model]) -> dict[str, list[str]]:
    """Return for each tensor of the body those of the other models, by name.

    A checkpoint may leave out the prefix that another one has before its names.

    Raises:
        CheckpointError: one has none, or of another shape.
    """
    tensors = adapted.parent.checkpoint.tensors
    per_token = {*adapted.tables.all_names}
    body = [entry for name, entry in tensors.items() if name not in per_token]
    found: dict[str, list[str]] = {}
    for entry in body:
        if entry.dtype not in DTYPES or not DTYPES[entry.dtype].is_floating_point:
            continue  # masks and the like
        found[entry.name] = [_counterpart(entry.name, entry.shape, other) for other in others]
    return found


def _counterpart(name: str, shape: tuple[int, ...], other: Model) -> str:
    theirs = other.parent.checkpoint.tensors
    names = [name] if name in theirs else list(_with_other_prefix(name, theirs))
    if len(names) != 1 or theirs[names[0]].shape != shape:
        there = f"is {list(theirs[names[0]].shape)}" if names else "is not"
        raise CheckpointError(
            f"{name} {list(shape)} {there} in {other.parent.directory}: the two are not of one"
            " model",
            "give the model that ADAPTED was made from as BASE",
        )
    return names[0]


def _with_other_prefix(name: str, names: Collection[str]) -> Iterator[str]:
    for one in names:
        if one.endswith(f".{name}") or name.endswith(f".{one}"):
            yield one


def replacements_of(
    adapted: Model,
    others: list[Model],
    rows: SameRows,
    body: dict[str, list[str]],
    recipe: Recipe,
) -> dict[str, Replacement]:
    """Return the new tensors: the tables, and for the body what makes each in its turn."""
    tables = dict[str, Tensor]()
    for role in adapted.tables.names:
        own = adapted.table(role)
        theirs = [table for other in others if (table := other.table(role)) is not None]
        if own is None or len(theirs) < len(others):
            raise CheckpointError(
                f"{adapted.parent.directory} has a table {role}, which the other model lacks",
                "give the model that ADAPTED was made from as BASE",
            )
        tables[role] = merged_rows(own, theirs, rows, recipe)
    new: dict[str, Replacement] = {
        **replacements(
            adapted.parent.checkpoint,
            adapted.tables,
            tables["embedding"],
            tables.get("head"),
            tables.get("head_bias"),
            [further.table for further in adapted.tables.further],
        )
    }
    n_layers = getattr(adapted.parent.config.get_text_config(), "num_hidden_layers", 0)
    for name, theirs_names in body.items():
        reads = [_reader(adapted, name)]
        reads += [_reader(other, one) for other, one in zip(others, theirs_names, strict=True)]
        new[name] = partial(_merged, reads, recipe, recipe.weight_of(name, n_layers))
    return new


def _reader(model: Model, name: str) -> Callable[[], Tensor]:
    return partial(model.parent.checkpoint.read, name)


def _merged(reads: list[Callable[[], Tensor]], recipe: Recipe, weight: float) -> Tensor:
    adapted, *others = (read() for read in reads)
    return recipe.merge(adapted, others, weight)
