"""A model answers one turn of a chat, or goes on with a text if it has no chat template."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.evaluation.written import text_ends
from saltlm.models.logits import document_start
from saltlm.tokenizer.chat import render_chat
from saltlm.tokenizer.fertility import encode_documents


def prompt_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]]
) -> list[int]:
    """Return what a model reads before it answers.

    Without a chat template that is the last turn alone, as the beginning of a document.

    Raises:
        VocabularyError: the template is broken.
    """
    if tokenizer.chat_template is None:
        beginning = encode_documents(tokenizer, [turns[-1]["content"]])[0]
        return [document_start(model, tokenizer), *beginning]
    text = render_chat(tokenizer, turns, is_open=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@torch.no_grad()
def reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Mapping[str, str]],
    *,
    n_new: int,
    temperature: float = 0.0,
    streamer: Any = None,
) -> str:
    """Return the answer to the last turn.

    Args:
        model: in evaluation mode.
        tokenizer: of it.
        turns: role and content of each.
        n_new: tokens at most.
        temperature: of the draws; 0 takes the likeliest token each time.
        streamer: of transformers, is told each token as it comes; None: none.

    Raises:
        VocabularyError: the chat template is broken.
    """
    ids = torch.tensor([prompt_ids(model, tokenizer, turns)], device=model.device)
    draws = {"do_sample": True, "temperature": temperature} if temperature else {}
    settings = GenerationConfig(
        max_new_tokens=n_new,
        eos_token_id=sorted(text_ends(model, tokenizer)) or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        **draws,
    )
    made: Any = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=settings,
        streamer=streamer,
    )
    text: str = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    return text
