"""What a bert and a t5 learn to predict: hidden words, and hidden spans."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saltlm.adaptation.loss import CHUNK_LOGITS, cross_entropy
from saltlm.adaptation.objective import CAUSAL, Objective
from saltlm.adaptation.packing import Frame
from saltlm.models.logits import output_head, skipped_head
from saltlm.pretraining.config import Arch
from saltlm.pretraining.tokenizer import SENTINELS, TrainedTokenizer
from saltlm.tokenizer.fertility import encode_documents
from saltlm.tokenizer.vocabulary import read_vocabulary

_LONGEST_WORD = 6  # tokens that are hidden together; text without spaces is cut into such parts
_SPAN = 3.0  # tokens in a hidden span, on average
_MASKED, _KEPT = 0.8, 0.1  # of hidden tokens; the rest becomes a random one


@dataclass(frozen=True)
class WordTable:
    """What the ids of a tokenizer are.

    Attributes:
        begins: whether a token begins a word, or stands alone as punctuation does.
        is_text: whether it is text, no special token.
        n_bytes: of the token.
    """

    begins: Bool[Tensor, " v"]
    is_text: Bool[Tensor, " v"]
    n_bytes: Int64[Tensor, " v"]


class Predicted(NamedTuple):
    """What a model spent: nats, on how many targets, that stand for so many bytes."""

    nats: Float[Tensor, ""]
    n_targets: int
    n_bytes: int


Predict = Callable[..., Predicted]


def words_of_tokens(trained: TrainedTokenizer) -> WordTable:
    """Return what the ids of a tokenizer are."""
    forms = read_vocabulary(trained.definition, special=trained.special.tokens).forms
    texts = [None if form is None else form.text.decode("utf-8", "replace") for form in forms]
    begins = [
        form is None
        or form.begins_word
        or not (text and (text[0].isalnum() or text[0] == "\ufffd"))
        for form, text in zip(forms, texts, strict=True)
    ]
    n_bytes = [0 if form is None else len(form.text) + form.begins_word for form in forms]
    return WordTable(
        torch.tensor(begins),
        torch.tensor([form is not None for form in forms]),
        torch.tensor(n_bytes, dtype=torch.int64),
    )


def objective_of(arch: Arch, trained: TrainedTokenizer, share: float) -> Objective:
    """Return the objective of an architecture.

    Args:
        arch: gpt, bert or t5.
        trained: the model's tokenizer.
        share: of words or tokens that are hidden.
    """
    if arch == "gpt":
        return CAUSAL
    ids, roles, words = trained.definition.ids, trained.roles, words_of_tokens(trained)
    if arch == "bert":
        frame = Frame(roles["cls"], roles["sep"])
        predict = partial(predict_words, words=words, mask=roles["mask"], share=share)
        return _objective(AutoModelForMaskedLM, predict, frame, separates=True)
    sentinels = torch.tensor([ids[token] for token in SENTINELS])
    end, start = roles["eos"], roles["pad"]
    predict = partial(
        predict_spans, words=words, sentinels=sentinels, end=end, start=start, share=share
    )
    return _objective(AutoModelForSeq2SeqLM, predict, Frame(end, None), separates=False)


def _objective(auto_class: Any, predict: Predict, frame: Frame, *, separates: bool) -> Objective:
    def accept(config: PreTrainedConfig, directory: Path) -> None:
        """Any model of ours is of the right kind."""

    return Objective(
        loader=lambda config: auto_class,
        check_config=accept,
        check_model=lambda model, ids: None,
        separates=lambda model, rows: separates,
        frame=lambda model, tokenizer: frame,
        loss=partial(_loss, predict=predict),
        measure=partial(_measure, predict=predict, frame=frame),
        reads=lambda n_tokens, context: n_tokens,
    )


def _loss(
    model: PreTrainedModel,
    ids: Int64[Tensor, "b t1"],
    positions: Int64[Tensor, "b t"] | None = None,
    *,
    predict: Predict,
    chunk_logits: int = CHUNK_LOGITS,
) -> Float[Tensor, ""]:
    tokens = ids[:, :-1]
    found = predict(model, tokens, positions, chunk_logits=chunk_logits)
    return found.nats * (tokens.numel() / max(1, found.n_targets))


@torch.no_grad()
def _measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    context: int,
    predict: Predict,
    frame: Frame,
    **_: int,
) -> float:
    """Return bits a byte of what is hidden in some documents, the same of them every time."""
    was_training = model.training
    model.train(False)
    nats, n_bytes = 0.0, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for window in _windows(encode_documents(tokenizer, texts), context, frame):
            found = predict(model, torch.tensor([window], device=model.device))
            nats, n_bytes = nats + float(found.nats), n_bytes + found.n_bytes
    model.train(was_training)
    return nats / max(1, n_bytes) / math.log(2)


def _windows(documents: Sequence[list[int]], context: int, frame: Frame) -> Iterator[list[int]]:
    ends = [] if frame.end is None else [frame.end]
    for ids in documents:
        framed = [frame.start, *ids, *ends]
        for first in range(0, len(framed), context):
            if len(window := framed[first : first + context]) > 1:
                yield window


def predict_words(
    model: PreTrainedModel,
    tokens: Int64[Tensor, "b t"],
    positions: Int64[Tensor, "b t"] | None = None,
    *,
    words: WordTable,
    mask: int,
    share: float,
    chunk_logits: int = CHUNK_LOGITS,
) -> Predicted:
    """Hide whole words, and return what a model spends on them.

    Args:
        model: a masked language model.
        tokens: of some sequences.
        positions: of each in its document, to which attention is kept; None: it sees all.
        words: what the ids are.
        mask: id of the mask token.
        share: of words that are hidden.
        chunk_logits: logits that exist at once.
    """
    hidden = hide_words(tokens, words, share)
    draw = torch.rand(tokens.shape).to(tokens.device)
    other = torch.randint(len(words.begins), tokens.shape).to(tokens.device)
    seen = torch.where(draw < _MASKED, mask, torch.where(draw < 1 - _KEPT, other, tokens))
    seen = torch.where(hidden, seen, tokens)
    named = {} if positions is None else {"attention_mask": same_document(positions)}
    head = output_head(model)
    with skipped_head(head) as received:
        model(input_ids=seen, **named)
    nats = cross_entropy(
        received[0][hidden], head.weight, head.bias, tokens[hidden], chunk_logits=chunk_logits
    )
    n_bytes = words.n_bytes.to(tokens.device)[tokens[hidden]].sum()
    return Predicted(nats, int(hidden.sum()), int(n_bytes))


def hide_words(tokens: Int64[Tensor, "b t"], words: WordTable, share: float) -> Bool[Tensor, "b t"]:
    """Return which tokens are hidden: those of a share of all words, drawn at random."""
    begins, is_text = (table.to(tokens.device)[tokens] for table in (words.begins, words.is_text))
    begins[:, 0] = True
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    begun = torch.where(begins, places, 0).cummax(1).values
    begins = (places - begun) % _LONGEST_WORD == 0
    number = begins.cumsum(1) - 1
    is_drawn = (torch.rand(tokens.shape) < share).to(tokens.device)
    return is_drawn.gather(1, number) & is_text


def same_document(positions: Int64[Tensor, "b t"]) -> Float[Tensor, "b 1 t t"]:
    """Return what is added to attention's scores: nothing inside a document, else no attention."""
    number = (positions == 0).cumsum(1)
    is_same = number[:, None, :, None] == number[:, None, None, :]
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(is_same.shape, device=positions.device).masked_fill(~is_same, lowest)


def predict_spans(
    model: PreTrainedModel,
    tokens: Int64[Tensor, "b t"],
    positions: Int64[Tensor, "b t"] | None = None,
    *,
    words: WordTable,
    sentinels: Int64[Tensor, " s"],
    end: int,
    start: int,
    share: float,
    chunk_logits: int = CHUNK_LOGITS,
) -> Predicted:
    """Put a sentinel for each of some spans, and return what a model spends on writing them.

    Args:
        model: an encoder with a decoder.
        tokens: of some sequences.
        positions: not used: attention crosses documents, as in T5.
        words: what the ids are.
        sentinels: ids of what stands for a span.
        end: id behind the last span.
        start: id with which the decoder begins.
        share: of tokens that are hidden.
        chunk_logits: logits that exist at once.
    """
    rows = [hide_spans(row, sentinels.to(tokens.device), end, share) for row in tokens]
    seen, targets = (torch.stack(part) for part in zip(*rows, strict=True))
    before = torch.cat([targets.new_full((len(targets), 1), start), targets[:, :-1]], 1)
    head = output_head(model)
    with skipped_head(head) as received:
        model(input_ids=seen, decoder_input_ids=before, use_cache=False)
    nats = cross_entropy(
        received[0].flatten(0, 1),
        head.weight,
        head.bias,
        targets.flatten(),
        chunk_logits=chunk_logits,
    )
    n_bytes = words.n_bytes.to(tokens.device)[targets].sum()
    return Predicted(nats, targets.numel(), int(n_bytes))


def hide_spans(
    tokens: Int64[Tensor, " t"], sentinels: Int64[Tensor, " s"], end: int, share: float
) -> tuple[Int64[Tensor, " e"], Int64[Tensor, " d"]]:
    """Return what an encoder reads of a sequence, and what the decoder is to write.

    How much is hidden, and in how many spans, is a function of the length.
    """
    n = len(tokens)
    n_hidden = min(n - 1, max(1, round(n * share)))
    n_spans = max(1, min(round(n_hidden / _SPAN), n - n_hidden, len(sentinels)))
    kept, hidden = (_parts(count, n_spans) for count in (n - n_hidden, n_hidden))
    lengths = [length for pair in zip(kept, hidden, strict=True) for length in pair]
    pieces = tokens.split(lengths)
    marks = sentinels[:n_spans].split(1)
    seen = [part for pair in zip(pieces[::2], marks, strict=True) for part in pair]
    written = [part for pair in zip(marks, pieces[1::2], strict=True) for part in pair]
    return torch.cat(seen), torch.cat([*written, tokens.new_tensor([end])])


def _parts(total: int, n_parts: int) -> list[int]:
    """Return the sizes of parts of a number, none of them empty, drawn at random."""
    cuts = (torch.randperm(total - 1)[: n_parts - 1] + 1).sort().values.tolist()
    return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
