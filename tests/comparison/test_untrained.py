"""What is said of a model before training, against plain numpy."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from saltlm.comparison.untrained import effective_rank, new_row_mass, report_table
from saltlm.errors import ConfigError
from saltlm.vocabulary_transfer.unigrams import mean_hidden

ROWS = 1000


@pytest.fixture
def tokenizer(tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path):
    roles = roles_by_family["bytelevel"]
    return AutoTokenizer.from_pretrained(
        save_tokenizer_dir(tokenizers_by_family["bytelevel"], tmp_path / "tokenizer", **roles)
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def naive(model, tokenizer, documents, is_new, context):
    mass, share, of_new, of_others = 0.0, [], [], []
    for document in documents:
        ids = [tokenizer.convert_tokens_to_ids("<|endoftext|>"), *tokenizer(document)["input_ids"]][
            :context
        ]
        logits = model(torch.tensor([ids])).logits[0].double().numpy()
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        for position, id in enumerate(ids[1:]):
            mass += p[position, is_new].sum()
            share.append(bool(is_new[id]))
            (of_new if is_new[id] else of_others).append(np.log(p[position, id]))
    return mass / len(share), np.mean(share), np.mean(of_new) - np.mean(of_others), len(share)


@pytest.mark.parametrize("context", [40, 9])
def test_mass_equals_a_loop_over_positions(model, tokenizer, corpus, context, monkeypatch):
    monkeypatch.setattr("saltlm.comparison.untrained._LOGITS_AT_ONCE", 7 * ROWS)
    is_new = torch.arange(ROWS) % 3 == 0
    found = new_row_mass(model, tokenizer, corpus[:3], is_new, context=context)
    wanted = naive(model, tokenizer, corpus[:3], is_new.numpy(), context)
    measured = (found.mass, found.share, found.log_ratio, found.n_tokens)
    np.testing.assert_allclose(measured, wanted, rtol=1e-4)


def test_nothing_to_predict(model, tokenizer):
    with pytest.raises(ConfigError, match="no document has two tokens"):
        new_row_mass(model, tokenizer, [""], torch.ones(ROWS, dtype=torch.bool))


def test_mean_hidden_times_the_head_is_the_mean_logit(model, tokenizer, corpus):
    hidden = mean_hidden(model, tokenizer, corpus[:2], context=50)
    with torch.no_grad():
        logits = [
            model(
                torch.tensor(
                    [
                        [
                            tokenizer.convert_tokens_to_ids("<|endoftext|>"),
                            *tokenizer(text)["input_ids"],
                        ][:50]
                    ]
                )
            ).logits[0]
            for text in corpus[:2]
        ]
        found = model.lm_head(hidden)
    torch.testing.assert_close(found, torch.cat(logits).mean(0), atol=1e-4, rtol=1e-4)


def test_effective_rank_of_known_spectra():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(400, 8, generator=generator)).Q
    centred = basis - basis.mean(0)
    axes = torch.linalg.qr(centred).Q  # orthonormal, of mean zero
    assert effective_rank(axes) == pytest.approx(8, rel=1e-4)
    assert effective_rank(5 + axes[:, :3] @ torch.eye(3, 8)) == pytest.approx(3, rel=1e-3)
    uneven = axes[:, :2] * torch.tensor([3.0, 1.0])
    shares = np.array([0.9, 0.1])
    wanted = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(uneven) == pytest.approx(wanted, rel=1e-4)
    assert effective_rank(torch.ones(5, 4)) == 0


def test_a_table_equals_its_numbers_in_numpy():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(300, 6, generator=generator) + 0.5
    is_new = torch.arange(300) >= 100
    table[is_new] *= 0.5
    found = report_table(table, is_new)
    norms = np.linalg.norm(table.double().numpy(), axis=1)
    norms /= norms[:100].mean()
    assert found.new_norms.minimum == pytest.approx(norms[100:].min())
    assert found.new_norms.median == pytest.approx(np.median(norms[100:]), rel=0.05)
    assert found.shared_norms.maximum == pytest.approx(norms[:100].max())
    assert found.new_norms.p05 < found.new_norms.median < found.new_norms.p95
    left, right = (table[is_new].mean(0).numpy(), table[~is_new].mean(0).numpy())
    cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    assert found.mean_cosine == pytest.approx(cosine, rel=1e-4)
    assert found.new_rank == pytest.approx(effective_rank(table[100:]))
    json.dumps(replace(found).to_json())
