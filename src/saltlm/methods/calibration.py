"""Calibrations that go on top of any method's rows. Off unless asked for."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.methods.task import Rows


@dataclass(frozen=True)
class Unigrams:
    """What ties logits to how often tokens occur.

    Attributes:
        hidden: the mean of what the source's head receives on text of the source's own language.
        log_shared: log relative frequency of each shared token in the target corpus.
        log_new: log relative frequency of each new token there.
    """

    hidden: Float[Tensor, " h_s"]
    log_shared: Float[Tensor, " n"]
    log_new: Float[Tensor, " m"]


def log_frequencies(counts: Int64[Tensor, " v"]) -> Float[Tensor, " v"]:
    """Return the log of (count + 1/2) / (total + v / 2): tokens that never occur have one too."""
    smooth = counts.double() + 0.5
    share: Tensor = smooth / smooth.sum()
    logs: Tensor = share.log()
    return logs.float()


def match_norms(rows: Rows, norm: float) -> Rows:
    """Return the rows at one length; zero rows stay zero."""

    def take(part: slice) -> Float[Tensor, "b h"]:
        found = rows(part)
        return found * (norm / found.norm(dim=1, keepdim=True).clamp_min(1e-30))

    return take


def match_unigrams(rows: Rows, shared: Float[Tensor, "n h_s"], unigrams: Unigrams) -> Rows:
    """Return the rows moved along the mean hidden state until their mean logits fit frequencies.

    e_v gets (log p_v + c - e_v.h) h / ||h||^2, where c is the mean over the shared tokens of
    E_s[o].h - log p_o. For the table that makes the logits: a tied embedding or the head.

    Args:
        rows: of the new tokens.
        shared: the shared tokens' rows in the same table.
        unigrams: the mean hidden state and the frequencies.
    """
    hidden = unigrams.hidden.float()
    level = (shared.float() @ hidden - unigrams.log_shared).mean()
    direction = hidden / hidden.square().sum()

    def take(part: slice) -> Float[Tensor, "b h"]:
        found = rows(part)
        missing = unigrams.log_new[part] + level - found @ hidden
        return found + torch.outer(missing, direction)

    return take
