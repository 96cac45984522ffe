"""States of a model that reads by rows given to it are those of the model itself."""

import pytest
import torch
from torch import nn

from saltlm.errors import CheckpointError
from saltlm.models.logits import output_head, skipped_head
from saltlm.models.states import load_body
from tiny_models import SOURCES

ROWS = 41
IDS = torch.tensor([5, 1, 7, 5, 30, 0, 2, 2])


@pytest.mark.parametrize("name", sorted(SOURCES.keys() - {"LLaVA"}))
def test_states_are_those_of_the_whole_model(name, tmp_path):
    settings = {"image_token_id": 3} if "vision" in name else {}
    SOURCES[name](ROWS, **settings).save_pretrained(tmp_path)
    body = load_body(tmp_path, device="cpu")
    table = body.model.get_input_embeddings().weight
    used, ids = IDS.unique(return_inverse=True)
    with torch.no_grad():
        with skipped_head(output_head(body.model)) as received:
            whole = body.model(input_ids=IDS[None], output_hidden_states=True, use_cache=False)
        assert torch.equal(body.received_by_head(table[used], ids[None]), received[0])
        filled = torch.stack([ids, torch.cat([ids[:3], torch.zeros(5, dtype=torch.int64)])])
        _, short = body.received_by_head(table[used], filled)
        torch.testing.assert_close(short[:3], received[0][0, :3], rtol=1e-4, atol=1e-5)
    rows = table[used].clone().requires_grad_(True)
    states = body.behind_layer(1, rows, ids[None])
    torch.testing.assert_close(states, whole.hidden_states[1], rtol=0, atol=0)
    states.square().sum().backward()
    assert (rows.grad != 0).any(1).all()
    assert all(weight.grad is None for weight in body.model.parameters())


def test_a_model_in_bfloat16_gives_states_in_float32(tmp_path):
    SOURCES["Llama"](ROWS).save_pretrained(tmp_path)
    rows, ids = torch.randn(2, 16), torch.tensor([[0, 1, 0]])
    whole, short = (
        load_body(tmp_path, device="cpu", dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    assert short.model.dtype == torch.bfloat16
    learnt = rows.clone().requires_grad_(True)
    for found, wanted in (
        (short.behind_layer(1, learnt, ids), whole.behind_layer(1, rows, ids)),
        (short.received_by_head(rows, ids), whole.received_by_head(rows, ids)),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)
    short.behind_layer(1, learnt, ids).sum().backward()
    assert learnt.grad.dtype == torch.float32
    assert (learnt.grad != 0).any()


def test_layers_behind_are_not_run(tmp_path):
    SOURCES["Llama"](ROWS, num_hidden_layers=3).save_pretrained(tmp_path)
    body = load_body(tmp_path, device="cpu")
    ran = []
    for number, layer in enumerate(body.layers(), 1):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    body.behind_layer(2, torch.randn(2, 16), torch.tensor([[0, 1, 0]]))
    assert ran == [1, 2]
    body.received_by_head(torch.randn(2, 16), torch.tensor([[0, 1, 0]]))
    assert ran == [1, 2, 1, 2, 3]


def test_a_model_without_a_list_of_layers_is_refused(tmp_path):
    SOURCES["Llama"](ROWS).save_pretrained(tmp_path)
    body = load_body(tmp_path, device="cpu")
    body.model.config.num_hidden_layers = 7
    with pytest.raises(CheckpointError, match="has no list of 7 layers") as caught:
        body.layers()
    assert "fits.input=false" in caught.value.hint
    body.model.vision = nn.ModuleList(nn.Identity() for _ in range(7))
    with pytest.raises(CheckpointError, match="did not run the layer 3 that was found"):
        body.behind_layer(3, torch.randn(2, 16), torch.tensor([[0, 1]]))


def test_a_model_that_does_not_load_is_told(tmp_path):
    SOURCES["Llama"](ROWS).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="does not load on cpu") as caught:
        load_body(tmp_path, device="cpu")
    assert caught.value.hint == f"saltlm check {tmp_path}"
