"""The loss of a causal language model, without the logits of a batch ever existing whole.

With 256k tokens in the vocabulary, the logits of 8,192 positions take 8 GB in float32, and their
gradient as much again. Here they are made a few positions at a time and turned at once into the
gradients of the hidden states and of the head, as Liger Kernel does on GPUs.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from saltlm.models.logits import LogitTransform, logit_transform, output_head, skipped_head

CHUNK_LOGITS = 2**26  # with fewer, the head is read too often; 256 MiB in float32
_IN_CACHE = 2**20  # numbers that a processor works on before it goes on to others
_FACTOR: ContextVar[float | None] = ContextVar("factor", default=None)


@runtime_checkable  # for the checks of types in tests
class SoftTargets(Protocol):
    """What a teacher predicts at each position, and how much of the target it is."""

    @property
    def share(self) -> Float[Tensor, " p"]:
        """Share of the target that is the teacher's; the rest is the token of the text."""

    def subtract_from(self, gradient: Float[Tensor, "p v"], part: slice) -> None:
        """Take share times probability at some positions off the gradient there."""


class Inside(nn.Module):
    """A model whose forward pass is any function of it.

    DDP and FSDP2 act when a forward pass begins and ends, and under FSDP2 the weights are whole
    only in between. So whatever needs them runs inside: the loss, and what measures the model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # the layers that FSDP2 shards one by one

    def forward(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Return ``function(model, ...)``."""
        return function(self.model, *args, **named)


@contextmanager
def into_gradients(model: PreTrainedModel, factor: float) -> Iterator[None]:
    """Add the gradients of both tables to what is there, without making tables of them first.

    Inside, a `causal_loss` must be multiplied by the factor and its backward pass must run, once:
    the head's part is added as the loss is made. The embedding's is added by the rows that occur,
    of any loss. For one process, and weights that are whole and in float32 or more.
    """
    embedding: nn.Embedding = model.get_input_embeddings()
    for weight in (embedding.weight, output_head(model).weight):
        if weight.requires_grad and weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    was_sparse, embedding.sparse = embedding.sparse, embedding.weight.device.type == "cpu"
    token = _FACTOR.set(factor)
    try:
        yield
    finally:
        _FACTOR.reset(token)
        embedding.sparse = was_sparse


def causal_loss(
    model: PreTrainedModel,
    ids: Int64[Tensor, "b t1"],
    positions: Int64[Tensor, "b t"] | None = None,
    *,
    chunk_logits: int = CHUNK_LOGITS,
    soft: SoftTargets | None = None,
) -> Float[Tensor, ""]:
    """Return the sum of -ln p of every token after the first of each sequence.

    Args:
        model: a causal language model.
        ids: the tokens of each sequence and the one after it.
        positions: of each token in its document; None lets attention cross documents.
        chunk_logits: logits that exist at once.
        soft: what a teacher predicts there; see `cross_entropy`.
    """
    where = {} if positions is None else {"position_ids": positions}
    head = output_head(model)
    with skipped_head(head) as received:
        model(input_ids=ids[:, :-1], use_cache=False, **where)
    return cross_entropy(
        received[0].flatten(0, 1),
        head.weight,
        head.bias,
        ids[:, 1:].flatten(),
        transform=logit_transform(model.config),
        chunk_logits=chunk_logits,
        soft=soft,
        factor=_FACTOR.get(),
    )


def cross_entropy(
    hidden: Float[Tensor, "p h"],
    weight: Float[Tensor, "v h"],
    bias: Float[Tensor, " v"] | None,
    targets: Int64[Tensor, " p"],
    *,
    transform: LogitTransform | None = None,
    chunk_logits: int = CHUNK_LOGITS,
    soft: SoftTargets | None = None,
    factor: float | None = None,
) -> Float[Tensor, ""]:
    """Return the sum over positions of -ln p(target), differentiable once.

    The gradients are made in the forward pass; the backward pass only scales them. Products are
    in autocast's dtype, the rest and the head's gradient in float32 at least.

    With a teacher q, the gradient is that of the sum of (1 - s) (-ln p(target)) + s KL(q | p) for
    the share s. The value stays -ln p(target), which can be compared with that of any other run.

    Args:
        hidden: what the head receives.
        weight: of the head; a tied embedding as well.
        bias: of the head.
        targets: the right token at each position.
        transform: what the model does to the head's output.
        chunk_logits: logits that exist at once; at least those of one position do.
        soft: what a teacher predicts at each position.
        factor: what the loss will be multiplied with; the weight's gradient is then added to the
            one it has, at once.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, targets, transform or LogitTransform(), chunk_logits, soft, factor
        )
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: LogitTransform,
        chunk_logits: int,
        soft: SoftTargets | None,
        factor: float | None,
    ) -> Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        needs = list(ctx.needs_input_grad)
        is_added = factor is not None and needs[1] and weight.grad is not None
        needs[1] = needs[1] and not is_added
        needed = zip((hidden, weight, bias), needs, strict=False)
        d_hidden, d_weight, d_bias = (
            torch.zeros_like(tensor, dtype=exact) if wanted and tensor is not None else None
            for tensor, wanted in needed
        )
        of_weight, scale = (weight.grad, factor or 0.0) if is_added else (d_weight, 1.0)
        table = weight.detach()
        if table.device.type != "cpu":  # there it is converted a part at a time, in the cache
            table = table.to(hidden.dtype)
        blocks = _slices(len(table), table.shape[1], table.device)
        rows = max(1, chunk_logits // len(weight))
        buffer = hidden.new_empty(min(rows, len(hidden)), len(weight))
        total = hidden.new_zeros((), dtype=exact)
        for first in range(0, len(hidden), rows):
            at = slice(first, first + rows)
            part = hidden[at]
            d_logits = buffer[: len(part)]
            for block in blocks:
                torch.mm(part, table[block].to(hidden.dtype).t(), out=d_logits[:, block])
            for few in _slices(len(part), len(weight), hidden.device):
                logits = d_logits[few] if bias is None else d_logits[few] + bias
                here = slice(first + few.start, first + few.stop)
                losses, gradient = _losses(logits.to(exact), targets[here], transform, soft, here)
                total += losses.sum()
                if d_bias is not None:
                    d_bias += gradient.sum(0)
                d_logits[few] = gradient
            for block in blocks:
                of_logits = d_logits[:, block]
                if d_hidden is not None:
                    d_hidden[at] += of_logits @ table[block].to(hidden.dtype)
                if of_weight is not None and of_weight.dtype == hidden.dtype:
                    of_weight[block].addmm_(of_logits.t(), part, alpha=scale)
                elif of_weight is not None:
                    of_weight[block].add_(of_logits.t() @ part, alpha=scale)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.dtypes = [tensor is not None and tensor.dtype for tensor in (hidden, weight, bias)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [
            None if gradient is None else gradient.mul_(factor).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *gradients, None, None, None, None, None


def _slices(n: int, width: int, device: torch.device) -> list[slice]:
    """Return parts of some rows that fit in a processor's cache; on another device, all in one."""
    rows = max(1, _IN_CACHE // width) if device.type == "cpu" else n
    return [slice(first, min(first + rows, n)) for first in range(0, n, rows)]


def _losses(
    logits: Float[Tensor, "p v"],
    targets: Int64[Tensor, " p"],
    transform: LogitTransform,
    soft: SoftTargets | None,
    at: slice,
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p v"]]:
    """Return -ln p of each target, and the gradient by the head's output in the logits' memory."""
    logits = transform(logits)
    slope = None if transform.cap is None else 1 - (logits / transform.cap).square()
    wanted = targets.unsqueeze(1)
    of_wanted = logits.gather(1, wanted)
    highest = logits.amax(1, keepdim=True)
    probabilities = logits.sub_(highest).exp_()
    sums = probabilities.sum(1, keepdim=True)
    losses = (sums.log() + highest - of_wanted).squeeze(1)
    gradient = probabilities.div_(sums)
    of_text = torch.full_like(of_wanted, -1.0)
    if soft is not None:
        soft.subtract_from(gradient, at)
        of_text += soft.share[at].unsqueeze(1).to(of_text.dtype)
    gradient.scatter_add_(1, wanted, of_text)
    if slope is not None:
        gradient *= slope
    if transform.scale != 1.0:
        gradient *= transform.scale
    return losses, gradient


@torch.no_grad()
def separates_documents(model: PreTrainedModel, rows: int) -> bool:
    """Whether a model keeps attention inside a document when the positions restart with it.

    It is tried: the second of two documents must come out the same whatever the first one says.
    transformers masks so for most decoders; recurrent models and those without ``position_ids``
    cannot, and flash attention can only do it for one sequence at a time.

    Args:
        model: on the device and in the dtype in which it is trained.
        rows: sequences at once.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    n = 8
    documents = torch.arange(3 * n, device=model.device) % model.config.get_text_config().vocab_size
    first, second, other = documents.expand(rows, -1).split(n, 1)
    positions = torch.arange(n, device=model.device).repeat(2).expand(rows, -1)
    was_training = model.training
    model.train(False)
    with skipped_head(output_head(model)) as received:
        for before in (first, other):
            ids = torch.cat([before, second], 1)
            model(input_ids=ids, position_ids=positions, use_cache=False)
    model.train(was_training)
    one, same = (hidden[:, n:].float() for hidden in received)
    # Bit for bit in most models; where the first document changes how experts are filled, nearly.
    return bool((one - same).norm() <= 2e-2 * one.norm())
