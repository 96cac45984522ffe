"""Bits per byte of raw text: the one likelihood that models with different tokenizers share.

A model's perplexity is per token, so it cannot be compared once the tokenizer changes. The bits
that a model spends on a text, divided by the text's UTF-8 bytes, can. The bytes are those of the
raw text, whatever the tokenizer's normalizer makes of it; a tokenizer that drops part of the text
spends nothing on it, so the share it drops is reported beside the value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.errors import CheckpointError, ConfigError
from saltlm.files.progress import progress
from saltlm.models.logits import (
    LogitTransform,
    check_logits,
    document_start,
    logit_transform,
    output_head,
    skipped_head,
)
from saltlm.scoring.bootstrap import LEVEL, SAMPLES, percentiles, resampled_sums
from saltlm.tokenizer.fertility import encode_documents, lost_bytes

# Logits that exist at once: 2^24 float32 values are 64 MiB.
_LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True)
class BitsPerByte:
    """What a model spends on each of some documents.

    Attributes:
        bits: bits per document, the sum over its tokens of -log2 p.
        n_bytes: UTF-8 bytes of each raw document.
        n_tokens: predicted tokens of each document.
        n_lost: bytes of each document that its tokens do not give back.
    """

    bits: tuple[float, ...]
    n_bytes: tuple[int, ...]
    n_tokens: tuple[int, ...]
    n_lost: tuple[int, ...]

    @property
    def value(self) -> float:
        """Bits per byte over all documents."""
        return sum(self.bits) / sum(self.n_bytes)

    @property
    def lost_share(self) -> float:
        """Share of the bytes that the tokenizer drops or changes."""
        return sum(self.n_lost) / sum(self.n_bytes)

    def interval(
        self, *, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0
    ) -> tuple[float, float]:
        """Return the percentile bootstrap interval of the value, resampling whole documents."""
        items = np.array([self.bits, self.n_bytes], np.float64)
        bits, n_bytes = resampled_sums(items, seed, samples)
        return percentiles(bits / n_bytes, level)


class Window(NamedTuple):
    """Tokens ``start`` to ``end`` of a document go in; the successors of the last ones count."""

    document: int
    start: int
    end: int
    first_scored: int


def bits_per_byte(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    context: int | None = None,
    stride: int | None = None,
    batch: int = 8,
) -> BitsPerByte:
    """Return the bits that a causal model spends per byte of the documents.

    Each document is read on its own, in windows of at most ``context`` tokens that advance by
    ``stride``; every token is predicted exactly once, with at least ``context - stride`` tokens
    before it where the document has them. The first token is predicted from `document_start`;
    the end of a document is not predicted.

    Args:
        model: a causal language model; it stays in its dtype and on its device.
        tokenizer: the model's tokenizer.
        documents: raw texts; empty ones are left out.
        prompts: a text before each document, which is read but not predicted.
        context: tokens in a window; by default 1,024, or all that the model has positions for.
        stride: tokens a window advances by, by default half of it; smaller is closer to unlimited
            context, and slower.
        batch: windows in one forward pass.

    Raises:
        ConfigError: there is no text, or ``context``, ``stride`` and the model do not fit.
        CheckpointError: the model has no head, or too few rows for the tokenizer's ids, or its
            logits are not a function of its head's output that is known here.
        VocabularyError: nothing can stand before a document's first token.
    """
    before = prompts if prompts is not None else [""] * len(documents)
    both = [(prompt, text) for prompt, text in zip(before, documents, strict=True) if text]
    documents = [text for _, text in both]
    if context is None:
        context = min(1024, _positions(model) or 1024)
    if stride is None:
        stride = max(1, context // 2)
    _check_options(model, documents, context, stride, batch)
    head = output_head(model)
    given, ids = (
        encode_documents(tokenizer, [prompt for prompt, _ in both]),
        encode_documents(tokenizer, documents),
    )
    _check_ids(head, [*given, *ids])
    start = document_start(model, tokenizer)
    sequences = [
        torch.tensor([start, *prompt, *document], dtype=torch.int64)
        for prompt, document in zip(given, ids, strict=True)
    ]
    windows = _windows(list(map(len, sequences)), list(map(len, given)), context, stride)
    nats = _document_nats(model, head, sequences, windows, batch)
    return BitsPerByte(
        bits=tuple(nat / math.log(2) for nat in nats),
        n_bytes=tuple(len(document.encode()) for document in documents),
        n_tokens=tuple(map(len, ids)),
        n_lost=tuple(lost_bytes(tokenizer, documents, ids)),
    )


def tokens_forward(n_tokens: int, context: int) -> int:
    """Return how many tokens go forward when a document of so many is measured, as by default."""
    windows = _windows([n_tokens + 1], [0], context, max(1, context // 2))
    return sum(window.end - window.start for window in windows)


def _check_options(
    model: PreTrainedModel, documents: Sequence[str], context: int, stride: int, batch: int
) -> None:
    if not documents:
        raise ConfigError("there is no text to measure: every document is empty", "pass other text")
    if not 1 <= stride <= context:
        raise ConfigError(
            f"stride {stride} with context {context}: a window advances by 1 to its length",
            "choose 1 <= stride <= context",
        )
    if batch < 1:
        raise ConfigError(f"batch is {batch}: no window fits into it", "choose batch >= 1")
    positions = _positions(model)
    if positions is not None and context > positions:
        raise ConfigError(
            f"context {context} is more than the model's {positions} positions",
            f"choose context <= {positions}",
        )


def _positions(model: PreTrainedModel) -> int | None:
    positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return positions


def _check_ids(head: nn.Linear, ids: Sequence[Sequence[int]]) -> None:
    rows = head.weight.shape[0]
    highest = max((max(document) for document in ids if document), default=0)
    if highest >= rows:
        raise CheckpointError(
            f"the tokenizer gives id {highest}, but the model's head has {rows} rows",
            "load the tokenizer that belongs to the model",
        )


def _windows(
    lengths: Sequence[int], n_given: Sequence[int], context: int, stride: int
) -> list[Window]:
    """Return the windows that score something, the longest first: like lengths share a batch."""
    windows = []
    for document, (length, scored) in enumerate(zip(lengths, n_given, strict=True)):
        n_inputs = length - 1
        for start in range(0, n_inputs, stride):
            end = min(start + context, n_inputs)
            if end > scored:
                windows.append(Window(document, start, end, scored))
                scored = end
            if end == n_inputs:
                break
    return sorted(windows, key=lambda window: window.start - window.end)


@torch.no_grad()  # not inference mode: FSDP2 keeps the buffers that it fills here
def _document_nats(
    model: PreTrainedModel,
    head: nn.Linear,
    sequences: Sequence[Tensor],
    windows: Sequence[Window],
    batch: int,
) -> list[float]:
    """Return per document the sum of -ln p over its tokens."""
    nats = [0.0] * len(sequences)
    was_training = model.training
    model.train(False)
    try:
        check_logits(model, sequences[0][None, :1].to(model.device))
        for first in progress(range(0, len(windows), batch), desc="bits per byte"):
            group = windows[first : first + batch]
            values = _window_nats(model, head, sequences, group)
            for window, value in zip(group, values, strict=True):
                nats[window.document] += value
    finally:
        model.train(was_training)
    return nats


def _window_nats(
    model: PreTrainedModel,
    head: nn.Linear,
    sequences: Sequence[Tensor],
    windows: Sequence[Window],
) -> list[float]:
    """Return per window the sum of -ln p over the tokens that it scores."""
    shape = (len(windows), max(window.end - window.start for window in windows))
    inputs = torch.zeros(shape, dtype=torch.int64)
    targets = torch.zeros(shape, dtype=torch.int64)
    is_input = torch.zeros(shape, dtype=torch.bool)
    is_scored = torch.zeros(shape, dtype=torch.bool)
    for row, (document, start, end, first_scored) in enumerate(windows):
        inputs[row, : end - start] = sequences[document][start:end]
        targets[row, : end - start] = sequences[document][start + 1 : end + 1]
        is_input[row, : end - start] = True
        is_scored[row, first_scored - start : end - start] = True
    device = model.device
    mask = is_input.long().to(device)
    with skipped_head(head) as received:
        model(input_ids=inputs.to(device), attention_mask=mask, use_cache=False)
    is_scored = is_scored.to(device)
    hidden, wanted = received[0][is_scored], targets.to(device)[is_scored]
    per_token = torch.zeros(shape, dtype=torch.float64, device=device)
    per_token[is_scored] = _token_nats(head, logit_transform(model.config), hidden, wanted)
    sums: list[float] = per_token.sum(1).tolist()
    return sums


def _token_nats(
    head: nn.Linear,
    transform: LogitTransform,
    hidden: Float[Tensor, "p h"],
    wanted: Int64[Tensor, " p"],
) -> Float[Tensor, " p"]:
    """Return -ln p of the wanted tokens, in float64, with few rows of logits at a time."""
    rows = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
    return torch.cat(
        [
            nn.functional.cross_entropy(
                transform(head(hidden[i : i + rows])).float(),
                wanted[i : i + rows],
                reduction="none",
            ).double()
            for i in range(0, len(wanted), rows)
        ]
    )
