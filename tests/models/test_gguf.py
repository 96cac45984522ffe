"""A GGUF file as SOURCE: what its blocks stand for, where it is kept, and how it is marked."""

import json
import re
import shlex
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import saltlm.models.gguf
from saltlm.errors import CheckpointError, MissingExtraError, OutputError
from saltlm.files.hashes import sha256
from saltlm.models.gguf import dequantise_gguf
from saltlm.models.hub import resolve_model
from saltlm.record.manifest import read_manifest
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_models import PLMS
from tiny_pairs import write_side

WIDTH, HEADS = 256, 2  # the blocks of Q4_K hold 256 numbers
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
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
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def blocks_of(array, kind):
    """The blocks that a file stores; of Q4_K, which the package cannot make, any blocks."""
    if kind.name != "Q4_K":
        return gguf.quants.quantize(np.ascontiguousarray(array), kind)
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (array.size // 256, 144), dtype=np.uint8)
    blocks[:, :4] = random.uniform(1e-4, 1e-3, (len(blocks), 2)).astype("<f2").view(np.uint8)
    return blocks.reshape(len(array), -1)


def f16(blocks):
    return blocks.view("<f2").astype(float)


def q8_0(blocks):
    blocks = blocks.reshape(-1, 34)
    return f16(blocks[:, :2]) * blocks[:, 2:].view(np.int8)


def q4_1(blocks):
    blocks = blocks.reshape(-1, 20)
    nibbles = np.hstack([blocks[:, 4:] & 15, blocks[:, 4:] >> 4])
    return f16(blocks[:, :2]) * nibbles + f16(blocks[:, 2:4])


def q4_k(blocks):
    """Eight groups of 32 numbers with a scale and a minimum each, of six bits spread over bytes."""
    blocks = blocks.reshape(-1, 144)
    packed, quants = blocks[:, 4:16].astype(int), blocks[:, 16:].reshape(-1, 4, 32)
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.hstack([first & 63, third & 15 | (first >> 6) << 4])
    minima = np.hstack([second & 63, third >> 4 | (second >> 6) << 4])
    nibbles = np.stack([quants & 15, quants >> 4], 2).reshape(-1, 8, 32)
    scales, minima = f16(blocks[:, :2]) * scales, f16(blocks[:, 2:4]) * minima
    return scales[..., None] * nibbles - minima[..., None]


NUMBERS = {"F16": f16, "Q8_0": q8_0, "Q4_1": q4_1, "Q4_K": q4_k}


@pytest.fixture
def write_gguf(llama, tokenizers_by_family, tmp_path):
    """Write the model as llama.cpp's converter lays it out."""

    def write(pre="smollm", quantisation="F32", architecture="llama", without="", parts=1) -> Path:
        definition = json.loads(tokenizers_by_family["bytelevel"].to_str())
        tokens = sorted(definition["model"]["vocab"], key=definition["model"]["vocab"].get)
        file = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(file, architecture)
        writer.add_name("Tiny")
        writer.add_license("apache-2.0")
        writer.add_block_count(1)
        writer.add_context_length(64)
        writer.add_embedding_length(WIDTH)
        writer.add_feed_forward_length(WIDTH)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(HEADS)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_dimension_count(WIDTH // HEADS)
        writer.add_rope_freq_base(10000.0)
        writer.add_vocab_size(len(tokens))
        if parts > 1:
            writer.add_uint16("split.count", parts)
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
            if new_name == without:
                continue
            if "attn_q" in new_name or "attn_k" in new_name:  # rotary pairs lie side by side
                array = array.reshape(HEADS, 2, -1, WIDTH).swapaxes(1, 2).reshape(WIDTH, WIDTH)
            kind = gguf.GGMLQuantizationType[quantisation if array.ndim == 2 else "F32"]
            writer.add_tensor(new_name, blocks_of(array, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file

    return write


def test_the_new_directory_is_the_model(write_gguf, llama, tmp_path, capfd):
    file = write_gguf()
    capfd.readouterr()
    dequantise_gguf(file, tmp_path / "out")
    assert "tensors..." not in capfd.readouterr().err  # the bar of transformers
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, llama(ids).logits)


@pytest.mark.parametrize("name", NUMBERS)
def test_quantised_rows_are_what_their_blocks_say(name, write_gguf, llama, tmp_path):
    """The numbers are those of the format, decoded in plain numpy."""
    dequantise_gguf(write_gguf(quantisation=name), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").model
    for table in ("embed_tokens.weight", "layers.0.mlp.up_proj.weight"):
        array = llama.model.get_parameter(table).detach().numpy()
        blocks = blocks_of(array, gguf.GGMLQuantizationType[name]).view(np.uint8)
        expected = NUMBERS[name](blocks).reshape(array.shape)
        found = model.get_parameter(table).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
        if name != "Q4_K":
            assert np.abs(found - array).max() < 0.1


def test_it_is_marked_as_dequantised_and_no_longer_as_quantised(write_gguf, tmp_path):
    dequantise_gguf(write_gguf(quantisation="Q8_0"), tmp_path / "out", dtype="bfloat16")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    assert config["dequantised_from"] == {
        "file": "tiny.gguf",
        "sha256": sha256(tmp_path / "tiny.gguf"),
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
    """The pre-tokenizer is the file's: smollm splits digits, gpt-2 does not; others are refused."""
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
    with pytest.raises(
        CheckpointError, match=f"names the pre-tokenizer '{pre or 'default'}'"
    ) as caught:
        dequantise_gguf(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    original = save_tokenizer_dir(
        tokenizers_by_family["bytelevel"], tmp_path / "original", eos_token="<|im_end|>"
    )
    command = re.search(r"python -c .*(?=; then use DIR)", caught.value.hint)[0]
    code = shlex.split(command)[2].replace("TOKENIZER_DIR", str(original))
    exec(code.replace("DIR", str(tmp_path / "out")))  # noqa: S102 what the hint says
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("1000") != list("1000")


@pytest.fixture
def plm(tokenizers_by_family, tmp_path):
    tokenizer = tokenizers_by_family["unigram"]
    model = PLMS["BERT"](tokenizer.get_vocab_size(), num_hidden_layers=1)
    write_side(tmp_path / "plm", model, tokenizer)
    return tmp_path / "plm"


def test_a_file_as_source(write_gguf, plm, tmp_path, monkeypatch, caplog):
    """The same bytes as from the dequantised directory, marked in config, card and manifest."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = write_gguf(quantisation="Q4_1")
    dequantise_gguf(file, tmp_path / "directory")
    caplog.set_level("INFO")
    transfer(file, plm, tmp_path / "of-file")
    assert "is dequantised once, into" in caplog.text
    transfer(tmp_path / "directory", plm, tmp_path / "of-directory")

    weights = [tmp_path / name / "model.safetensors" for name in ("of-file", "of-directory")]
    assert sha256(weights[0]) == sha256(weights[1])
    source = read_manifest(tmp_path / "of-file")["source"]
    assert source["name"] == str(file)
    mark = {"file": "tiny.gguf", "sha256": sha256(file), "ggml_types": {"Q4_1": 9, "F32": 3}}
    assert source["dequantised_from"] == mark
    assert json.loads((tmp_path / "of-file/config.json").read_text())["dequantised_from"] == mark
    card = (tmp_path / "of-file/README.md").read_text()
    assert f"{file.name} was read **dequantised**, from `tiny.gguf` (9 Q4_1, 3 F32 tensors)" in card


def test_a_file_is_dequantised_once(write_gguf, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = write_gguf()
    first = resolve_model(str(file))
    assert (first / "model.safetensors").is_file()
    assert first.is_relative_to(tmp_path / "cache" / "saltlm" / "gguf")
    with monkeypatch.context() as patch:
        patch.setattr(saltlm.models.gguf, "dequantise_gguf", None)  # would fail if it were called
        assert resolve_model(str(file)) == first
    assert resolve_model(str(write_gguf(quantisation="F16"))) != first


def test_a_cache_that_cannot_be_made(write_gguf, tmp_path, monkeypatch):
    (tmp_path / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(OutputError, match="the cache .*/cache/saltlm/gguf cannot be made: Not a"):
        resolve_model(str(write_gguf()))


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (None, "broken.gguf does not exist", "check the path"),
        (b"\x80\x02X\n", r"is not a GGUF file: it begins with b'\\x80", "fetch the file again"),
        (b"version https://git-lfs.github.com/spec/v1", "gguf is a Git LFS pointer", "lfs pull"),
        (b"GGUF\x63\0\0\0" + bytes(64), "broken.gguf is damaged", "fetch the file"),
    ],
)
def test_files_that_are_no_gguf(content, what, hint, plm, tmp_path):
    file = tmp_path / "broken.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=what) as caught:
        transfer(file, plm, tmp_path / "out")
    assert hint in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_files_that_hold_no_whole_model(write_gguf, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"tiny.gguf is one of 3 files") as caught:
        dequantise_gguf(write_gguf(parts=3), tmp_path / "out")
    assert "llama-gguf-split --merge" in caught.value.hint
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of a LlamaForCausalLM: model.norm"):
        dequantise_gguf(write_gguf(without="output_norm.weight"), tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"transformers .* cannot read .*tiny.gguf"):
        dequantise_gguf(write_gguf(architecture="unheard-of"), tmp_path / "out")
    file = write_gguf()
    file.write_bytes(file.read_bytes()[:-999])
    with pytest.raises(CheckpointError, match=r"tiny.gguf is damaged"):
        dequantise_gguf(file, tmp_path / "out")
    monkeypatch.setattr("gguf.GGUFReader", lambda _: {}["Duplicate already in list"])
    with pytest.raises(CheckpointError, match=r"tiny.gguf is damaged: KeyError: 'Duplicate"):
        dequantise_gguf(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_without_the_packages_of_the_extra(package, write_gguf, monkeypatch, tmp_path):
    file = write_gguf()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'saltlm\[gguf\]'"):
        dequantise_gguf(file, tmp_path / "out")
