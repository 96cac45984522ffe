"""The rows of the new model: copied where the token is shared, mapped or sampled where it is new.

Shape letters, used in every signature of the package:

    v_s v_t v   rows of the source LLM, of the PLM, of the new model
    v_out       those with logits: a head may lack the last rows of the embedding
    n m         shared tokens (anchors), new tokens
    k nnz       neighbours of one token, of all tokens
    h_s h_t d   widths of the source LLM, of the PLM, of the auxiliary space
"""

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from saltlm.alignment.match import FurtherAnchors, VocabularyMatch
from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.errors import VocabularyError
from saltlm.files.mapped import empty_table
from saltlm.methods.inputs import Rows
from saltlm.models.checkpoint import largest_in_rows
from saltlm.record.arrays import Origin

_CHUNK = 8192  # new tokens at a time: bounds what is held in float32 beside the tables
_SUMMED = 256  # rows in float64 that a processor's cache holds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be done with each token of the new vocabulary, before any row is made.

    Attributes:
        origin: an `Origin` per id.
        anchor_ids: ids of the anchors, which neighbours are taken from; -1 for those that the new
            model does not have, which stand behind the others.
        anchor_plm_ids: the anchors' rows in the PLM.
        anchor_source_ids: the anchors' rows in the source.
        anchor_names: the last of them, those that the new model does not have, as the source writes
            them.
        new_ids: ids of the MADE tokens.
    """

    origin: UInt8[Tensor, " v"]
    anchor_ids: Int64[Tensor, " n"]
    anchor_plm_ids: Int64[Tensor, " n"]
    anchor_source_ids: Int64[Tensor, " n"]
    anchor_names: tuple[str, ...]
    new_ids: Int64[Tensor, " m"]

    @property
    def n_kept(self) -> int:
        """How many anchors are tokens of the new model; they stand first."""
        return len(self.anchor_ids) - len(self.anchor_names)

    def count(self, origin: Origin) -> int:
        """How many tokens have this origin."""
        return int((self.origin == origin).sum())


def plan_rows(
    match: VocabularyMatch,
    plm_embedding: Float[Tensor, "v_t h_t"],
    auxiliary: AuxiliaryVectors,
    further: FurtherAnchors,
    *,
    min_shared: int,
    copy_shared: bool = True,
) -> Plan:
    """Return the origin of every row (SALT steps 1 and 2).

    A token takes part in the geometry, as an anchor or as a new token, when it has an auxiliary
    vector and a PLM row that is not zero. Without ``copy_shared`` the anchors are made anew, each
    from all of them.

    Raises:
        VocabularyError: fewer than ``min_shared`` anchors.
    """
    has_plm = match.plm_ids >= 0
    plm_ids = match.plm_ids.clamp_min(0)
    has_geometry = auxiliary.represented & (largest_in_rows(plm_embedding) != 0)
    is_usable = has_plm & has_geometry[plm_ids]
    is_copied = match.source_ids >= 0
    origin = torch.full_like(match.plm_ids, Origin.SAMPLED, dtype=torch.uint8)
    origin[is_usable] = Origin.MADE
    origin[is_copied] = Origin.KEPT
    origin[is_copied & has_plm] = Origin.SHARED
    origin[is_copied & match.is_special] = Origin.SPECIAL
    kept = (is_usable & (origin == Origin.SHARED)).nonzero().squeeze(1)
    others = has_geometry[further.plm_ids].nonzero().squeeze(1)
    n_anchors = len(kept) + len(others)
    if n_anchors < min_shared:
        n_shared = int((origin == Origin.SHARED).sum()) + len(further.names)
        raise VocabularyError(
            f"the two vocabularies share {n_shared} tokens, "
            f"{n_anchors} of them with an auxiliary vector; {min_shared} are needed",
            "compare them with: saltlm inspect SOURCE PLM; then try --match casefold, "
            "another PLM, or a lower --set min_shared=N",
        )
    if not copy_shared:
        origin[kept] = Origin.MADE
    return Plan(
        origin=origin,
        anchor_ids=torch.cat([kept, torch.full_like(others, -1)]),
        anchor_plm_ids=torch.cat([match.plm_ids[kept], further.plm_ids[others]]),
        anchor_source_ids=torch.cat([match.source_ids[kept], further.source_ids[others]]),
        anchor_names=tuple(further.names[place] for place in others.tolist()),
        new_ids=(origin == Origin.MADE).nonzero().squeeze(1),
    )


def new_table(
    source: Float[Tensor, "v_s h_s"],
    n_source_tokens: int,
    plan: Plan,
    match: VocabularyMatch,
    new: Rows,
    *,
    seed: int,
    dtype: torch.dtype | None = None,
    padding: int = 0,
) -> Float[Tensor, "rows h_s"]:
    """Return the new model's table for one of the source's: embedding, head, or bias as a column.

    Copied rows are bit-equal to the source's, unless another dtype is asked for. The arithmetic of
    the others is float32, rounded once. Padding rows are the mean of all others: the logit of the
    mean is the mean of the logits, so it is never the largest, as that of a zero row can be.

    Args:
        source: the source's table.
        n_source_tokens: rows at or beyond this are padding and count for nothing.
        plan: what is to be done with each token.
        match: which source row a token copies.
        new: makes the MADE ones.
        seed: of the SAMPLED ones.
        dtype: of the new table; the source's if None.
        padding: rows after the last token.
    """
    v = len(plan.origin)
    shape = v + padding, source.shape[1]
    padded = empty_table(shape, dtype or source.dtype, source.device)
    table = padded[:v]
    copied = (match.source_ids >= 0).nonzero().squeeze(1)
    for ids in copied.split(_CHUNK):
        table[ids] = source[match.source_ids[ids]].to(table.dtype)
    m = len(plan.new_ids)
    for start in range(0, m, _CHUNK):
        part = slice(start, min(start + _CHUNK, m))
        table[plan.new_ids[part]] = new(part).to(table.dtype)
    sampled = (plan.origin == Origin.SAMPLED).nonzero().squeeze(1)
    table[sampled] = sample_rows(source[:n_source_tokens], len(sampled), seed).to(table.dtype)
    if padding:
        total = sum(part.double().sum(0) for part in table.split(_CHUNK))
        padded[v:] = (total / v).to(table.dtype)
    return padded


def with_all_rows(
    table: Float[Tensor, "rows w"], count: int, *, is_input: bool
) -> Float[Tensor, "count w"]:
    """Return a table of the source that has rows for as many tokens as the embedding.

    A table may lack rows of the last special tokens. Where rows are looked up, transformers reads
    the first for those (Gemma 3n); where they make logits, they get the mean of all others, which
    is never the likeliest.
    """
    if len(table) == count:
        return table
    filler = table[0] if is_input else table.double().mean(0).to(table.dtype)
    return torch.cat([table, filler.expand(count - len(table), -1)])


def sample_rows(
    source: Float[Tensor, "rows h_s"], count: int, seed: int
) -> Float[Tensor, "count h_s"]:
    """Return rows drawn from a normal with the source's mean and deviation, per dimension."""
    if not count:
        return torch.empty(0, source.shape[1])
    total, squares = source.new_zeros(2, source.shape[1], dtype=torch.float64)
    for part in source.split(_SUMMED):
        total += part.double().sum(0)
    mean = total / len(source)
    for part in source.split(_SUMMED):
        squares += (part.double() - mean).square_().sum(0)
    deviation = (squares / len(source)).sqrt()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, source.shape[1], generator=generator)
    rows: Tensor = mean.float() + deviation.float() * noise
    return rows


def norm_ratio(
    table: Float[Tensor, "v h_s"], source: Float[Tensor, "v_s h_s"], plan: Plan
) -> Float[Tensor, " m"]:
    """Return the norm of each MADE row over the mean norm of the anchors' rows in the source.

    A head may lack rows that the embedding has; anchors without a row do not count.
    """
    anchors = plan.anchor_source_ids[plan.anchor_source_ids < len(source)]
    norms, of_anchors = (
        torch.cat(
            [torch.linalg.vector_norm(rows[part].float(), dim=1) for part in ids.split(_CHUNK)]
        )
        for rows, ids in ((table, plan.new_ids), (source, anchors))
    )
    return norms / of_anchors.mean()
