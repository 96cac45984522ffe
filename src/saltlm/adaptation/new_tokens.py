"""What a model makes of its new tokens on held-out text: why bits per byte are what they are."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.models.logits import document_start, logit_transform, output_head, skipped_head
from saltlm.tokenizer.fertility import encode_documents

DOCUMENTS = 32  # of each text are looked at, the first


@torch.no_grad()  # not inference mode: FSDP2 keeps the buffers that it fills here
def new_token_measures(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    is_new: Bool[Tensor, " v"],
    *,
    context: int,
    chunk_logits: int,
) -> dict[str, float | None]:
    """Return what a model does with new tokens, over the positions of some documents.

    Args:
        model: a causal language model.
        tokenizer: the model's.
        documents: held-out text.
        is_new: which rows a transfer made.
        context: of each document, so many tokens count.
        chunk_logits: logits that exist at once.

    Returns:
        ``targets``: share of the right tokens that are new. ``probability``: mean probability that
        is on new tokens; in a model that knows its vocabulary it is as large as that share.
        ``greedy``: share of the likeliest tokens that are new. ``rank``: median place of the right
        token among all by probability, where it is new; 1 is the likeliest. ``loss_new``,
        ``loss_old``: nats a token where the right token is new or old. None: there is no such one.
    """
    head, transform = output_head(model), logit_transform(model.config)
    start = document_start(model, tokenizer)
    is_new = is_new.to(head.weight.device)
    was_training = model.training
    model.train(False)
    parts = []
    for ids in encode_documents(tokenizer, documents):
        sequence = torch.tensor([start, *ids][: context + 1], device=model.device)
        if len(sequence) < 2:
            continue
        with skipped_head(head) as received:
            model(input_ids=sequence[None, :-1], use_cache=False)
        rows = max(1, chunk_logits // head.weight.shape[0])
        for hidden, wanted in zip(
            received[0][0].split(rows), sequence[1:].split(rows), strict=True
        ):
            parts.append(position_measures(transform(head(hidden)).float(), wanted, is_new))
    model.train(was_training)
    return _summary(torch.cat(parts) if parts else torch.zeros(0, 5, dtype=torch.float64))


def position_measures(
    logits: Float[Tensor, "p v"], wanted: Int64[Tensor, " p"], is_new: Bool[Tensor, " v"]
) -> Float[Tensor, "p 5"]:
    """Return, position by position, in float64.

    Whether the right token is new, the probability of all new tokens, whether the likeliest token
    is new, the rank of the right token, and its loss in nats.
    """
    of_wanted = logits.gather(1, wanted.unsqueeze(1))
    total = logits.logsumexp(1)
    columns = [
        is_new[wanted],
        (logits[:, is_new].logsumexp(1) - total).exp(),
        is_new[logits.argmax(1)],
        1 + (logits > of_wanted).sum(1),
        total - of_wanted.squeeze(1),
    ]
    return torch.stack([column.double().cpu() for column in columns], 1)


def _summary(measures: Float[Tensor, "p 5"]) -> dict[str, float | None]:
    target_is_new = measures[:, 0] == 1
    new, old = measures[target_is_new], measures[~target_is_new]
    values = {
        "targets": measures[:, 0].mean(),
        "probability": measures[:, 1].mean(),
        "greedy": measures[:, 2].mean(),
        "rank": new[:, 3].quantile(0.5) if len(new) else torch.tensor(math.nan),
        "loss_new": new[:, 4].mean(),
        "loss_old": old[:, 4].mean(),
    }
    return {name: None if value.isnan() else float(value) for name, value in values.items()}
