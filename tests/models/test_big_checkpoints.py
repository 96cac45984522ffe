"""The layout of a 70B model, in files that take no room on the disk."""

import json
import math
import shutil
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig

from saltlm.errors import OutputError
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import CHUNK_BYTES, open_checkpoint
from saltlm.models.shards import header_of, plan_shards, planned_bytes
from saltlm.models.token_tables import read_tables
from saltlm.models.write import write_checkpoint
from saltlm.vocabulary_transfer.transfer import transfer

WIDTH, LAYERS, INNER = 8192, 80, 28672
SHARD = 5 * 10**9


def llama_70b(rows):
    """Name and shape of every tensor of Llama 3 70B, with fewer rows."""
    layer = {f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qo"}
    layer |= {f"self_attn.{name}_proj": (1024, WIDTH) for name in "kv"}
    layer |= {"mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH)}
    layer |= {"mlp.down_proj": (WIDTH, INNER)}
    layer |= {"input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
    body = {
        f"model.layers.{i}.{name}.weight": shape
        for i in range(LAYERS)
        for name, shape in layer.items()
    }
    tables = {"model.embed_tokens.weight": (rows, WIDTH), "lm_head.weight": (rows, WIDTH)}
    return body | {"model.norm.weight": (WIDTH,)} | tables


def save_sparse(directory: Path, shapes) -> Path:
    """Write safetensors shards of BF16 zeros whose data are holes."""
    shards, size = [{}], 0
    for name, shape in shapes.items():
        nbytes = 2 * math.prod(shape)
        if shards[-1] and size + nbytes > SHARD:
            shards, size = [*shards, {}], 0
        shards[-1][name] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [size, size + nbytes],
        }
        size += nbytes
    files = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for file, header in zip(files, shards, strict=True):
        text = json.dumps(header).encode()
        with (directory / file).open("wb") as opened:
            opened.write(struct.pack("<Q", len(text)) + text)
            data = max(item["data_offsets"][1] for item in header.values())
            opened.truncate(8 + len(text) + data)
    index = {name: f for f, header in zip(files, shards, strict=True) for name in header}
    text = json.dumps({"metadata": {}, "weight_map": index})
    (directory / "model.safetensors.index.json").write_text(text)
    return directory


ROWS = 900


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    directory = tmp_path_factory.mktemp("big")
    LlamaConfig(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        intermediate_size=INNER,
        num_attention_heads=64,
        num_key_value_heads=8,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(directory)
    return save_sparse(directory, llama_70b(ROWS))


def test_it_is_listed_and_only_its_tables_are_read(big):
    checkpoint = open_checkpoint(big)
    assert len(checkpoint.shards) == 29
    assert len(checkpoint.tensors) == 9 * LAYERS + 3
    assert 135e9 < checkpoint.nbytes < 140e9
    assert sum(512 * file.stat().st_blocks for file in big.iterdir()) < 10**6  # on the disk
    tables = read_tables(checkpoint, read_config(big), side="source")
    assert tables.head is not None
    assert tables.embedding.shape == (ROWS, WIDTH)


@pytest.mark.parametrize("dtype", [None, "F16", "F32"])
@pytest.mark.parametrize("limit", [None, 2 * 10**9, 10**10, 10**12])
def test_every_tensor_has_its_place_in_files_of_the_wanted_size(big, tmp_path, dtype, limit):
    checkpoint = open_checkpoint(big)
    shapes = {name: (64000, WIDTH) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    shards = plan_shards(checkpoint, tmp_path, shapes, dtype=dtype, max_bytes=limit)
    entries = {entry.name: entry for shard in shards for entry in shard}
    assert entries.keys() == checkpoint.tensors.keys()
    total = sum(entry.nbytes for entry in entries.values())
    assert total == planned_bytes(checkpoint, shapes, dtype)
    grown = checkpoint.nbytes + 2 * 2 * (64000 - ROWS) * WIDTH
    assert total == grown * (2 if dtype == "F32" else 1)
    for shard in shards:
        assert [entry.start for entry in shard] == [0, *(entry.stop for entry in shard[:-1])]
        assert len({entry.file for entry in shard}) == 1
        assert limit is None or shard[-1].stop <= limit or len(shard) == 1
        assert len(header_of(shard, {})) % 8 == 0
    assert len(shards) == {None: 29, 10**12: 1}.get(limit, len(shards))
    assert limit is None or total / limit <= len(shards) <= 2 * total / limit + 1


def test_a_full_disk_is_noticed_before_anything_is_written(
    big, tmp_path, tokenizers_by_family, save_tokenizer_dir, monkeypatch
):
    assert tokenizers_by_family["bytelevel"].get_vocab_size() == ROWS
    save_tokenizer_dir(tokenizers_by_family["bytelevel"], big)
    plm = save_tokenizer_dir(tokenizers_by_family["wordpiece"], tmp_path / "plm")
    rows = tokenizers_by_family["wordpiece"].get_vocab_size()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24}
    config = BertConfig(vocab_size=rows, num_attention_heads=2, **sizes)
    BertModel(config).save_pretrained(plm)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**11)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"has 100.00 GB free, but 13\d\.\d+ GB are needed"):
        transfer(big, plm, tmp_path / "out")
    with pytest.raises(OutputError, match=r"but 27\d\.\d+ GB are needed"):
        transfer(big, plm, tmp_path / "out", dtype="float32")
    assert [path.name for path in tmp_path.iterdir()] == ["plm"]


@pytest.mark.parametrize("dtype", [None, "F32"])
def test_a_copy_holds_a_few_chunks_whatever_the_size(tmp_path, dtype):
    shapes = {f"model.layers.{i}.weight": (3000, WIDTH) for i in range(2)}
    checkpoint = open_checkpoint(save_sparse(tmp_path, shapes))
    out = tmp_path / "out"
    out.mkdir()
    tracemalloc.start()
    try:
        write_checkpoint(checkpoint, out, {}, dtype=dtype)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK_BYTES < checkpoint.nbytes / 2
    written = open_checkpoint(out)
    assert written.nbytes == checkpoint.nbytes * (2 if dtype else 1)
    last = written.read("model.layers.1.weight")
    assert last.dtype == (torch.float32 if dtype else torch.bfloat16)
    assert not last.any()
