import json
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from saltlm.errors import CheckpointError, MissingExtraError
from saltlm.gguf import dequantise_gguf

HEADS, TEMPLATE = 2, "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.0.input_layernorm": "blk.0.attn_norm",
    "model.layers.0.post_attention_layernorm": "blk.0.ffn_norm",
    "model.layers.0.self_attn.q_proj": "blk.0.attn_q",
    "model.layers.0.self_attn.k_proj": "blk.0.attn_k",
    "model.layers.0.self_attn.v_proj": "blk.0.attn_v",
    "model.layers.0.self_attn.o_proj": "blk.0.attn_output",
    "model.layers.0.mlp.gate_proj": "blk.0.ffn_gate",
    "model.layers.0.mlp.up_proj": "blk.0.ffn_up",
    "model.layers.0.mlp.down_proj": "blk.0.ffn_down",
}


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=900,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def write_gguf(llama, tokenizers_by_family, tmp_path):
    """Write the model as llama.cpp's converter lays it out."""

    def write(pre="smollm", quantisation="F32", architecture="llama") -> Path:
        definition = json.loads(tokenizers_by_family["bytelevel"].to_str())
        tokens = sorted(definition["model"]["vocab"], key=definition["model"]["vocab"].get)
        file = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(file, architecture)
        writer.add_name("Tiny")
        writer.add_license("apache-2.0")
        writer.add_block_count(1)
        writer.add_context_length(64)
        writer.add_embedding_length(32)
        writer.add_feed_forward_length(64)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(HEADS)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_dimension_count(32 // HEADS)
        writer.add_rope_freq_base(10000.0)
        writer.add_vocab_size(len(tokens))
        writer.add_tokenizer_model("gpt2")
        if pre is not None:
            writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
        writer.add_token_merges([" ".join(merge) for merge in definition["model"]["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template(TEMPLATE)
        for name, tensor in llama.state_dict().items():
            array = tensor.numpy()
            new_name = NAMES[name.removesuffix(".weight")] + ".weight"
            if "attn_q" in new_name or "attn_k" in new_name:  # rotary pairs lie side by side
                array = array.reshape(HEADS, 2, -1, 32).swapaxes(1, 2).reshape(32, 32)
            kind = gguf.GGMLQuantizationType[quantisation if array.ndim == 2 else "F32"]
            data = gguf.quants.quantize(np.ascontiguousarray(array), kind)
            writer.add_tensor(new_name, data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file

    return write


def test_the_new_directory_is_the_model(write_gguf, llama, tmp_path):
    dequantise_gguf(write_gguf(), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, llama(ids).logits)


def test_quantised_rows_are_what_their_blocks_say(write_gguf, llama, tmp_path):
    dequantise_gguf(write_gguf(quantisation="Q8_0"), tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").model.embed_tokens.weight
    kind = gguf.GGMLQuantizationType.Q8_0
    blocks = gguf.quants.quantize(llama.model.embed_tokens.weight.detach().numpy(), kind)
    np.testing.assert_array_equal(found.detach().numpy(), gguf.quants.dequantize(blocks, kind))


def test_it_is_marked_as_dequantised_and_no_longer_as_quantised(write_gguf, tmp_path):
    dequantise_gguf(write_gguf(quantisation="Q8_0"), tmp_path / "out", dtype="bfloat16")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    assert config["dequantised_from"] == {
        "file": "tiny.gguf",
        "ggml_types": {"Q8_0": 9, "F32": 3},
    }
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n---\n")
    assert "**Dequantised** from `tiny.gguf` (9 Q8_0, 3 F32 tensors)" in card
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert (generation["bos_token_id"], generation["eos_token_id"]) == (1, 2)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert (tmp_path / "out/model.safetensors").stat().st_mode & 0o777 == 0o644


def test_digits_are_split_as_the_file_says(write_gguf, tokenizers_by_family, tmp_path, corpus):
    dequantise_gguf(write_gguf("smollm"), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.tokenize("1000 the 2024") == [*"1000", "Ġthe", "Ġ", *"2024"]
    donor = tokenizers_by_family["bytelevel"]
    assert len(donor.encode("1000").ids) < 4
    for text in corpus:
        if not any(map(str.isdigit, text)):
            assert tokenizer(text)["input_ids"] == donor.encode(text).ids
    assert tokenizer.eos_token == "<|im_end|>"
    message = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(message, tokenize=False) == "<|im_start|>hi"


def test_gpt2_splitting_stays(write_gguf, tokenizers_by_family, tmp_path, corpus):
    dequantise_gguf(write_gguf("gpt-2"), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in corpus:
        assert tokenizer(text)["input_ids"] == tokenizers_by_family["bytelevel"].encode(text).ids


@pytest.mark.parametrize("pre", ["unheard-of", None])
def test_an_unknown_pre_tokenizer_needs_the_original_tokenizer(
    write_gguf, tokenizers_by_family, save_tokenizer_dir, tmp_path, pre
):
    file = write_gguf(pre)
    with pytest.raises(CheckpointError, match=f"names the pre-tokenizer '{pre or 'default'}'"):
        dequantise_gguf(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    original = save_tokenizer_dir(
        tokenizers_by_family["bytelevel"], tmp_path / "original", eos_token="<|im_end|>"
    )
    dequantise_gguf(file, tmp_path / "out", tokenizer=original)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("1000") != list("1000")


def test_files_that_cannot_be_read(write_gguf, tmp_path):
    missing = tmp_path / "missing.gguf"
    with pytest.raises(CheckpointError, match=r"missing.gguf cannot be read as GGUF"):
        dequantise_gguf(missing, tmp_path / "out")
    missing.write_bytes(b"no gguf at all, but long enough to have a header")
    with pytest.raises(CheckpointError, match=r"missing.gguf cannot be read as GGUF"):
        dequantise_gguf(missing, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"transformers .* cannot read .*tiny.gguf"):
        dequantise_gguf(write_gguf(architecture="unheard-of"), tmp_path / "out")


def test_without_the_gguf_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'saltlm\[gguf\]'"):
        dequantise_gguf(tmp_path / "tiny.gguf", tmp_path / "out")
