"""What a method sees and what it gives back.

A method works in two stages. ``method(inputs)`` does what depends on the pair of models only, such
as neighbours and coefficients. The `Fitted` it returns is then applied to each table of the source
(embedding, untied head, head bias as a column), a run of new tokens at a time.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag

from saltlm.errors import ConfigError
from saltlm.files.mapped import rows_of
from saltlm.methods.linear import Fit, combine_rows
from saltlm.methods.neighbours import Neighbours
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form

Rows = Callable[[slice], Float[Tensor, "b h"]]
"""Gives the rows of a run of new tokens, in float32."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Texts:
    """The tokens as text, for the methods that read it.

    Attributes:
        source: of the tokenizer that cuts a text into source tokens.
        plm: of the one that cuts a text into PLM tokens.
        source_forms: by source id; None for special tokens and unused ids.
        plm_forms: by PLM id, likewise.
        shared_plm_ids: the PLM's id of each shared token.
        new_plm_ids: the PLM's id of each new token.
    """

    source: Definition
    plm: Definition
    source_forms: Sequence[Form | None]
    plm_forms: Sequence[Form | None]
    shared_plm_ids: Sequence[int]
    new_plm_ids: Sequence[int]

    @property
    def new_forms(self) -> list[Form | None]:
        """The canonical form of each new token."""
        return [self.plm_forms[id] for id in self.new_plm_ids]


@dataclass(frozen=True, eq=False)
class MethodInputs:
    """All that a method may look at, except the source's tables.

    Attributes:
        plm_shared: PLM rows of the shared tokens.
        plm_new: PLM rows of the new tokens.
        aux_shared: auxiliary vectors of the shared tokens.
        aux_new: auxiliary vectors of the new tokens.
        shared_ids: the shared tokens' rows in the source's tables.
        n_source_tokens: the source tables' rows at or beyond this are padding.
        n_kept: so many of the shared tokens, the first, are tokens of the new model, and a
            yardstick may ask for them; the others are only learnt from. None: all.
        held_out_ids: rows of the source's tables that no method may look at, because they are
            what a yardstick asks for; empty in a transfer.
        texts: None if the tokens' texts are not known.
        seed: of the methods that draw.
        memo: results that several methods share; see `once`.
    """

    plm_shared: Float[Tensor, "n h_t"]
    plm_new: Float[Tensor, "m h_t"]
    aux_shared: Float[Tensor, "n d"]
    aux_new: Float[Tensor, "m d"]
    shared_ids: Int64[Tensor, " n"]
    n_source_tokens: int
    n_kept: int | None = None
    held_out_ids: Int64[Tensor, " x"] = field(default_factory=lambda: torch.zeros(0).long())
    texts: Texts | None = None
    seed: int = 0
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def source_ids(self) -> Int64[Tensor, " s"]:
        """The rows of the source's tables that a method may look at."""
        is_seen = torch.ones(self.n_source_tokens, dtype=torch.bool)
        is_seen[self.held_out_ids] = False
        return is_seen.nonzero().squeeze(1)

    @property
    def is_one_space(self) -> bool:
        """Whether the auxiliary vectors are the PLM's rows themselves."""
        return self.aux_shared.data_ptr() == self.plm_shared.data_ptr()

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what ``make`` returns, made once however many methods ask for it."""
        if key not in self.memo:
            self.memo[key] = make()
        result: _T = self.memo[key]
        return result

    def read_texts(self, method: str) -> Texts:
        """Return the texts.

        Raises:
            ConfigError: they are not known.
        """
        if self.texts is None:
            raise ConfigError(
                f"{method} reads the tokens' texts, and these inputs have none",
                "give MethodInputs(texts=...), or choose a method that only compares vectors",
            )
        return self.texts


@dataclass(frozen=True)
class Fitted:
    """A method that has seen its inputs.

    Attributes:
        fill: takes a table of the source, with all its rows, and gives the new tokens' rows.
        neighbours: the shared tokens that a new row is made from, if it is made from a few.
        fit: their coefficients.
    """

    fill: Callable[[Float[Tensor, "v_s h"]], Rows]
    neighbours: Neighbours | None = None
    fit: Fit | None = None


def combination(
    ids: Int64[Tensor, " rows"], neighbours: Neighbours, coefficients: Float[Tensor, " nnz"]
) -> Callable[[Float[Tensor, "v_s h"]], Rows]:
    """Return the `Fitted.fill` of rows that are sums of a few source rows each.

    Args:
        ids: the rows of the source's tables that the neighbours' indices stand for.
        neighbours: of each new token.
        coefficients: what each neighbour's row is multiplied with.
    """
    used, indices = neighbours.indices.unique(return_inverse=True)

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        rows = rows_of(table, ids[used], torch.float32)
        return bag_rows(rows, neighbours.offsets, indices, coefficients)

    return fill


def bag_rows(
    rows: Float[Tensor, "n h"],
    offsets: Int64[Tensor, " m_plus_1"],
    indices: Int64[Tensor, " nnz"],
    coefficients: Float[Tensor, " nnz"],
) -> Rows:
    """Return what sums rows with coefficients, a run of new tokens at a time."""

    def take(part: slice) -> Float[Tensor, "b h"]:
        bounds = offsets[part.start : part.stop + 1]
        if len(bounds) < 2:
            return rows.new_zeros(0, rows.shape[1])
        flat = slice(int(bounds[0]), int(bounds[-1]))
        return embedding_bag(
            indices[flat],
            rows,
            bounds[:-1] - bounds[0],
            mode="sum",
            per_sample_weights=coefficients[flat],
        )

    return take


def explained(
    inputs: MethodInputs, neighbours: Neighbours, coefficients: Float[Tensor, " nnz"]
) -> Fitted:
    """Return rows that are sums of a few shared tokens' rows, and how well that fits the PLM's."""
    left_over = inputs.plm_new - combine_rows(inputs.plm_shared, neighbours, coefficients)
    residual = left_over.norm(dim=1) / inputs.plm_new.norm(dim=1).clamp_min(1e-30)
    fill = combination(inputs.shared_ids, neighbours, coefficients)
    return Fitted(fill, neighbours, Fit(coefficients, residual))
