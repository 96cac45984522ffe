"""A config.json that is of another model than the tensors is found before any work."""

import json

import pytest
import transformers as hf

from saltlm.errors import CheckpointError
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.fits_config import check_plm_fits, check_source_fits
from tiny_models import PLMS, SMALL, SOURCES

ROWS = 40


def checked(directory, check, **changes):
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    check(open_checkpoint(directory), read_config(directory))


@pytest.mark.parametrize("name", ["SmolLM2", "LLaVA", "Qwen2-MoE", "GPT-2", "BLOOM", "Gemma 3"])
def test_every_source_fits_its_own(name, tmp_path):
    needs = {"image_token_id": 3} if name == "LLaVA" else {}
    SOURCES[name](ROWS, **needs).save_pretrained(tmp_path)
    checked(tmp_path, check_source_fits)


@pytest.mark.parametrize("name", ["BERT", "BERT with head", "ALBERT with head", "T5 encoder"])
def test_every_plm_fits_its_own(name, tmp_path):
    PLMS[name](ROWS, pad_token_id=0).save_pretrained(tmp_path)
    checked(tmp_path, check_plm_fits)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_size": 32}, r"lm_head\.weight is 40 x 16, not 40 x 32; .* and \d+ more"),
        ({"intermediate_size": 25}, r"gate_proj\.weight is 24 x 16, not 25 x 16"),
        ({"vocab_size": 41}, r"embed_tokens\.weight is 40 x 16, not 41 x 16"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\.\S+ has no place.* and 4 more"),
        ({"num_hidden_layers": 3}, r"model\.layers\.2\.\S+ is not stored"),
        ({"num_hidden_layers": 10**9}, r"has num_hidden_layers 1,000,000,000 for 2\d tensors"),
        ({"hidden_act": "no-such"}, r"does not build a model"),
    ],
)
def test_what_does_not_fit_is_named(changes, reason, tmp_path):
    hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=ROWS, **SMALL)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=rf"config\.json .*{reason}") as caught:
        checked(tmp_path, check_source_fits, **changes)
    assert "fetch" in caught.value.hint


def test_a_plm_that_does_not_fit_is_named(tmp_path):
    PLMS["BERT"](ROWS, pad_token_id=0).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no place|is not stored"):
        checked(tmp_path, check_plm_fits, num_hidden_layers=5)
    with pytest.raises(CheckpointError, match=r"builds no model: \w+"):
        checked(tmp_path, check_plm_fits, hidden_act="no-such")


def test_packed_tensors_have_other_sizes(tmp_path):
    hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=ROWS, **SMALL)).save_pretrained(tmp_path)
    packed = {"quant_method": "gptq", "bits": 4}
    checked(tmp_path, check_source_fits, intermediate_size=48, quantization_config=packed)
