"""Calibrations that go on top of any method's rows. Off unless asked for."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saltlm.methods.inputs import Rows


@dataclass(frozen=True)
class Unigrams:
    """What ties logits to how often tokens occur.

    Attributes:
        hidden: the mean of what the source's head receives on text of the source's own language,
            times what the model scales its logits with.
        log_shared: log relative frequency of each shared token in the target corpus; NaN for
            those that are no tokens of the new model, which count for nothing.
        log_new: log relative frequency of each new token there.
    """

    hidden: Float[Tensor, " h_s"]
    log_shared: Float[Tensor, " n"]
    log_new: Float[Tensor, " m"]


@dataclass(frozen=True)
class Bias:
    """What is added to the logits: of the new tokens, as a column, and of the shared ones."""

    new: Rows
    shared: Float[Tensor, " n"]


@dataclass(frozen=True)
class Calibration:
    """What is done to a method's rows.

    Attributes:
        norms: give every row the shared rows' mean norm.
        unigrams: what logits are fitted to; None leaves them.
    """

    norms: bool = False
    unigrams: Unigrams | None = None

    def of_shared(self, known: Int64[Tensor, " n"], held_out: Int64[Tensor, " m"]) -> "Calibration":
        """Return what is done to rows of shared tokens that are made as if they were new.

        Args:
            known: positions of the others among the shared tokens.
            held_out: positions of those tokens.
        """
        if self.unigrams is None:
            return self
        logs = self.unigrams.log_shared
        return replace(
            self, unigrams=replace(self.unigrams, log_shared=logs[known], log_new=logs[held_out])
        )

    def __call__(
        self,
        rows: Rows,
        shared: Float[Tensor, "n h_s"],
        *,
        makes_logits: bool,
        bias: Bias | None = None,
    ) -> Rows:
        """Return the rows as they are to be.

        Args:
            rows: of the new tokens.
            shared: the shared tokens' rows in the same table.
            makes_logits: the table is the head, or an embedding that is tied to it.
            bias: of the head, if it has one.
        """
        if self.norms:
            rows = match_norms(rows, float(torch.linalg.vector_norm(shared.float(), dim=1).mean()))
        if self.unigrams is not None and makes_logits:
            rows = match_unigrams(rows, shared, self.unigrams, bias)
        return rows


def log_frequencies(counts: Int64[Tensor, " v"]) -> Float[Tensor, " v"]:
    """Return the log of (count + 1/2) / (total + v / 2): tokens that never occur have one too."""
    smooth = counts.double().add(0.5)
    return smooth.div(smooth.sum()).log().float()


def match_norms(rows: Rows, norm: float) -> Rows:
    """Return the rows at one length; zero rows stay zero."""

    def take(part: slice) -> Float[Tensor, "b h"]:
        found = rows(part)
        lengths = torch.linalg.vector_norm(found, dim=1, keepdim=True).clamp_min(1e-30)
        return found.mul(norm).div(lengths)

    return take


def match_unigrams(
    rows: Rows, shared: Float[Tensor, "n h_s"], unigrams: Unigrams, bias: Bias | None = None
) -> Rows:
    """Return the rows moved along the mean hidden state until their mean logits fit frequencies.

    e_v gets (log p_v + c - e_v.h - b_v) h / ||h||^2, where c is the mean over the shared tokens of
    E_s[o].h + b_o - log p_o. For the table that makes the logits: a tied embedding or the head.

    Args:
        rows: of the new tokens.
        shared: the shared tokens' rows in the same table.
        unigrams: the mean hidden state and the frequencies.
        bias: b, if the head has one.
    """
    hidden = unigrams.hidden.float()
    logits = shared.float() @ hidden + (0 if bias is None else bias.shared.float())
    level = (logits - unigrams.log_shared).nanmean()
    direction = hidden / hidden.square().sum()

    def take(part: slice) -> Float[Tensor, "b h"]:
        found = rows(part)
        missing = unigrams.log_new[part] + level - found @ hidden
        if bias is not None:
            missing -= bias.new(part).squeeze(1)
        return found + torch.outer(missing, direction)

    return take
