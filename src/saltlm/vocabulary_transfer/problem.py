"""What two models pose to a method, and the new model's tables that a method makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from saltlm.alignment.align import Alignment
from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.config.transfer import RowsConfig
from saltlm.methods.calibration import Calibration, Unigrams
from saltlm.methods.inputs import MethodInputs
from saltlm.models.token_tables import Tables
from saltlm.vocabulary_transfer.method_inputs import method_inputs
from saltlm.vocabulary_transfer.rows import Plan, plan_rows


@dataclass(frozen=True)
class Problem:
    """What two models pose to a method, up to the choice of the method.

    Attributes:
        alignment: the two vocabularies put together.
        tables: the source's.
        auxiliary: the space in which neighbours are sought, in words.
        plan: what is to be done with each token.
        inputs: what a method may look at.
        dtype: of the new tables; the source's if None.
        padding: rows of the new tables after the last token.
        calibration: what is done to the method's rows.
    """

    alignment: Alignment
    tables: Tables
    auxiliary: str
    plan: Plan
    inputs: MethodInputs
    dtype: torch.dtype | None
    padding: int
    calibration: Calibration

    @property
    def embedding_calibration(self) -> Calibration:
        """What is done to the embedding's rows: unigrams are the head's, if there is one."""
        is_tied = self.tables.head is None
        return self.calibration if is_tied else replace(self.calibration, unigrams=None)


def pose(
    alignment: Alignment,
    tables: Tables,
    plm_embedding: Float[Tensor, "v_t h_t"],
    auxiliary: AuxiliaryVectors,
    config: RowsConfig,
    unigrams: Callable[[Plan], Unigrams] | None = None,
) -> Problem:
    """Return the problem of a pair (SALT steps 1 and 2).

    Args:
        alignment: the two vocabularies put together.
        tables: the source's.
        plm_embedding: the PLM's rows.
        auxiliary: vectors of the PLM's tokens and, behind them, of the composed ones.
        config: options.
        unigrams: finds what the new rows' logits are calibrated to.

    Raises:
        VocabularyError: too few tokens are shared.
    """
    plm_embedding = alignment.piece_means.rows(plm_embedding)
    plan = plan_rows(
        alignment.match,
        plm_embedding,
        auxiliary,
        alignment.further,
        min_shared=config.min_shared,
        copy_shared=config.copy_shared,
    )
    inputs = method_inputs(
        alignment,
        plan,
        plm_embedding,
        auxiliary,
        n_source_rows=len(tables.embedding),
        seed=config.seed,
    )
    dtype = None if config.dtype is None else getattr(torch, config.dtype)
    padding = -len(plan.origin) % (config.pad_to_multiple_of or 1)
    calibration = Calibration(config.calibration.norms, unigrams(plan) if unigrams else None)
    description = auxiliary.description
    return Problem(alignment, tables, description, plan, inputs, dtype, padding, calibration)
