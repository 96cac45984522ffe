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

import saltlm.models.checkpoint
import saltlm.models.write
from saltlm.errors import OutputError
from saltlm.models.checkpoint import DTYPES, open_checkpoint
from saltlm.models.write import write_checkpoint

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
        monkeypatch.setattr(saltlm.models.checkpoint, "CHUNK_BYTES", chunk)
        monkeypatch.setattr(saltlm.models.write, "CHUNK_BYTES", chunk)
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

    def flip(directory: Path) -> saltlm.models.checkpoint.Checkpoint:
        opened = honest(directory)
        if directory == out:
            entry = opened.tensors["model.norm.weight"]
            with entry.file.open("r+b") as file:
                file.seek(entry.start)
                file.write(b"\xff")
        return opened

    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(saltlm.models.write, "open_checkpoint", flip)
    with pytest.raises(OutputError, match=r"model\.norm\.weight was written to .* reads back as"):
        write_checkpoint(honest(sharded), out, {})


def test_a_replacement_without_an_old_tensor_is_a_mistake(sharded, tmp_path):
    with pytest.raises(ValueError, match=r"no tensors \['lm_head'\] to replace"):
        write_checkpoint(open_checkpoint(sharded), tmp_path, {"lm_head": torch.ones(1)})


def write(source: Path, out: Path, replaced: dict[str, torch.Tensor] | None = None, **options):
    out.mkdir(exist_ok=True)
    return write_checkpoint(open_checkpoint(source), out, replaced or {}, **options)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.mark.parametrize("limit", [1, 3000, 10**9])
def test_shards_are_as_large_as_asked(sharded, tmp_path, limit):
    out = tmp_path / "out"
    write(sharded, out, {"lm_head.weight": torch.ones(33, 16)}, max_shard_bytes=limit)
    files = sorted(path.name for path in out.glob("*.safetensors"))
    written = open_checkpoint(out)
    assert written.tensors.keys() == open_checkpoint(sharded).tensors.keys()
    if limit == 10**9:
        assert files == ["model.safetensors"]
        assert not (out / "model.safetensors.index.json").exists()
        return
    assert files == [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    for file in files:
        held = [entry.nbytes for entry in written.tensors.values() if entry.file.name == file]
        assert sum(held) <= limit or len(held) == 1
    assert limit > 1 or len(files) == len(written.tensors)
    tensors = load_all(sharded) | {"lm_head.weight": torch.ones(33, 16, dtype=torch.bfloat16)}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_all(out).items())


@pytest.mark.parametrize("chunk", [8, 2**20])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_floating_point_is_converted_and_nothing_else(tmp_path, monkeypatch, dtype, chunk):
    monkeypatch.setattr(saltlm.models.checkpoint, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(saltlm.models.write, "CHUNK_BYTES", chunk)
    numbers = torch.randn(7, 5)
    tensors = {name: (numbers * 9).to(kind) for name, kind in DTYPES.items()}
    tensors |= {"new": numbers, "scalar": torch.tensor(2.5), "none": torch.zeros(0, 4)}
    tensors["unbounded"] = torch.tensor([float("inf"), float("nan"), 1.0])
    save_file(tensors, tmp_path / "model.safetensors")
    new = torch.randn(3, 5)
    hashes = write(tmp_path, tmp_path / "out", {"new": new}, dtype=dtype)
    written = load_all(tmp_path / "out")
    for name, old in (tensors | {"new": new}).items():
        is_float = old.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        expected = old.to(DTYPES[dtype]) if is_float else old
        assert raw(written[name]) == raw(expected)
        assert hashes[name].written == hashlib.sha256(raw(expected)).hexdigest()
        source = None if name == "new" else hashlib.sha256(raw(old)).hexdigest()
        assert hashes[name].source == source
        was = next(kind for kind, known in DTYPES.items() if known == tensors[name].dtype)
        is_changed = is_float and was != dtype
        assert hashes[name].converted_from == (was if is_changed else None)


@pytest.mark.parametrize("where", ["source", "replaced"])
def test_a_number_that_the_dtype_cannot_hold_is_an_error(tmp_path, where):
    table = torch.tensor([1.0, -70000.0])
    other = torch.ones(2)
    save_file({"a": table if where == "source" else other}, tmp_path / "model.safetensors")
    replaced = {} if where == "source" else {"a": table}
    expected = r"a has a number of size 7e\+04, but torch.float16 ends at 6.55e\+04"
    with pytest.raises(OutputError, match=expected) as caught:
        write(tmp_path, tmp_path / "out", replaced, dtype="F16")
    assert caught.value.hint == "--dtype bfloat16"
    write(tmp_path, tmp_path / "again", replaced, dtype="BF16")


@pytest.mark.parametrize("options", [{}, {"dtype": "F32"}, {"max_shard_bytes": 3000}])
def test_an_interrupted_copy_continues_and_never_mixes(sharded, tmp_path, options, monkeypatch):
    """Whole files are kept; cut off, changed and foreign ones are not."""
    new = {"lm_head.weight": torch.randn(33, 16)}
    whole, earlier, out = (tmp_path / name for name in ("whole", "earlier", "out"))
    expected = write(sharded, whole, new, **options)
    earlier.mkdir()
    files = sorted(whole.glob("*.safetensors"))
    assert len(files) >= 4
    for file in files[:4]:
        (earlier / file.name).write_bytes(file.read_bytes())
    inode = (earlier / files[0].name).stat().st_ino
    with (earlier / files[1].name).open("r+b") as cut:
        cut.truncate(files[1].stat().st_size - 1)
    with (earlier / files[2].name).open("r+b") as changed:
        changed.seek(-1, 2)
        changed.write(b"\xff")
    with (earlier / files[3].name).open("ab") as longer:
        longer.write(b"\0")
    (earlier / "model-00001-of-99999.safetensors").write_bytes(b"of another plan")
    (earlier / "folder").mkdir()
    assert write(sharded, out, new, earlier=earlier, **options) == expected
    assert contents(out) == contents(whole)
    assert (out / files[0].name).stat().st_ino == inode
    assert list(earlier.iterdir()) == []


def test_what_another_source_left_is_not_used(sharded, tmp_path):
    earlier, out = tmp_path / "earlier", tmp_path / "out"
    write(sharded, earlier, {"lm_head.weight": torch.randn(33, 16)})
    new = {"lm_head.weight": torch.randn(33, 16)}
    write(sharded, out, new, earlier=earlier)
    assert torch.equal(load_all(out)["lm_head.weight"], new["lm_head.weight"].bfloat16())


@pytest.fixture
def two_files(tmp_path):
    source = tmp_path / "two"
    source.mkdir()
    for name in "ab":
        save_file({name: torch.ones(4)}, source / f"model-{name}.safetensors")
    weight_map = {name: f"model-{name}.safetensors" for name in "ab"}
    index = source / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "out").mkdir()
    return open_checkpoint(source), tmp_path / "out"


def test_where_the_disk_shares_nothing_files_are_written(two_files, monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr("fcntl.ioctl", refused)
    monkeypatch.setattr("os.link", refused)
    source, out = two_files
    hashes = write_checkpoint(source, out, {"a": torch.zeros(4)}, may_share=True)
    assert {both.shared for both in hashes.values()} == {None}
    assert load_all(out)["b"].tolist() == [1.0] * 4


def test_what_a_killed_run_had_shared_is_not_taken_for_a_copy(two_files, tmp_path):
    source, out = two_files
    write_checkpoint(source, out, {"a": torch.zeros(4)})
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "model-b.safetensors").hardlink_to(out / "model-b.safetensors")
    (tmp_path / "again").mkdir()
    write_checkpoint(
        source, tmp_path / "again", {"a": torch.zeros(4)}, earlier=tmp_path / "earlier"
    )
    one, other = (folder / "model-b.safetensors" for folder in (out, tmp_path / "again"))
    assert one.read_bytes() == other.read_bytes()
    assert not one.samefile(other)
