"""What a model writes, greedily, until it ends by itself or has written enough."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.models.logits import document_start
from saltlm.tokenizer.fertility import encode_documents


@dataclass(frozen=True)
class Written:
    """An answer.

    Attributes:
        text: without special tokens.
        is_ended: whether the model ended it.
    """

    text: str
    is_ended: bool


@torch.no_grad()
def write_after(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    most: int,
    is_chat: bool = False,
) -> Written:
    """Return what a model writes after a text.

    Args:
        model: a causal language model.
        tokenizer: of it.
        text: special tokens in it are read as such.
        most: tokens to write.
        is_chat: the text is a rendered chat, which says itself what stands at its beginning.
    """
    ends = text_ends(model, tokenizer)
    start = [] if is_chat else [document_start(model, tokenizer)]
    ids = torch.tensor([[*start, *encode_documents(tokenizer, [text])[0]]], device=model.device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=sorted(ends) or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
    )
    made: Any = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
    )
    new = made[0, ids.shape[1] :].tolist()
    is_ended = bool(new) and new[-1] in ends
    return Written(tokenizer.decode(new, skip_special_tokens=True), is_ended)


def text_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids at which the model's texts end."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    return {id for id in ids if id is not None}
