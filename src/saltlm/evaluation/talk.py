"""A model answers one turn of a chat, or goes on with a text if it has no chat template."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.evaluation.written import continued
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


def reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Mapping[str, str]],
    *,
    n_new: int,
    temperature: float = 0.0,
) -> str:
    """Return the answer to the last turn.

    Args:
        model: in evaluation mode.
        tokenizer: of it.
        turns: role and content of each.
        n_new: tokens at most.
        temperature: of the draws; 0 takes the likeliest token each time.

    Raises:
        VocabularyError: the chat template is broken.
    """
    ids = prompt_ids(model, tokenizer, turns)
    new = continued(model, tokenizer, ids, most=n_new, temperature=temperature)
    text: str = tokenizer.decode(new, skip_special_tokens=True)
    return text
