"""What becomes of new tokens, against plain numpy."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapt_models import N_ROWS, N_SHARED, save_model
from conftest import CORPUS
from saltlm.adaptation.new_tokens import new_token_measures


@pytest.mark.parametrize("chunk", [1, 10 * N_ROWS])
def test_measures_are_those_of_whole_logits(tmp_path, chunk):
    directory = save_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(directory).train()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    is_new = torch.arange(N_ROWS) >= N_SHARED
    texts = CORPUS[:3]
    found = new_token_measures(model, tokenizer, texts, is_new, context=12, chunk_logits=chunk)
    assert model.training

    rows = []
    for text in texts:
        ids = [0, *tokenizer(text)["input_ids"]][:13]
        with torch.no_grad():
            logits = model.eval()(torch.tensor([ids[:-1]])).logits[0].double().numpy()
        for line, target in zip(logits, ids[1:], strict=True):
            p = np.exp(line - line.max())
            p /= p.sum()
            greedy = int(p.argmax())
            rank = 1 + int((p > p[target]).sum())
            rows.append((target, p[N_SHARED:].sum(), greedy, rank, -np.log(p[target])))
    target, mass, greedy, rank, loss = map(np.array, zip(*rows, strict=True))
    new = target >= N_SHARED
    assert 0 < new.sum() < len(new)
    expected = {
        "targets": new.mean(),
        "probability": mass.mean(),
        "greedy": (greedy >= N_SHARED).mean(),
        "rank": np.median(rank[new]),
        "loss_new": loss[new].mean(),
        "loss_old": loss[~new].mean(),
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_does_not_occur_has_no_value(tmp_path):
    directory = save_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    is_new = torch.arange(N_ROWS) >= N_ROWS - 1
    found = new_token_measures(model, tokenizer, ["a b"], is_new, context=9, chunk_logits=10**6)
    assert (found["targets"], found["rank"], found["loss_new"]) == (0, None, None)
    assert found["loss_old"] > 0
