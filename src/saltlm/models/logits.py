"""What a model does between its last hidden states and its logits.

It is read from the model's own head and configuration, and `check_logits` proves it on the model
itself, so that logits can be computed in pieces outside of the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.errors import CheckpointError, VocabularyError

_BETWEEN_DOCUMENTS = ("<|endoftext|>", "<|end_of_text|>")


@dataclass(frozen=True)
class LogitTransform:
    """What becomes of the head's output: scaled, then soft-capped.

    Attributes:
        scale: a factor (Cohere, Falcon-H1, Granite).
        cap: the largest absolute value, approached by tanh (Gemma 2); None for none.
    """

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
        """Return the model's logits for the head's output."""
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def logit_transform(config: PreTrainedConfig) -> LogitTransform:
    """Return what a model does to its head's output, by its configuration."""
    text = config.get_text_config()
    scale = getattr(text, "logit_scale", None) or 1.0
    scale *= getattr(text, "lm_head_multiplier", None) or 1.0
    scale /= getattr(text, "logits_scaling", None) or 1.0
    cap = getattr(text, "final_logit_softcapping", None)
    return LogitTransform(scale, cap or getattr(text, "logits_soft_cap", None))


def output_head(model: PreTrainedModel) -> nn.Linear:
    """Return the layer that makes logits.

    Raises:
        CheckpointError: the model has none.
    """
    head: nn.Linear | None = model.get_output_embeddings()
    if head is None:
        raise CheckpointError(
            f"{type(model).__name__} has no output head, so it gives no probabilities",
            "load it with AutoModelForCausalLM",
        )
    return head


@contextmanager
def skipped_head(head: nn.Linear) -> Iterator[list[Tensor]]:
    """Catch what the head would see, and let it do nothing: its output is one position of zeros.

    Under autocast even one position would convert the whole table.

    Yields:
        A list that gets the head's input at every forward pass of the model.
    """
    received: list[Tensor] = []

    def catch(hidden: Tensor) -> Tensor:
        received.append(hidden)
        return hidden.new_zeros(len(hidden), 1, head.out_features)

    own = vars(head).get("forward")  # where a model lies on several devices
    head.forward = catch  # type: ignore[method-assign, assignment]
    try:
        yield received
    finally:
        del head.forward
        if own is not None:
            head.forward = own  # type: ignore[method-assign]


@torch.no_grad()
def check_logits(model: PreTrainedModel, ids: Int64[Tensor, "b t"]) -> None:
    """Make sure that head and `logit_transform` are all that a model does at its end.

    Args:
        model: a causal language model.
        ids: any text.

    Raises:
        CheckpointError: its logits are something else, or no numbers.
    """
    head = output_head(model)
    received: list[Tensor] = []
    handle = head.register_forward_pre_hook(partial(_keep_first, received))
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    if logits.isnan().any():
        raise CheckpointError(
            f"the logits of {type(model).__name__} are not numbers: its weights are broken",
            "saltlm check DIR",
        )
    ours = logit_transform(model.config)(head(received[0][:, :1]))
    if not torch.allclose(ours, logits, rtol=1e-2, atol=1e-2):
        raise CheckpointError(
            f"{type(model).__name__} changes its logits after its head in a way unknown here",
            "please report the model's name",
        )


def _keep_first(received: list[Tensor], _: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    received.append(args[0])
    return (args[0][:, :1],)


def document_separator(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the id of what stood between documents in pre-training; None if that is not known.

    It is eos, but for chat models whose eos ends a turn: they keep the older token beside it.
    """
    if tokenizer.eos_token not in _BETWEEN_DOCUMENTS:
        for name in _BETWEEN_DOCUMENTS:
            id = tokenizer.convert_tokens_to_ids(name)  # of an unknown one: None, or unk's
            if id is not None and tokenizer.convert_ids_to_tokens(id) == name:
                return int(id)
    eos: int | None = tokenizer.eos_token_id
    return eos


def document_start(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id from which a document's first token is predicted.

    It is bos if the tokenizer itself puts bos before a text; else `document_separator`; else bos;
    else the bos that the model's config names.

    Raises:
        VocabularyError: there is none of them.
    """
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    configured = getattr(model.config.get_text_config(), "bos_token_id", None)
    for candidate in (bos if adds_bos else document_separator(tokenizer), bos, configured):
        if candidate is not None:
            return int(candidate)
    raise VocabularyError(
        "the tokenizer has neither bos nor eos, so nothing stands before a text's first token",
        "name one in the model's tokenizer_config.json",
    )
