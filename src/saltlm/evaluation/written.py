"""What a model writes until it ends by itself or has written enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.models.logits import document_separator, document_start
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
    start = [] if is_chat else [document_start(model, tokenizer)]
    ids = [*start, *encode_documents(tokenizer, [text])[0]]
    new = continued(model, tokenizer, ids, most=most)
    is_ended = bool(new) and new[-1] in text_ends(model, tokenizer)
    return Written(tokenizer.decode(new, skip_special_tokens=True), is_ended)


@torch.no_grad()
def continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    *,
    most: int,
    temperature: float = 0.0,
) -> list[int]:
    """Return the ids that a model writes after others, until it ends by itself.

    Args:
        model: a causal language model, in evaluation mode.
        tokenizer: of it.
        ids: what it goes on with.
        most: tokens to write.
        temperature: of the draws; 0 takes the likeliest token each time.
    """
    given = torch.tensor([ids], device=model.device)
    draws = {"temperature": temperature} if temperature else {}
    settings = GenerationConfig(
        do_sample=bool(temperature),
        max_new_tokens=most,
        eos_token_id=sorted(text_ends(model, tokenizer)) or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        **draws,
    )
    made: Any = model.generate(
        input_ids=given, attention_mask=torch.ones_like(given), generation_config=settings
    )
    new: list[int] = made[0, len(ids) :].tolist()
    return new


def text_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids at which the model's texts end."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    return {id for id in [*ids, document_separator(tokenizer)] if id is not None}
