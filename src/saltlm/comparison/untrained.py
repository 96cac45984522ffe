"""What can be said of a transferred model before it is trained, beside its bits per byte."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.errors import ConfigError
from saltlm.methods.linear_algebra import CHUNK
from saltlm.models.logits import (
    check_logits,
    document_start,
    logit_transform,
    output_head,
    skipped_head,
)
from saltlm.tokenizer.fertility import encode_documents

_LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True)
class NewRowMass:
    """How much probability a model gives to new tokens, and how often they come.

    Attributes:
        mass: mean probability of all new tokens together.
        share: share of the text's tokens that are new.
        log_ratio: mean of ln p of a token, over new tokens less over the others.
        n_tokens: how many positions that is.
    """

    mass: float
    share: float
    log_ratio: float
    n_tokens: int


@dataclass(frozen=True)
class RowNorms:
    """Quantiles of the rows' norms, over the mean norm of the shared rows."""

    minimum: float
    p05: float
    median: float
    p95: float
    maximum: float


@dataclass(frozen=True)
class TableReport:
    """What a new table looks like beside the source's rows in it.

    Attributes:
        new_norms: of the new rows.
        shared_norms: of the rows that are copied.
        new_rank: effective rank of the new rows; see `effective_rank`.
        shared_rank: of the copied rows.
        mean_cosine: cosine between the mean new and the mean copied row.
    """

    new_norms: RowNorms
    shared_norms: RowNorms
    new_rank: float
    shared_rank: float
    mean_cosine: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def effective_rank(table: Float[Tensor, "rows h"]) -> float:
    """Return exp(entropy) of the centred rows' variances along their principal axes.

    Between 0 (all rows are one) and h; after Roy & Vetterli 2007, with squared singular values.
    """
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    products = torch.zeros(table.shape[1], table.shape[1], dtype=torch.float64)
    for part in table.split(CHUNK):
        rows = part.double()
        total += rows.sum(0)
        products += rows.T @ rows
    mean = total / max(1, len(table))
    variances = torch.linalg.eigvalsh(products - len(table) * torch.outer(mean, mean)).clamp_min(0)
    if not variances.sum() > 0:
        return 0.0
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())


def report_table(table: Float[Tensor, "v h"], is_new: Bool[Tensor, " v"]) -> TableReport:
    """Compare the new rows of a table with the copied ones.

    Args:
        table: embedding or head of the new model.
        is_new: which rows a method made; there must be some of either kind.
    """
    new, shared = table[is_new], table[~is_new]
    scale = float(_norms(shared).mean())
    means = [rows.double().mean(0) for rows in (new, shared)]
    return TableReport(
        _quantiles(_norms(new) / scale),
        _quantiles(_norms(shared) / scale),
        effective_rank(new),
        effective_rank(shared),
        float(torch.cosine_similarity(means[0], means[1], dim=0)),
    )


def _norms(table: Float[Tensor, "rows h"]) -> Float[Tensor, " rows"]:
    return torch.cat([part.double().norm(dim=1) for part in table.split(CHUNK)])


def _quantiles(norms: Float[Tensor, " rows"]) -> RowNorms:
    points = torch.tensor([0, 0.05, 0.5, 0.95, 1], dtype=torch.float64)
    # Not torch.quantile, which takes no more than 16 million numbers.
    ordered = norms.sort().values
    return RowNorms(*ordered[(points * (len(ordered) - 1)).round().long()].tolist())


@torch.inference_mode()
def new_row_mass(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    is_new: Bool[Tensor, " v"],
    *,
    context: int = 512,
) -> NewRowMass:
    """Measure what share of the probability goes to new tokens on held-out text.

    Args:
        model: the new model.
        tokenizer: its tokenizer.
        documents: text; of each, the first ``context`` tokens count.
        is_new: which ids have rows that a method made.
        context: at least 2.

    Raises:
        ConfigError: no document has two tokens.
        CheckpointError: the model's logits are not those of its head.
    """
    total = torch.zeros(4, dtype=torch.float64)  # mass; new tokens; ln p of new; ln p of others
    n_tokens = 0
    for logits, wanted in _logits(model, tokenizer, documents, context):
        log_p = logits.float().log_softmax(1)
        new = is_new[wanted]
        log_wanted = log_p.gather(1, wanted.unsqueeze(1)).squeeze(1).double()
        total[0] += log_p[:, : len(is_new)][:, is_new].exp().sum(dtype=torch.float64)
        total[1] += new.sum()
        total[2] += log_wanted[new].sum()
        total[3] += log_wanted[~new].sum()
        n_tokens += len(wanted)
    if not n_tokens:
        raise ConfigError("no document has two tokens: there is nothing to predict", "pass text")
    mass, n_new, of_new, of_others = total.tolist()
    ratio = of_new / max(1, n_new) - of_others / max(1, n_tokens - n_new)
    return NewRowMass(mass / n_tokens, n_new / n_tokens, ratio, n_tokens)


def _logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    context: int,
) -> Iterator[tuple[Float[Tensor, "p v"], Int64[Tensor, " p"]]]:
    """Yield the logits of some positions and the ids that come there, few at a time."""
    head, transform = output_head(model), logit_transform(model.config)
    rows = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
    start = document_start(model, tokenizer)
    is_checked = False
    for ids in encode_documents(tokenizer, documents):
        tokens = torch.tensor([[start, *ids][:context]])
        if tokens.shape[1] < 2:
            continue
        if not is_checked:
            check_logits(model, tokens)
            is_checked = True
        with skipped_head(head) as received:
            model(input_ids=tokens, use_cache=False)
        hidden, wanted = received[0][0, :-1], tokens[0, 1:]
        for states, successors in zip(hidden.split(rows), wanted.split(rows), strict=True):
            yield transform(head(states)), successors
