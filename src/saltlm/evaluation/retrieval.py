"""Retrieval: does a sentence lie nearer to its translation than to any other sentence?

The vector of a sentence at a layer is the mean of its tokens' hidden states there. Hidden states
of a language share a large part that says which language it is, so the mean over the sentences of
a language is taken off first; without that, a few dimensions decide.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.files.progress import progress
from saltlm.models.logits import document_start, output_head, skipped_head
from saltlm.tokenizer.fertility import encode_documents

_MOST_TOKENS = 1024  # at once: the states of all layers exist together
_LONGEST = 512  # tokens of a sentence that are read


@torch.no_grad()
def sentence_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]
) -> Float[Tensor, "l n h"]:
    """Return the mean hidden state of each sentence at each layer, the embedding layer first.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: of the model.
        sentences: not empty; of a long one, the first 512 tokens are read.
    """
    start, head = document_start(model, tokenizer), output_head(model)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = min(_LONGEST, positions or _LONGEST)
    ids = [[start, *sentence][:longest] for sentence in encode_documents(tokenizer, sentences)]
    lengths = list(map(len, ids))
    made: list[tuple[list[int], Tensor]] = []
    for group in progress(list(_length_groups(lengths)), desc="hidden states"):
        shape = (len(group), max(lengths[index] for index in group))
        inputs = torch.zeros(shape, dtype=torch.int64)
        mask = torch.zeros(shape, dtype=torch.int64)
        for row, index in enumerate(group):
            inputs[row, : lengths[index]] = torch.tensor(ids[index])
            mask[row, : lengths[index]] = 1
        inputs, mask = inputs.to(model.device), mask.to(model.device)
        with skipped_head(head):
            states = model(
                input_ids=inputs, attention_mask=mask, output_hidden_states=True, use_cache=False
            ).hidden_states
        weights = mask.float()
        weights[:, 0] = 0  # what stands before every sentence says nothing of any
        weights /= weights.sum(1, keepdim=True).clamp(min=1)
        means = [torch.einsum("bt,bth->bh", weights, layer.float()) for layer in states]
        made.append((group, torch.stack(means).cpu()))
    order = torch.tensor([index for group, _ in made for index in group])
    return torch.cat([means for _, means in made], 1)[:, order.argsort()]


def _length_groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indices of sentences that go together, the longest first: little is padding."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = max(1, _MOST_TOKENS // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def retrieved(queries: Float[Tensor, "l n h"], keys: Float[Tensor, "l n h"]) -> Bool[Tensor, "l n"]:
    """Return whether each query's nearest key, by cosine after centring, is the one of its place.

    A query that is as near to another key as to its own counts as not retrieved.
    """
    centred = [vectors - vectors.mean(1, keepdim=True) for vectors in (queries, keys)]
    left, right = (torch.nn.functional.normalize(vectors, dim=-1) for vectors in centred)
    cosines = left @ right.mT
    own = cosines.diagonal(dim1=1, dim2=2).clone()
    cosines.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    return own > cosines.amax(2)
