"""Writing checkpoints: the right bytes, in files that the safetensors library accepts."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PhiConfig, PhiForCausalLM

import saltlm.checkpoint
import saltlm.write
from saltlm.checkpoint import DTYPES, open_checkpoint
from saltlm.errors import OutputError
from saltlm.write import write_checkpoint

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def load_all(directory: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in sorted(directory.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


shapes = st.lists(st.integers(0, 5), max_size=3)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
contents = st.dictionaries(
    names.filter(lambda name: name != "__metadata__"),
    st.tuples(shapes, st.sampled_from(sorted(DTYPES))),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(contents=contents, data=st.data())
def test_any_tensors_round_trip_with_any_of_them_replaced(tmp_path_factory, contents, data):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    tensors = {
        name: (torch.rand(shape) * 9).to(DTYPES[dtype]) for name, (shape, dtype) in contents.items()
    }
    save_file(tensors, source / "model.safetensors")
    replaced = {
        name: torch.rand(data.draw(shapes)).to(tensors[name].dtype)
        for name in data.draw(st.sets(st.sampled_from(sorted(tensors))))
    }
    hashes = write_checkpoint(open_checkpoint(source), out, replaced)
    written = load_file(out / "model.safetensors")
    expected = tensors | replaced
    assert written.keys() == expected.keys() == hashes.keys()
    for name, tensor in expected.items():
        assert (written[name].dtype, written[name].shape) == (tensor.dtype, tensor.shape)
        assert raw(written[name]) == raw(tensor)
        digest = hashlib.sha256(raw(tensor)).hexdigest()
        assert hashes[name].written == digest
        assert hashes[name].source == (None if name in replaced else digest)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=100, **SMALL)).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "source", max_shard_size="5KB")
    return tmp_path / "source"


def test_shards_stay_as_they_were_and_transformers_loads_them(sharded, tmp_path):
    checkpoint = open_checkpoint(sharded)
    out = tmp_path / "out"
    out.mkdir()
    new = {name: torch.randn(33, 16) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    write_checkpoint(checkpoint, out, new)

    index = json.loads((out / "model.safetensors.index.json").read_text())
    old_index = json.loads((sharded / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == old_index["weight_map"]
    written = load_all(out)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in written.values())
    for name, tensor in load_all(sharded).items():
        expected = new[name].to(torch.bfloat16) if name in new else tensor
        assert torch.equal(written[name], expected)

    LlamaConfig(vocab_size=33, **SMALL).save_pretrained(out)
    model, info = LlamaForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(model.lm_head.weight, new["lm_head.weight"].to(torch.bfloat16))


def test_the_same_input_gives_the_same_bytes(sharded, tmp_path, monkeypatch):
    new = {"lm_head.weight": torch.randn(33, 16)}
    outs = [tmp_path / "one", tmp_path / "two"]
    for out, chunk in zip(outs, (8, 2**20), strict=True):
        monkeypatch.setattr(saltlm.checkpoint, "CHUNK_BYTES", chunk)
        monkeypatch.setattr(saltlm.write, "CHUNK_BYTES", chunk)
        out.mkdir()
        write_checkpoint(open_checkpoint(sharded), out, new)
    files = [{path.name: path.read_bytes() for path in out.iterdir()} for out in outs]
    assert files[0] == files[1]


@pytest.mark.parametrize("max_rows", [1, 1000], ids=["one tensor a shard", "one file"])
def test_bin_weights_become_safetensors(tmp_path, max_rows):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    config = PhiConfig(vocab_size=100, **SMALL)
    model = PhiForCausalLM(config)
    state = model.state_dict()
    state["alias"] = state["lm_head.weight"]
    if max_rows == 1:
        shard = "pytorch_model-{:05}-of-{:05}.bin".format
        weight_map = {name: shard(i + 1, len(state)) for i, name in enumerate(state)}
        for name, file in weight_map.items():
            torch.save({name: state[name]}, source / file)
        index = {"metadata": {}, "weight_map": weight_map}
        (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save(state, source / "pytorch_model.bin")
    write_checkpoint(open_checkpoint(source), out, {})
    written = load_all(out)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in state.items())
    assert (out / "model.safetensors").exists() == (max_rows > 1)
    config.save_pretrained(out)
    loaded, info = PhiForCausalLM.from_pretrained(out, output_loading_info=True)
    assert set(info["unexpected_keys"]) == {"alias"}
    assert not info["missing_keys"]
    assert torch.equal(loaded.lm_head.bias, model.lm_head.bias)


def test_mixed_dtypes_stay_aligned(tmp_path):
    tensors = {"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.ones(2, dtype=torch.float64)}
    tensors |= {"c": torch.ones(5, dtype=torch.uint8), "d": torch.ones(1)}
    save_file(tensors, tmp_path / "model.safetensors")
    out = tmp_path / "out"
    out.mkdir()
    write_checkpoint(open_checkpoint(tmp_path), out, {"a": torch.ones(1)})
    for entry in open_checkpoint(out).tensors.values():
        assert entry.start % DTYPES[entry.dtype].itemsize == 0


def test_a_disk_that_returns_other_bytes_is_noticed(sharded, tmp_path, monkeypatch):
    honest = open_checkpoint

    def flip(directory: Path) -> saltlm.checkpoint.Checkpoint:
        opened = honest(directory)
        if directory == out:
            entry = opened.tensors["model.norm.weight"]
            with entry.file.open("r+b") as file:
                file.seek(entry.start)
                file.write(b"\xff")
        return opened

    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(saltlm.write, "open_checkpoint", flip)
    with pytest.raises(OutputError, match=r"model\.norm\.weight was written to .* reads back as"):
        write_checkpoint(honest(sharded), out, {})


def test_a_replacement_without_an_old_tensor_is_a_mistake(sharded, tmp_path):
    with pytest.raises(ValueError, match=r"no tensors \['lm_head'\] to replace"):
        write_checkpoint(open_checkpoint(sharded), tmp_path, {"lm_head": torch.ones(1)})
