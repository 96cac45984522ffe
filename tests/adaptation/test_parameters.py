"""Rows of one table learn at different rates, exactly as if they were separate parameters."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from saltlm.adaptation.config import AdaptConfig, LearningRates
from saltlm.adaptation.parameters import (
    Table,
    add_adapters,
    choose_weights,
    clear_gradients,
    frozen_hash,
    mask_gradients,
    new_rows,
    parameter_groups,
    row_rates,
    row_tables,
    stage_rates,
    table_weights,
)
from saltlm.errors import CheckpointError
from saltlm.record.arrays import Origin

IS_NEW = torch.tensor([True, False, True, True, False, False])
RATES = LearningRates(new=0.1, shared=0.03, body=0.01)
CONFIG = AdaptConfig(data={"x": None}, ends=1)


def model(*, is_tied: bool, n_layers: int = 3) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=6,
            hidden_size=4,
            intermediate_size=4,
            num_hidden_layers=n_layers,
            num_attention_heads=1,
            tie_word_embeddings=is_tied,
        )
    )


def gradients(step: int, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 5), (6,)])
@pytest.mark.parametrize("rates", [(0.1, 0.03), (0.03, 0.1), (0.1, 0.1)])
@pytest.mark.parametrize("of_table", [0, 1])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_rows_move_as_two_parameters_would(shape, rates, of_table, weight_decay):
    (new, shared), rate = rates, rates[of_table]
    start = gradients(99, shape)
    whole = nn.Parameter(start.clone())
    parts = [nn.Parameter(start[IS_NEW].clone()), nn.Parameter(start[~IS_NEW].clone())]
    optimizer = torch.optim.AdamW([whole], lr=rate, weight_decay=weight_decay)
    expected = torch.optim.AdamW(
        [{"params": [parts[0]], "lr": new}, {"params": [parts[1]], "lr": shared}],
        weight_decay=weight_decay,
    )
    ones = torch.ones(6, dtype=torch.float64)
    ratio = torch.where(IS_NEW, ones * new / rate, ones * shared / rate)
    other = (ratio != 1).nonzero().squeeze(1)
    table = Table(whole, other, ratio[other])
    for step in range(20):
        whole.grad = gradients(step, shape)
        parts[0].grad, parts[1].grad = whole.grad[IS_NEW].clone(), whole.grad[~IS_NEW].clone()
        with row_rates([table]):
            optimizer.step()
        expected.step()
    assert torch.allclose(whole[IS_NEW], parts[0], rtol=1e-13, atol=1e-14)
    assert torch.allclose(whole[~IS_NEW], parts[1], rtol=1e-13, atol=1e-14)
    as_table = ~IS_NEW if of_table else IS_NEW
    assert torch.equal(whole[as_table], parts[of_table])


@pytest.mark.parametrize(("new", "shared"), [(0.1, 0.03), (0.1, 0.0), (0.0, 0.03)])
@pytest.mark.parametrize("n_new", [0, 1, 3, 5, 6])
def test_few_rows_are_corrected(new, shared, n_new):
    is_new = torch.arange(6) < n_new
    rates = LearningRates(new=new, shared=shared, body=0.01)
    ours = model(is_tied=True)
    rate = parameter_groups(ours, rates, is_new, weight_decay=0.0)[0]["lr"]
    (table,) = row_tables(ours, rates, is_new)
    wanted = torch.where(is_new, new, shared)
    if rate:
        assert torch.allclose(wanted[table.other], table.ratio * rate)
        moved = wanted.clone()
        moved[table.other] = rate
        assert (moved == rate).all()
    if new and shared:
        assert len(table.other) <= 3


@pytest.mark.parametrize("is_tied", [True, False])
def test_only_new_rows_learn_in_the_stage_embeddings(is_tied):
    ours = model(is_tied=is_tied)
    before = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    choose_weights(ours, "embeddings", CONFIG)
    rates = stage_rates("embeddings", RATES)
    groups = parameter_groups(ours, rates, IS_NEW, weight_decay=0.5)
    groups[0]["weight_decay"] = 0.5  # even with decay, which the tables do not have
    optimizer = torch.optim.AdamW(groups, fused=True)
    tables = row_tables(ours, rates, IS_NEW)
    untouched = frozen_hash(tables)
    ids = torch.tensor([[0, 1, 2, 3, 4, 5]])
    for _ in range(3):
        ours(input_ids=ids, labels=ids).loss.backward()
        mask_gradients(tables)
        for weight in table_weights(ours):
            assert not weight.grad[~IS_NEW].any()
            assert weight.grad[IS_NEW].any()
        with row_rates(tables):
            optimizer.step()
        optimizer.zero_grad()
    assert frozen_hash(tables) == untouched
    for name, weight in ours.named_parameters():
        is_table = "embed" in name or "head" in name
        assert torch.equal(
            weight[~IS_NEW] if is_table else weight,
            before[name][~IS_NEW] if is_table else before[name],
        )
        assert not is_table or (weight[IS_NEW] != before[name][IS_NEW]).all(1).all()
    for weight in table_weights(ours):
        for moment in ("exp_avg", "exp_avg_sq"):
            assert not optimizer.state[weight][moment][~IS_NEW].any()
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == is_tied


def test_a_changed_row_changes_the_hash():
    ours = model(is_tied=True)
    tables = row_tables(ours, stage_rates("embeddings", RATES), IS_NEW)
    before = frozen_hash(tables)
    with torch.no_grad():
        ours.model.embed_tokens.weight[0, 0] += 1  # a new row
        assert frozen_hash(tables) == before
        ours.model.embed_tokens.weight[1, 0] += 1
    assert frozen_hash(tables) != before


def test_groups_hold_every_weight_once_and_only_matrices_of_the_body_decay():
    ours = model(is_tied=True)
    choose_weights(ours, "full", CONFIG)
    groups = parameter_groups(ours, RATES, IS_NEW, weight_decay=0.5)
    held = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in ours.parameters())
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (0.1, 0.0),
        (0.01, 0.5),
        (0.01, 0.0),
    ]
    assert all(weight.ndim == 2 for weight in groups[1]["params"])
    assert all(weight.ndim == 1 for weight in groups[2]["params"])


def test_a_table_without_new_rows_learns_at_the_shared_rate():
    ours = model(is_tied=True)
    nothing = torch.zeros(6, dtype=torch.bool)
    assert parameter_groups(ours, RATES, nothing, 0.0)[0]["peak"] == 0.03
    (table,) = row_tables(ours, RATES, nothing)
    assert len(table.other) == 0


def test_top_and_bottom_layers():
    ours = model(is_tied=True)
    choose_weights(ours, "top-bottom", CONFIG)
    learning = {name for name, weight in ours.named_parameters() if weight.requires_grad}
    layers = {name.split(".")[2] for name in learning if ".layers." in name}
    assert layers == {"0", "2"}
    assert {name for name in learning if ".layers." not in name} == {"model.embed_tokens.weight"}


def test_layers_that_are_not_found_are_refused():
    ours = model(is_tied=True)
    ours.config.num_hidden_layers = 7
    with pytest.raises(CheckpointError, match="LlamaForCausalLM has no list of 7 layers"):
        choose_weights(ours, "top-bottom", CONFIG)


def test_adapters_learn_beside_the_tables_and_merge_into_a_plain_model():
    ours, plain = model(is_tied=True), model(is_tied=True)
    tuner = add_adapters(ours, CONFIG)
    ids = torch.tensor([[0, 1, 2, 3, 4, 5]])
    assert torch.equal(ours(input_ids=ids).logits, plain(input_ids=ids).logits)
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    expected = ours(input_ids=ids).logits
    merged = tuner.merge_and_unload()
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(merged(input_ids=ids).logits, expected, atol=1e-5)
    assert not torch.allclose(expected, plain(input_ids=ids).logits, atol=1e-2)
    assert merged.lm_head.weight is merged.model.embed_tokens.weight


def test_only_adapters_and_tables_learn_in_the_stage_lora():
    ours = model(is_tied=False)
    choose_weights(ours, "lora", CONFIG)
    learning = {name for name, weight in ours.named_parameters() if weight.requires_grad}
    tables = {"model.embed_tokens.weight", "lm_head.weight"}
    assert tables < learning
    assert all("lora_" in name and "head" not in name for name in learning - tables)


def test_new_rows_are_those_that_the_transfer_made(tmp_path):
    assert not new_rows(tmp_path, 4).any()
    origin = torch.tensor(
        [Origin.SHARED, Origin.MADE, Origin.SAMPLED, Origin.SPECIAL], dtype=torch.uint8
    )
    (tmp_path / "saltlm").mkdir()
    save_file({"origin": origin}, tmp_path / "saltlm" / "provenance.safetensors")
    assert new_rows(tmp_path, 6).tolist() == [False, True, True, False, False, False]


def test_cleared_gradients_of_tables_are_zeros_in_the_same_memory():
    learner = model(is_tied=False)
    optimizer = torch.optim.AdamW(parameter_groups(learner, RATES, IS_NEW, 0.0))
    tables = row_tables(learner, RATES, IS_NEW)
    learner(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    places = [table.weight.grad.data_ptr() for table in tables]
    assert all(weight.grad.any() for weight in table_weights(learner))
    clear_gradients(optimizer, tables)
    assert [table.weight.grad.data_ptr() for table in tables] == places
    assert not any(table.weight.grad.any() for table in tables)
    are_tables = {id(table.weight) for table in tables}
    assert all(w.grad is None for w in learner.parameters() if id(w) not in are_tables)
