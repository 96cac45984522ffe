"""A model is built from its configuration alone, and its tensors find their places in it."""

from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from saltlm.errors import CheckpointError
from saltlm.models.skeleton import build_skeleton, class_of, names_in_model
from tiny_models import SMALL, SOURCES

HERE = Path("model")


@pytest.mark.parametrize(
    ("config", "named", "expected"),
    [
        (hf.LlamaConfig(), ["LlamaForCausalLM"], "LlamaForCausalLM"),
        (hf.LlamaConfig(), [], "LlamaForCausalLM"),
        (hf.LlamaConfig(), ["MistralForCausalLM"], "LlamaForCausalLM"),
        (hf.LlamaConfig(), ["AutoConfig", "torch", "NoSuch"], "LlamaForCausalLM"),
        (hf.GPT2Config(), ["GPT2Model"], "GPT2LMHeadModel"),
        (hf.Llama4Config(), ["Llama4ForConditionalGeneration"], "Llama4ForConditionalGeneration"),
        (hf.Llama4TextConfig(), ["Llama4ForCausalLM"], "Llama4ForCausalLM"),
        (hf.Qwen2VLConfig(), [], "Qwen2VLForConditionalGeneration"),
        (hf.Qwen2AudioConfig(), [], "Qwen2AudioForConditionalGeneration"),
        (hf.ViTConfig(), ["ViTModel"], None),
    ],
)
def test_the_class_is_the_one_that_is_named_and_fits(config, named, expected):
    config.architectures = named
    found = class_of(config)
    assert (found and found.__name__) == expected


def test_a_skeleton_has_shapes_and_no_memory():
    config = hf.LlamaConfig(**SMALL, vocab_size=100)
    before = config.to_dict()
    model = build_skeleton(config, HERE)
    assert config.to_dict() == before
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.get_input_embeddings().weight.shape == (100, SMALL["hidden_size"])
    assert torch.get_default_device().type == "cpu"


def test_what_builds_no_model_is_refused():
    expected = r"model/config\.json does not build a model \(LlamaForCausalLM\): KeyError"
    with pytest.raises(CheckpointError, match=expected):
        build_skeleton(hf.LlamaConfig(**SMALL | {"hidden_act": "no-such"}), HERE)
    with pytest.raises(CheckpointError, match="transformers has no language model of type vit"):
        build_skeleton(hf.ViTConfig(), HERE)


@pytest.mark.parametrize("name", ["Gemma 3 with vision", "Qwen2-MoE"])
def test_every_tensor_of_a_file_has_its_place(name, tmp_path):
    ids = {"image_token_id": 3} if "vision" in name else {}
    model = SOURCES[name](40, **ids)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    places = names_in_model(build_skeleton(model.config, HERE), [*stored, "model.no.such.weight"])
    assert places.keys() == stored.keys()
    own = model.state_dict()
    assert own.keys() - set(places.values()) <= {"lm_head.weight"}  # tied, so it is not stored
    for name, place in places.items():
        if "experts" not in name:  # those are fused
            assert torch.equal(own[place], stored[name])


def test_the_base_model_s_prefix_may_be_left_out():
    model = build_skeleton(hf.GPT2Config(n_layer=1, n_embd=8, n_head=2), HERE)
    assert names_in_model(model, ["wte.weight"]) == {"wte.weight": "transformer.wte.weight"}
