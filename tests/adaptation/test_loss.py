"""The chunked loss is the plain loss, with its gradients; documents are kept apart."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconH1Config,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from saltlm.adaptation.loss import (
    Inside,
    causal_loss,
    cross_entropy,
    into_gradients,
    separates_documents,
)
from saltlm.errors import CheckpointError
from saltlm.models.logits import LogitTransform, check_logits, logit_transform, output_head

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
MODELS = {
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "untied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    ),
    "soft cap": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, final_logit_softcapping=0.5, query_pre_attn_scalar=8)
    ),
    "scale": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)),
    "division": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=3.0)),
}


def build(kind: str, dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    model = MODELS[kind]().to(dtype)
    for weight in model.parameters():  # far from the small values of initialisation
        nn.init.normal_(weight, std=0.3)
    return model.eval()


def plain_loss(model, ids, positions):
    logits = model(input_ids=ids[:, :-1], position_ids=positions, use_cache=False).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")


@pytest.mark.parametrize("kind", MODELS)
def test_loss_and_gradients_of_models_are_those_of_whole_logits(kind):
    ids = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([[*range(5), *range(6)]] * 3)
    expected, ours = build(kind), build(kind)
    loss = plain_loss(expected, ids, positions)
    loss.backward()
    # Three positions at once.
    value = Inside(ours)(causal_loss, ids, positions, chunk_logits=170)
    (value * 0.5).backward()
    assert torch.allclose(value, loss, rtol=1e-12)
    for (name, a), (_, b) in zip(expected.named_parameters(), ours.named_parameters(), strict=True):
        assert torch.allclose(a.grad * 0.5, b.grad, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_that_are_added_where_they_are_made_are_the_same(kind, dtype):
    """Of two batches, one after the other; in bfloat16 by autocast."""
    is_exact = dtype == torch.float64
    ids = torch.randint(50, (6, 12), generator=torch.Generator().manual_seed(1))
    expected, ours = (build(kind, torch.float64 if is_exact else torch.float32) for _ in range(2))
    for part in ids.split(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=not is_exact):
            (causal_loss(expected, part, chunk_logits=170) * 0.3).backward()
        with into_gradients(ours, 0.3):
            with torch.autocast("cpu", torch.bfloat16, enabled=not is_exact):
                loss = causal_loss(ours, part, chunk_logits=170)
            (loss * 0.3).backward()
    close = {"rtol": 1e-9, "atol": 1e-12} if is_exact else {"rtol": 1e-2, "atol": 1e-2}
    for (name, a), (_, b) in zip(expected.named_parameters(), ours.named_parameters(), strict=True):
        assert not b.grad.is_sparse
        assert torch.allclose(a.grad, b.grad, **close), name
    assert not ours.get_input_embeddings().sparse
    causal_loss(ours, ids).backward()  # the way without
    assert not torch.allclose(expected.lm_head.weight.grad, ours.lm_head.weight.grad, **close)


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_no_second_gradient_of_a_table_is_made(kind):
    class Made(TorchDispatchMode):
        tables = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **kwargs or {})
            if isinstance(result, torch.Tensor) and result.layout == torch.strided:
                is_new = result.untyped_storage().data_ptr() not in known
                self.tables += is_new and result.numel() >= 50 * 16
            return result

    ids = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))
    model = build(kind)
    with into_gradients(model, 1.0):
        tables = {model.lm_head.weight, model.get_input_embeddings().weight}
        known = {tensor.untyped_storage().data_ptr() for t in tables for tensor in (t, t.grad)}
        with Made() as made:
            causal_loss(model, ids, chunk_logits=170).backward()
    assert made.tables == 0
    with Made() as made:
        causal_loss(model, ids, chunk_logits=170).backward()
    assert made.tables > 0


@pytest.mark.parametrize("transform", [LogitTransform(), LogitTransform(1.7, 0.9)])
@pytest.mark.parametrize("rows", [1, 4, 7, 100])
@pytest.mark.parametrize("in_cache", [22, 2**20])
def test_bias_and_transform_against_autograd(transform, rows, in_cache, monkeypatch):
    monkeypatch.setattr("saltlm.adaptation.loss._IN_CACHE", in_cache)
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(7, 5), (11, 5), (11,)]
    ]
    targets = torch.randint(11, (7,), generator=generator)

    def ours(hidden, weight, bias):
        return cross_entropy(
            hidden, weight, bias, targets, transform=transform, chunk_logits=11 * rows
        )

    def plain(hidden, weight, bias):
        logits = transform(nn.functional.linear(hidden, weight, bias))
        return nn.functional.cross_entropy(logits, targets, reduction="sum")

    for a, b in zip(
        torch.autograd.grad(ours(*inputs), inputs),
        torch.autograd.grad(plain(*inputs), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_no_tensor_is_as_large_as_the_logits():
    class Sizes(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **kwargs or {})
            if isinstance(result, torch.Tensor):
                self.largest = max(self.largest, result.numel())
            return result

    ids = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))
    model = build("soft cap")
    with Sizes() as seen:
        causal_loss(model, ids, chunk_logits=170).backward()
    assert 0 < seen.largest < 3 * 11 * 50
    with Sizes() as seen:
        plain_loss(model, ids, None)
    assert seen.largest == 3 * 11 * 50


def test_under_autocast_no_table_is_converted_whole(monkeypatch):
    class Tables(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **kwargs or {})
            if isinstance(result, torch.Tensor):
                self.number += result.shape == (50, 16) and result.dtype == torch.bfloat16
            return result

    monkeypatch.setattr("saltlm.adaptation.loss._IN_CACHE", 160)
    ids = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))
    model = build("untied", torch.float32)
    with into_gradients(model, 0.3), torch.autocast("cpu", torch.bfloat16), Tables() as seen:
        (causal_loss(model, ids) * 0.3).backward()
    assert seen.number == 0
    expected = build("untied", torch.float32)
    plain_loss(expected, ids, None).backward()
    gradient, exact = model.lm_head.weight.grad, 0.3 * expected.lm_head.weight.grad
    assert (gradient - exact).norm() < 2e-2 * exact.norm()


def test_the_gradient_is_given_once():
    hidden = torch.randn(4, 3, requires_grad=True)
    loss = cross_entropy(hidden, torch.randn(6, 3), None, torch.zeros(4, dtype=torch.int64))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_only_what_learns_gets_a_gradient():
    hidden = torch.randn(4, 3, requires_grad=True)
    weight, bias = torch.randn(6, 3), torch.randn(6)
    cross_entropy(hidden, weight, bias, torch.zeros(4, dtype=torch.int64)).backward()
    assert hidden.grad is not None
    assert weight.grad is None
    assert bias.grad is None


def test_huge_logits_do_not_overflow():
    hidden = torch.full((1, 1), 1e4)
    weight = torch.tensor([[1.0], [-1.0]])
    assert cross_entropy(hidden, weight, None, torch.tensor([1])).item() == 2e4


@pytest.mark.parametrize("in_cache", [22, 2**20])
def test_under_autocast_the_loss_is_near_and_gradients_keep_their_dtype(in_cache, monkeypatch):
    monkeypatch.setattr("saltlm.adaptation.loss._IN_CACHE", in_cache)
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(6, 8, generator=generator).requires_grad_()
    weight = torch.randn(20, 8, generator=generator).requires_grad_()
    targets = torch.arange(6)
    exact = cross_entropy(hidden, weight, None, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = cross_entropy(hidden, weight, None, targets)
    expected = torch.autograd.grad(exact, [hidden, weight])
    rounded.backward()
    for own, gradient in zip([hidden.grad, weight.grad], expected, strict=True):
        assert torch.allclose(own, gradient, atol=2e-2)
    assert rounded.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    assert rounded.item() != exact.item()
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-2)


@pytest.mark.parametrize("kind", MODELS)
def test_documents_are_kept_apart(kind):
    for dtype in (torch.float32, torch.bfloat16):
        assert separates_documents(build(kind, dtype), 2)


def test_a_recurrent_model_cannot_keep_documents_apart():
    model = MambaForCausalLM(
        MambaConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, state_size=4)
    )
    assert not separates_documents(model, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("most", [0, 1])
def test_a_mask_that_is_ignored_is_noticed(monkeypatch, dtype, most):
    """Flash attention ignores it when there are several sequences."""
    model = build("tied", dtype)
    forward = type(model).forward

    def ignores(self, input_ids=None, position_ids=None, **others):
        kept = {"position_ids": position_ids} if len(input_ids) <= most else {}
        return forward(self, input_ids=input_ids, **kept, **others)

    monkeypatch.setattr(type(model), "forward", ignores)
    assert not separates_documents(model, 2)
    assert separates_documents(model, 1) == (most == 1)


def test_unknown_treatment_of_logits_is_refused(monkeypatch):
    model = build("tied", torch.float32)
    check_logits(model, torch.zeros(1, 4, dtype=torch.int64))
    forward = type(model).forward

    def squares(self, **inputs):
        output = forward(self, **inputs)
        output.logits = output.logits**2
        return output

    monkeypatch.setattr(type(model), "forward", squares)
    with pytest.raises(CheckpointError, match="LlamaForCausalLM changes its logits after its head"):
        check_logits(model, torch.zeros(1, 4, dtype=torch.int64))


def test_logits_that_are_no_numbers_are_told_from_changed_ones():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    torch.nn.init.constant_(model.model.norm.weight, torch.nan)
    with pytest.raises(CheckpointError, match="LlamaForCausalLM are not numbers: its weights are"):
        check_logits(model, torch.zeros(1, 4, dtype=torch.int64))


def test_a_model_without_head_is_refused():
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).model
    with pytest.raises(CheckpointError, match="LlamaModel has no output head"):
        output_head(model)


def test_multipliers_multiply():
    config = FalconH1Config(lm_head_multiplier=0.5)
    assert logit_transform(config) == LogitTransform(0.5, None)
