"""What a model writes after beginnings of the held-out text, before training and after it."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.evaluation.generation import prompt_of
from saltlm.evaluation.written import write_after

_LONGEST = 80  # characters of a beginning
_TOKENS = 24  # that are written at most


class Sample(NamedTuple):
    """A beginning, and what the model wrote after it."""

    beginning: str
    before: str
    after: str


def continuations(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> dict[str, str]:
    """Return what a model writes after the beginning of each text, greedily.

    Args:
        model: a causal language model; it is left in the mode that it was in.
        tokenizer: of it.
        texts: documents.
    """
    was_training = model.training
    model.train(False)
    beginnings = [prompt_of(text[: 2 * _LONGEST]) for text in texts]
    try:
        return {
            beginning: write_after(model, tokenizer, beginning, most=_TOKENS).text
            for beginning in beginnings
        }
    finally:
        model.train(was_training)
