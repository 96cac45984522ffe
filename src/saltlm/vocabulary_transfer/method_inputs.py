"""The inputs that a pair of models poses."""

import torch
from jaxtyping import Float
from torch import Tensor

from saltlm.alignment.align import Alignment
from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.files.mapped import rows_of
from saltlm.methods.inputs import MethodInputs, Texts
from saltlm.vocabulary_transfer.rows import Plan


def method_inputs(
    alignment: Alignment,
    plan: Plan,
    plm_embedding: Float[Tensor, "v_t h_t"],
    auxiliary: AuxiliaryVectors,
    *,
    n_source_rows: int,
    seed: int = 0,
) -> MethodInputs:
    """Return what the methods see of a pair.

    Args:
        alignment: the two vocabularies put together.
        plan: which tokens are shared and which are new.
        plm_embedding: the PLM's rows.
        auxiliary: where the PLM's tokens lie when neighbours are sought.
        n_source_rows: rows of the source's tables, padding included.
        seed: of the methods that draw.
    """
    shared, new = plan.anchor_plm_ids, alignment.match.plm_ids[plan.new_ids]
    plm_shared, plm_new, aux_shared, aux_new = (
        rows_of(table, ids, torch.float32)
        for table in (plm_embedding, auxiliary.matrix)
        for ids in (shared, new)
    )
    if aux_shared.shape == plm_shared.shape and torch.equal(aux_shared, plm_shared):
        aux_shared, aux_new = plm_shared, plm_new  # one space, so that neighbours are found once
    return MethodInputs(
        plm_shared,
        plm_new,
        aux_shared,
        aux_new,
        plan.anchor_source_ids,
        n_source_tokens=min(n_source_rows, len(alignment.source)),
        texts=Texts(
            alignment.source_definition,
            alignment.plm_definition,
            alignment.source.forms,
            alignment.forms,
            shared.tolist(),
            new.tolist(),
        ),
        n_kept=plan.n_kept,
        seed=seed,
    )
