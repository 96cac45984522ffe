"""The new model's tables, and how every row came about."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.methods.calibration import Bias
from saltlm.methods.fit import fit_sides, halfway
from saltlm.methods.inputs import Fitted
from saltlm.methods.linear import no_fit
from saltlm.methods.neighbours import no_neighbours
from saltlm.methods.registry import Choice
from saltlm.models.token_tables import Tables
from saltlm.record.arrays import Origin
from saltlm.record.fits import HeadFit, InputFit
from saltlm.record.proof import Proof
from saltlm.record.provenance import Provenance
from saltlm.scoring.holdout import Score
from saltlm.tokenizer.target import TargetTokenizer
from saltlm.vocabulary_transfer.problem import Problem
from saltlm.vocabulary_transfer.rows import new_table, norm_ratio, with_all_rows

_LONG = 5  # times the mean norm of the shared tokens' rows


@dataclass(frozen=True)
class TransferResult:
    """The tables of the new model, its tokenizer, and how every row came about.

    Attributes:
        target: the new tokenizer and its roles.
        embedding: one row per token of the new tokenizer, then padding rows if asked for; in the
            source's dtype, or that of the options.
        head: of an untied source; None otherwise.
        head_bias: None if the source has none.
        further: one for each further table of the source.
        auxiliary: the space in which neighbours were sought, in words.
        provenance: origin, neighbours, coefficients and residual of every row.
        head_norm_ratio: norm of each made row of the head over the anchors' mean there, if there is
            a head.
        score: of the method on shared tokens that it was not shown, if that was measured.
        input_fit: what the fit of the input rows did, if there was one.
        head_fit: what the fit of the head's rows did, likewise.
        proof: what two runs on shared tokens have shown of the written model.
    """

    target: TargetTokenizer
    embedding: Float[Tensor, "v h_s"]
    head: Float[Tensor, "v_out h_out"] | None
    head_bias: Float[Tensor, " v_out"] | None
    auxiliary: str
    provenance: Provenance
    head_norm_ratio: Float[Tensor, " m"] | None = None
    score: Score | None = None
    input_fit: InputFit | None = None
    head_fit: HeadFit | None = None
    proof: Proof | None = None
    further: tuple[Float[Tensor, "_ _"], ...] = ()

    @property
    def tokenizer(self) -> Tokenizer:
        """The new tokenizer."""
        return self.target.tokenizer

    @property
    def notes(self) -> list[str]:
        """What a user may not expect, what the fits did and what is proved, a sentence each."""
        records = (self.input_fit, self.head_fit, self.proof)
        made, head = self.provenance, self.head_norm_ratio
        return [
            *self.target.notes,
            *note_of_long_rows("embedding", made.norm_ratio, made.new_ids),
            *(note_of_long_rows("head", head, made.new_ids) if head is not None else []),
            *(str(record) for record in records if record is not None),
        ]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each origin."""
        origin = self.provenance.origin
        count = {kind: int((origin == kind).sum()) for kind in Origin}
        rare = (Origin.PADDING, Origin.KEPT)
        return {kind.name.lower(): n for kind, n in count.items() if n or kind not in rare}

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {origin}" for origin, count in self.counts.items() if count)
        return f"TransferResult({len(self.embedding):,} tokens: {counts})"


def note_of_long_rows(
    side: str, ratio: Float[Tensor, " m"], new_ids: Int64[Tensor, " m"]
) -> list[str]:
    """Say which made rows are far longer than the source's.

    A map through about as many pairs as the PLM is wide is nearly singular, and one row that it
    makes far too long can spoil a model (docs/results.md, "The paper's comparison").

    Args:
        side: what the table is called.
        ratio: norm of each made row over the mean norm of the anchors' rows.
        new_ids: their tokens.
    """
    is_long = ratio > _LONG  # not those that are no numbers
    n_long = int(is_long.sum())
    if not n_long:
        return []
    longest, place = ratio.where(is_long, 0).max(0)
    return [
        f"{n_long:,} made row{' is' if n_long == 1 else 's are'} over {_LONG} times as long as the"
        f" shared tokens' in the {side}, #{int(new_ids[place])} {float(longest):.3g} times; one"
        " such row can spoil a model: --set calibration.norms=true gives them the others' length"
    ]


def note_of_one_row(tables: Tables, method: Choice) -> list[str]:
    """Say what becomes of a method for each side in a model whose head is its embedding."""
    if tables.head is not None or method.output is None:
        return []
    return [
        "the head is the embedding, so a new token has one row for both sides, and it begins"
        " halfway between theirs; --untie gives it two"
    ]


def solve(problem: Problem, method: Choice) -> TransferResult:
    """Return the new model's tables, the new rows made by a method (SALT: steps 3 and 4).

    A model whose head is its embedding has one row there for both sides, halfway between theirs.

    Raises:
        ConfigError: as in `fit_sides`.
    """
    alignment, tables, plan = problem.alignment, problem.tables, problem.plan
    fitted, of_head = fit_sides(method, problem.inputs)
    is_tied = tables.head is None
    of_embedding = halfway(fitted, of_head) if is_tied else fitted

    shared = plan.anchor_source_ids
    column = None if tables.head_bias is None else tables.head_bias.unsqueeze(1)
    bias = None if column is None else Bias(of_head.fill(column), column[shared].squeeze(1))

    n_rows, n_out = len(tables.embedding), len(tables.embedding) - tables.surplus

    def table_of(
        old: Float[Tensor, "rows w"],
        side: Fitted,
        *,
        is_input: bool = False,
        makes_logits: bool = False,
        is_bias: bool = False,
    ) -> Float[Tensor, "new w"]:
        source = with_all_rows(old, n_rows, is_input=is_input)
        rows = side.fill(source)
        if not is_bias:
            rows = problem.calibration(rows, source[shared], makes_logits=makes_logits, bias=bias)
        table = new_table(
            source,
            min(n_out, len(alignment.source)),
            plan,
            alignment.match,
            rows,
            seed=problem.inputs.seed,
            dtype=problem.dtype,
            padding=problem.padding,
        )
        return torch.cat([table, old[n_out:].to(table.dtype)]) if len(old) > n_out else table

    surplus = torch.arange(n_out, n_rows)

    def per_row(values: Tensor, padding: int, of_surplus: Tensor | int = -1) -> Tensor:
        behind = torch.as_tensor(of_surplus).to(values).expand(len(surplus))
        return torch.cat([values, values.new_full((problem.padding,), padding), behind])

    embedding = table_of(tables.embedding, of_embedding, is_input=True, makes_logits=is_tied)
    rows, piece_means = per_row(alignment.match.plm_ids, -1), alignment.piece_means
    offsets, pieces = piece_means.pieces_of(rows)
    provenance = Provenance(
        origin=per_row(plan.origin, Origin.PADDING, Origin.KEPT),
        plm_ids=torch.where(rows < piece_means.n_plm, rows, -1),
        source_ids=per_row(
            alignment.match.source_ids.masked_fill(plan.origin == Origin.MADE, -1), -1, surplus
        ),
        anchor_ids=plan.anchor_ids,
        anchor_plm_ids=torch.where(
            plan.anchor_plm_ids < piece_means.n_plm, plan.anchor_plm_ids, -1
        ),
        anchor_source_ids=plan.anchor_source_ids,
        anchor_names=plan.anchor_names,
        new_ids=plan.new_ids,
        neighbours=fitted.neighbours or no_neighbours(len(plan.new_ids)),
        fit=fitted.fit or no_fit(len(plan.new_ids)),
        norm_ratio=norm_ratio(embedding, tables.embedding, plan),
        piece_offsets=offsets if len(pieces) else None,
        piece_ids=pieces if len(pieces) else None,
    )
    head = head_ratio = None
    if tables.head is not None:
        head = table_of(tables.head, of_head, makes_logits=True)
        head_ratio = norm_ratio(head, tables.head, plan)
    notes = (*alignment.target.notes, *note_of_one_row(tables, method))
    return TransferResult(
        target=replace(alignment.target, notes=notes),
        embedding=embedding,
        head=head,
        head_norm_ratio=head_ratio,
        head_bias=None if column is None else table_of(column, of_head, is_bias=True).squeeze(1),
        auxiliary=problem.auxiliary,
        provenance=provenance,
        further=tuple(
            table_of(
                other.table,
                fitted if other.is_input else of_head,
                is_input=other.is_input,
                makes_logits=not other.is_input,
                is_bias=other.table.shape[1] == 1,
            )
            for other in tables.further
        ),
    )
