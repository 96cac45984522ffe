"""Which shared tokens to hold out: seeded folds, alike in script and frequency."""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.methods.inputs import MethodInputs
from saltlm.tokenizer.kinds import script_of
from saltlm.tokenizer.vocabulary import Form

_FREQUENCY_BANDS = 4


def strata_of(
    inputs: MethodInputs, counts: Int64[Tensor, " v_t"] | None = None
) -> Int64[Tensor, " kept"]:
    """Return the stratum of each shared token of the new model: its script and its frequency.

    The frequency counts by quarters.

    Args:
        inputs: the pair. Without texts all tokens count as one script.
        counts: occurrences of each PLM id in a corpus. Without them the ids stand in: vocabularies
            list frequent pieces first.
    """
    n = len(inputs.shared_ids) if inputs.n_kept is None else inputs.n_kept
    forms: Sequence[Form | None] = [None] * n
    rank = torch.arange(n)
    if inputs.texts is not None:
        rank = torch.tensor(inputs.texts.shared_plm_ids[:n], dtype=torch.int64)
        forms = [inputs.texts.plm_forms[id] for id in rank.tolist()]
        if counts is not None:
            rank = -counts[rank]
    place = torch.empty_like(rank)
    place[rank.argsort(stable=True)] = torch.arange(n)
    names = [script_of(form) for form in forms]
    number = {name: index for index, name in enumerate(sorted(set(names)))}
    scripts = torch.tensor([number[name] for name in names], dtype=torch.int64)
    return scripts * _FREQUENCY_BANDS + place * _FREQUENCY_BANDS // max(1, n)


def draw_folds(
    strata: Int64[Tensor, " n"], n_folds: int, seed: int
) -> list[Int64[Tensor, " fold"]]:
    """Divide tokens into folds that differ by at most one token per stratum.

    Every token is in one fold. Small strata are dealt out in turn, so folds are of like size.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(strata), generator=generator)
    dealt = shuffled[strata[shuffled].argsort(stable=True)]
    return [dealt[first::n_folds].sort().values for first in range(n_folds)]


def hold_out(inputs: MethodInputs, held: Int64[Tensor, " fold"]) -> MethodInputs:
    """Return the inputs of making some shared tokens' rows from the others'.

    Args:
        inputs: the pair; none of its shared tokens copies the same row as another.
        held: positions among the shared tokens.
    """
    is_held = torch.zeros(len(inputs.shared_ids), dtype=torch.bool)
    is_held[held] = True
    plm = inputs.plm_shared[~is_held], inputs.plm_shared[is_held]
    aux = plm
    if not inputs.is_one_space:
        aux = inputs.aux_shared[~is_held], inputs.aux_shared[is_held]
    texts = inputs.texts
    if texts is not None:
        ids = torch.tensor(texts.shared_plm_ids)
        texts = dataclasses.replace(
            texts, shared_plm_ids=ids[~is_held].tolist(), new_plm_ids=ids[is_held].tolist()
        )
    return MethodInputs(
        plm[0],
        plm[1],
        aux[0],
        aux[1],
        inputs.shared_ids[~is_held],
        n_source_tokens=inputs.n_source_tokens,
        n_kept=None if inputs.n_kept is None else int((~is_held[: inputs.n_kept]).sum()),
        held_out_ids=inputs.shared_ids[is_held],
        texts=texts,
        seed=inputs.seed,
    )


def first_copies(shared_ids: Int64[Tensor, " n"]) -> Int64[Tensor, " distinct"]:
    """Return the positions of shared tokens that copy another source row than any earlier one.

    Else the row of a held-out token could be among those it is predicted from.
    """
    order = shared_ids.argsort(stable=True)
    is_first = torch.ones_like(order, dtype=torch.bool)
    ordered = shared_ids[order]
    is_first[order[1:]] = ordered[1:] != ordered[:-1]
    return is_first.nonzero().squeeze(1)


def distinct(inputs: MethodInputs) -> MethodInputs:
    """Return the inputs without shared tokens that copy the same source row as an earlier one."""
    first = first_copies(inputs.shared_ids)
    if len(first) == len(inputs.shared_ids):
        return inputs
    whole = hold_out(inputs, all_but(first, len(inputs.shared_ids)))
    return dataclasses.replace(whole, held_out_ids=torch.zeros(0, dtype=torch.int64))


def all_but(positions: Int64[Tensor, " some"], n: int) -> Int64[Tensor, " others"]:
    """Return the positions below n that are not among the given ones."""
    is_other = torch.ones(n, dtype=torch.bool)
    is_other[positions] = False
    return is_other.nonzero().squeeze(1)
