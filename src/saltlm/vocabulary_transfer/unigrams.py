"""What unigram calibration needs: a mean hidden state, and frequencies."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.config.transfer import TransferConfig
from saltlm.files.documents import documents, first
from saltlm.methods.calibration import Unigrams, log_frequencies
from saltlm.models.logits import (
    document_start,
    logit_transform,
    output_head,
    skipped_head,
)
from saltlm.models.skeleton import loader_of
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.fertility import encode_documents
from saltlm.vocabulary_transfer.parents import Pair
from saltlm.vocabulary_transfer.rows import Plan

_CALIBRATION_DOCUMENTS = 200  # of the source's own text, for the mean hidden state


def unigrams_of(pair: Pair, plan: Plan, config: TransferConfig) -> Unigrams:
    """Return the mean hidden state on the source's own text, and the corpus' frequencies.

    Loads the whole source.

    Raises:
        ConfigError: there is no corpus to count in, or no text.
    """
    from transformers import AutoTokenizer

    texts = first(config.calibration.unigrams, _CALIBRATION_DOCUMENTS, "--set calibration.unigrams")
    directory = pair.source.directory
    loader = loader_of(pair.source.config)
    model = loader.from_pretrained(directory, dtype="auto", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    counts = count_tokens(
        pair.alignment.target.tokenizer, documents(config.corpus), n_rows=len(plan.origin)
    )
    logs = log_frequencies(counts)
    hidden = mean_hidden(model.eval(), tokenizer, texts) * logit_transform(model.config).scale
    # The corpus tells nothing of anchors that the new model does not have.
    log_shared = torch.where(plan.anchor_ids >= 0, logs[plan.anchor_ids], torch.nan)
    return Unigrams(hidden, log_shared=log_shared, log_new=logs[plan.new_ids])


@torch.inference_mode()
def mean_hidden(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    *,
    context: int = 512,
) -> Float[Tensor, " h_s"]:
    """Return the mean of what a model's head receives on text, for unigram calibration.

    Args:
        model: the source.
        tokenizer: the source's.
        documents: text of the source's own language; of each, the first ``context`` tokens count.
        context: at least 1.
    """
    head, start = output_head(model), document_start(model, tokenizer)
    total, n_tokens = torch.zeros(head.weight.shape[1], dtype=torch.float64), 0
    for ids in encode_documents(tokenizer, documents):
        with skipped_head(head) as received:
            model(input_ids=torch.tensor([[start, *ids][:context]]), use_cache=False)
        total += received[0][0].double().sum(0)
        n_tokens += received[0].shape[1]
    return (total / max(1, n_tokens)).float()
