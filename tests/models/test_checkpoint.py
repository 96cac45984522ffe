"""Reading model directories: every tensor as stored, every broken file refused."""

import json
import math
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import saltlm.models.checkpoint
from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import CHUNK_BYTES, DTYPES, largest_in_rows, open_checkpoint


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    numbers = torch.arange(12.0).reshape(3, 4) - 5.5
    named = {f"a.{name}": numbers.to(dtype) for name, dtype in DTYPES.items()}
    return named | {"scalar": torch.tensor(7.0), "empty": torch.zeros(0, 4)}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """Three shards and an index, as transformers writes them."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama", max_shard_size="10KB")
    assert len(list((tmp_path / "llama").glob("model-*.safetensors"))) >= 3
    return tmp_path / "llama"


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    bytes_of = [t.contiguous().reshape(-1).view(torch.uint8) for t in (left, right)]
    return torch.equal(*bytes_of)


def test_every_dtype_is_read_as_stored(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.tensors.keys() == tensors.keys()
    assert all(same(checkpoint.read(name), tensor) for name, tensor in tensors.items())
    assert checkpoint.nbytes == sum(tensor.nbytes for tensor in tensors.values())
    assert checkpoint.metadata == {"format": "pt"}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_some_rows_are_those_of_the_table(tmp_path, name):
    tables = {"before": torch.zeros(3), "t": torch.arange(35).reshape(7, 5).bfloat16()}
    save = save_file if name.endswith("safetensors") else torch.save
    save(tables, tmp_path / name)
    checkpoint = open_checkpoint(tmp_path)
    rows = [6, 0, 3, 3]
    assert same(checkpoint.read_rows("t", rows), tables["t"][rows])
    assert checkpoint.read_rows("t", []).shape == (0, 5)


def test_chunks_join_to_the_tensor(tmp_path, monkeypatch):
    table = torch.randn(50, 7)
    save_file({"t": table}, tmp_path / "model.safetensors")
    torch.save({"t": table}, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(saltlm.models.checkpoint, "CHUNK_BYTES", 64)
    expected = table.numpy().tobytes()
    for remove in ("", "model.safetensors"):
        if remove:
            (tmp_path / remove).unlink()
        chunks = [bytes(chunk) for chunk in open_checkpoint(tmp_path).stream("t")]
        assert b"".join(chunks) == expected
        assert max(map(len, chunks)) == 64
        assert same(open_checkpoint(tmp_path).read("t"), table)


def test_shards_together_hold_the_model(llama):
    checkpoint = open_checkpoint(llama)
    stored = {}
    for shard in checkpoint.shards:
        stored |= load_file(llama / shard)
    assert checkpoint.tensors.keys() == stored.keys()
    assert all(same(checkpoint.read(name), tensor) for name, tensor in stored.items())


def test_safetensors_are_preferred_to_pickles(tmp_path):
    save_file({"t": torch.ones(2)}, tmp_path / "model.safetensors")
    torch.save({"t": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    assert open_checkpoint(tmp_path).read("t").tolist() == [1, 1]


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_bin_files_go_through_the_safe_loader(tmp_path, tensors, is_zip):
    if not is_zip:  # no such dtypes then
        tensors = {name: t for name, t in tensors.items() if "F8" not in name}
    tensors["transposed"] = torch.randn(3, 5).T
    tensors["alias"] = tensors["a.F32"]
    tensors["slice"] = tensors["a.F32"][1:]
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    checkpoint = open_checkpoint(tmp_path)
    assert all(same(checkpoint.read(name), tensor) for name, tensor in tensors.items())
    assert checkpoint.sha256("alias") == checkpoint.sha256("a.F32") != checkpoint.sha256("slice")


def test_bin_shards_have_an_index_too(tmp_path):
    names = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    for number, (name, shard) in enumerate(names.items()):
        torch.save({name: torch.full((2,), float(number))}, tmp_path / shard)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.shards == tuple(names.values())
    assert checkpoint.read("b").tolist() == [1, 1]


class Trap:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, is_zip):
    file, trap = tmp_path / "pytorch_model.bin", tmp_path / "run"
    torch.save({"t": Trap(trap)}, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is refused by torch's safe"):
        open_checkpoint(tmp_path)
    assert not trap.exists()
    with file.open("wb") as plain:
        pickle.dump({"t": Trap(trap)}, plain)
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path)
    assert not trap.exists()


def test_a_bin_file_that_holds_more_than_tensors_is_refused(tmp_path):
    torch.save({"state_dict": {"t": torch.ones(1)}, "epoch": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="is not a plain mapping of names to tensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("keep", [0, 20, 200])
def test_a_truncated_file_is_named_with_its_size(tmp_path, name, keep):
    tensors = {"t": torch.ones(100)}
    file = tmp_path / name
    if name.endswith(".bin"):
        torch.save(tensors, file)
    else:
        save_file(tensors, file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=rf"{name} \({keep} bytes\) is corrupt or truncated"):
        open_checkpoint(tmp_path)


def test_a_file_that_shrinks_after_it_was_opened_is_noticed(tmp_path):
    save_file({"t": torch.ones(100)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 300)
    with pytest.raises(CheckpointError, match=r"ends \d+ bytes before the end of t"):
        checkpoint.read("t")


def test_a_git_lfs_pointer_says_so(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(CheckpointError, match="is a Git LFS pointer, not the file") as caught:
        open_checkpoint(tmp_path)
    assert caught.value.hint == f"fetch the file itself: git -C {tmp_path} lfs pull"


def test_an_unknown_dtype_can_be_copied_but_not_read(tmp_path):
    header = json.dumps({"t": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + b"\1\2\3\4")
    checkpoint = open_checkpoint(tmp_path)
    assert b"".join(checkpoint.stream("t")) == b"\1\2\3\4"
    with pytest.raises(CheckpointError, match="cannot read t .* dtype F8_E8M0 is not supported"):
        checkpoint.read("t")


def test_a_bin_dtype_without_a_safetensors_name_is_refused(tmp_path):
    torch.save({"t": torch.zeros(2, dtype=torch.complex128)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"cannot hold a tensor of dtype torch\.complex128"):
        open_checkpoint(tmp_path)


def test_no_weights_lists_what_is_there(tmp_path):
    (tmp_path / "flax_model.msgpack").touch()
    with pytest.raises(CheckpointError, match=r"holds neither .* there: flax_model\.msgpack\)"):
        open_checkpoint(tmp_path)


def edit_index(directory: Path, **changes: str | None) -> None:
    """Sets the shard of tensors; None removes them."""
    file = directory / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"].update(changes)
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v is not None}
    file.write_text(json.dumps(index))


@pytest.mark.parametrize(
    "shard",
    ["../model.safetensors", "/model.safetensors", "sub/model.safetensors", "..", "config.json"],
)
def test_an_index_that_points_outside_is_refused(llama, shard):
    save_file({"lm_head.weight": torch.ones(1)}, llama.parent / "model.safetensors")
    edit_index(llama, **{"lm_head.weight": shard})
    with pytest.raises(CheckpointError, match=f"names '{shard}', which is not a weight file in"):
        open_checkpoint(llama)


def test_an_index_must_agree_with_its_shards(llama):
    edit_index(llama, extra=min(llama.glob("model-*.safetensors")).name)
    with pytest.raises(CheckpointError, match="puts extra in .*, but it is in no file"):
        open_checkpoint(llama)
    edit_index(llama, extra=None, **{"model.norm.weight": None})
    with pytest.raises(CheckpointError, match=r"puts model\.norm\.weight in no file, but"):
        open_checkpoint(llama)


def test_a_missing_shard_is_named(llama):
    shard = sorted(llama.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"names {shard.name}, which is not in"):
        open_checkpoint(llama)


def test_a_tensor_in_two_shards_is_refused(llama):
    first, second = sorted(llama.glob("model-*.safetensors"))[:2]
    save_file(load_file(first) | load_file(second), second)
    with pytest.raises(CheckpointError, match=f"is in both {first.name} and {second.name}"):
        open_checkpoint(llama)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": [1]}'])
def test_a_broken_index_is_named(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is not an index of weights"):
        open_checkpoint(tmp_path)


def test_tensors_longer_than_a_chunk_are_whole(tmp_path):
    table = torch.arange(CHUNK_BYTES // 4 + 3, dtype=torch.float32)
    save_file({"t": table}, tmp_path / "model.safetensors")
    assert torch.equal(open_checkpoint(tmp_path).read("t"), table)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_largest_number_of_a_row_tells_zeros_and_what_is_not_finite(monkeypatch, dtype):
    monkeypatch.setattr(saltlm.models.checkpoint, "_BLOCK_NUMBERS", 6)
    rows = [[0, -0.0, 0], [1, -3, 2], [1, float("nan"), 9], [0, 0, float("-inf")]]
    zero, three, nan, inf = largest_in_rows(torch.tensor(rows, dtype=dtype)).tolist()
    assert (zero, three, inf) == (0, 3, float("inf"))
    assert math.isnan(nan)


def test_tensors_are_compared_to_the_bit(tmp_path):
    numbers = torch.arange(6.0)
    for name, tensors in {
        "one": {"a": numbers, "b": numbers, "c": torch.zeros(2)},
        "two": {"a": numbers.clone(), "b": numbers.nextafter(numbers + 1), "c": torch.zeros(3)},
    }.items():
        (tmp_path / name).mkdir()
        save_file(
            {key: one.clone() for key, one in tensors.items()},
            tmp_path / name / "model.safetensors",
        )
    one, two = (open_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert [one.has_bytes_of(two, name) for name in "abc"] == [True, False, False]
