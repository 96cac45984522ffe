"""The task that a pair of models poses."""

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.alignment.align import Meeting
from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.methods.inputs import Task, Texts
from saltlm.vocabulary_transfer.rows import Plan


def task_of(
    meeting: Meeting,
    plan: Plan,
    plm_embedding: Float[Tensor, "v_t h_t"],
    auxiliary: AuxiliaryVectors,
    *,
    source_tokenizer: Tokenizer,
    plm_tokenizer: Tokenizer,
    n_source_rows: int,
    seed: int = 0,
) -> Task:
    """Return what the methods see of a pair.

    Args:
        meeting: the two vocabularies put together.
        plan: which tokens are shared and which are new.
        plm_embedding: the PLM's rows.
        auxiliary: where the PLM's tokens lie when neighbours are sought.
        source_tokenizer: the source's.
        plm_tokenizer: the PLM's.
        n_source_rows: rows of the source's tables, padding included.
        seed: of the methods that draw.
    """
    shared, new = (meeting.match.plm_ids[ids] for ids in (plan.shared_ids, plan.new_ids))
    plm_shared, plm_new = plm_embedding[shared].float(), plm_embedding[new].float()
    aux_shared, aux_new = auxiliary.matrix[shared].float(), auxiliary.matrix[new].float()
    if aux_shared.shape == plm_shared.shape and torch.equal(aux_shared, plm_shared):
        aux_shared, aux_new = plm_shared, plm_new  # one space, so that neighbours are found once
    return Task(
        plm_shared,
        plm_new,
        aux_shared,
        aux_new,
        meeting.match.source_ids[plan.shared_ids],
        n_source_tokens=min(n_source_rows, len(meeting.source)),
        texts=Texts(
            source_tokenizer,
            plm_tokenizer,
            meeting.source.forms,
            meeting.forms,
            shared.tolist(),
            new.tolist(),
        ),
        seed=seed,
    )
