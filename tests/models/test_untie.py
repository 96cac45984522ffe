"""A tied model gets a head of its own under the name that transformers looks for."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.config_json import set_tied
from saltlm.models.token_tables import read_tables, replacements
from saltlm.models.untie import untie
from saltlm.models.write import write_checkpoint
from tiny_models import PLMS, SOURCES

ROWS = 41


def opened(directory):
    config = read_config(directory)
    checkpoint = open_checkpoint(directory)
    return config, checkpoint, read_tables(checkpoint, config, side="source")


@pytest.mark.parametrize(
    ("maker", "settings", "head"),
    [
        (SOURCES["SmolLM2"], {}, "lm_head.weight"),
        (SOURCES["GPT-2"], {}, "lm_head.weight"),
        (SOURCES["OPT"], {}, "lm_head.weight"),
        (PLMS["GPT-2"], {}, "lm_head.weight"),
        (SOURCES["Gemma 3 with vision"], {"image_token_id": 3}, "language_model.lm_head.weight"),
    ],
    ids=["SmolLM2", "GPT-2", "OPT", "GPT-2 without head", "Gemma 3 with vision"],
)
def test_transformers_finds_both_tables(maker, settings, head, tmp_path):
    maker(ROWS, **settings).save_pretrained(tmp_path / "tied")
    config, checkpoint, tables = opened(tmp_path / "tied")
    assert tables.is_tied
    checkpoint, tables = untie(checkpoint, config, tables)
    assert (tables.is_tied, tables.was_tied, tables.names["head"]) == (False, True, (head,))
    wider = torch.cat([tables.embedding, torch.randn(8, tables.embedding.shape[1])])
    other = torch.randn_like(wider)
    new = replacements(checkpoint, tables, wider, other, None)
    (tmp_path / "out").mkdir()
    hashes = write_checkpoint(checkpoint, tmp_path / "out", new)
    assert hashes.keys() == checkpoint.tensors.keys()
    values = json.loads((tmp_path / "tied" / "config.json").read_text())
    values = set_tied(values, is_tied=False)
    for section in (values, values.get("text_config", values)):
        assert section["tie_word_embeddings"] is False
        if "vocab_size" in section:
            section["vocab_size"] = len(wider)
    (tmp_path / "out" / "config.json").write_text(json.dumps(values))
    model, found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert (found["missing_keys"], found["unexpected_keys"]) == (set(), set())
    assert torch.equal(model.get_input_embeddings().weight, wider)
    assert torch.equal(model.get_output_embeddings().weight, other)
    _, _, written = opened(tmp_path / "out")
    assert not written.is_tied


def test_a_stored_copy_of_the_head_keeps_its_name(tmp_path):
    model = SOURCES["SmolLM2"](ROWS)
    model.save_pretrained(tmp_path)
    table = model.get_input_embeddings().weight.detach()
    state = {**model.state_dict(), "lm_head.weight": table.clone()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    config, checkpoint, tables = opened(tmp_path)
    assert tables.names["embedding"] == ("model.embed_tokens.weight", "lm_head.weight")
    same, tables = untie(checkpoint, config, tables)
    assert same.tensors == checkpoint.tensors
    assert tables.names["embedding"] == ("model.embed_tokens.weight",)
    assert tables.names["head"] == ("lm_head.weight",)


def test_an_untied_model_comes_back_as_it_is(tmp_path):
    SOURCES["Llama"](ROWS).save_pretrained(tmp_path)
    config, checkpoint, tables = opened(tmp_path)
    same, as_before = untie(checkpoint, config, tables)
    assert same is checkpoint
    assert as_before is tables
    assert not tables.was_tied
