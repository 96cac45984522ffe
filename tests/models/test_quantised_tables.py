"""Quantised embeddings and heads are decoded as their formats say, in plain numpy."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from saltlm.errors import CheckpointError
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.quantised_tables import settings_of_decoded, with_decoded_tables
from saltlm.models.token_tables import read_tables
from tiny_models import SOURCES

ROWS, WIDTH, GROUP = 40, 16, 8


def words(numbers, bits):
    """Numbers of so many bits in 32-bit words along the last axis, the lowest bits first."""
    per_word = 32 // bits
    parts = numbers.astype(np.uint32).reshape(*numbers.shape[:-1], -1, per_word)
    packed = (parts << (bits * np.arange(per_word, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return torch.from_numpy(packed.view(np.int32).copy())


def gptq(random, bits):
    q = random.integers(0, 2**bits, (WIDTH, ROWS))
    zeros = random.integers(1, 2**bits, (WIDTH // GROUP, ROWS))
    scales = random.random((WIDTH // GROUP, ROWS)).astype(np.float16)
    group = random.permutation(np.arange(WIDTH) // GROUP)
    table = ((q - zeros[group]) * scales[group].astype(float)).T
    return table, {
        "qweight": words(np.ascontiguousarray(q.T), bits).T.contiguous(),
        "qzeros": words(zeros - 1, bits),
        "scales": torch.from_numpy(scales),
        "g_idx": torch.from_numpy(group.astype(np.int32)),
    }


def packed(random, bits):
    q = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (ROWS, WIDTH))
    scales = random.random((ROWS, WIDTH // GROUP)).astype(np.float32)
    return q * scales.astype(float).repeat(GROUP, 1), {
        "weight_packed": words(q + 2 ** (bits - 1), bits),
        "weight_scale": torch.from_numpy(scales),
        "weight_shape": torch.tensor([ROWS, WIDTH]),
    }


def scaled(random, dtype, scale_name, shape, factor=1.0):
    q = torch.from_numpy(random.integers(-100, 100, (ROWS, WIDTH))).to(dtype)
    scales = random.random(shape).astype(np.float32)
    table = q.double().numpy()
    if scales.size in (1, ROWS):
        table = table * scales.reshape(-1, 1)
    else:
        rows, columns = (-(-size // n) for size, n in zip(table.shape, shape, strict=True))
        table = table * scales.repeat(rows, 0)[:ROWS].repeat(columns, 1)[:, :WIDTH]
    return table * factor, {"weight": q, scale_name: torch.from_numpy(np.asarray(scales))}


F8 = torch.float8_e4m3fn
FORMATS = {
    "fp8": lambda random: scaled(random, F8, "weight_scale_inv", (3, 2)),
    "compressed-tensors": lambda random: scaled(random, F8, "weight_scale", (ROWS, 1)),
    "fbgemm_fp8": lambda random: scaled(random, F8, "weight_scale", (1,)),
    "bitsandbytes": lambda random: scaled(random, torch.int8, "SCB", (ROWS,), 1 / 127),
    "gptq": lambda random: gptq(random, 4),
    "gptq of 8 bits": lambda random: gptq(random, 8),
    "compressed-tensors, packed": lambda random: packed(random, 4),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain")
    SOURCES["Llama"](ROWS).save_pretrained(directory)
    return directory


@pytest.fixture
def write(plain, tmp_path):
    """A function that writes a model whose head is stored otherwise."""

    def quantised(method, parts, module="lm_head", **settings):
        tensors = load_file(plain / "model.safetensors")
        del tensors[f"{module}.weight"]
        tensors |= {f"{module}.{name}": tensor for name, tensor in parts.items()}
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
        values = json.loads((plain / "config.json").read_text())
        values["quantization_config"] = {"quant_method": method, **settings}
        (tmp_path / "config.json").write_text(json.dumps(values))
        return values

    return quantised


def decoded(directory):
    return with_decoded_tables(open_checkpoint(directory), read_config(directory))


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_are_those_of_the_format(name, write, tmp_path):
    expected, parts = FORMATS[name](np.random.default_rng(5))
    method = name.split(",")[0].split(" ")[0]
    values = write(method, parts, bits=8 if "8 bits" in name else 4)
    checkpoint = decoded(tmp_path)
    tables = read_tables(checkpoint, read_config(tmp_path), side="source")
    assert tables.head.dtype == torch.float32
    np.testing.assert_allclose(tables.head.double().numpy(), expected, rtol=2e-6, atol=1e-6)
    assert not [name for name in checkpoint.tensors if "scale" in name or "lm_head.q" in name]
    changed, note = settings_of_decoded(values, checkpoint)
    skips = changed["quantization_config"]
    assert "lm_head" in str([value for value in skips.values() if isinstance(value, list)]) or (
        skips["lm_head"] is False
    )
    assert note == f"lm_head of the source were {method}, and are whole numbers now"


def test_an_embedding_is_decoded_too(write, tmp_path):
    expected, parts = FORMATS["compressed-tensors"](np.random.default_rng(1))
    values = write("compressed-tensors", parts, "model.embed_tokens", ignore=["lm_head"])
    checkpoint = decoded(tmp_path)
    tables = read_tables(checkpoint, read_config(tmp_path), side="source")
    np.testing.assert_allclose(tables.embedding.double().numpy(), expected, rtol=2e-6)
    changed, _ = settings_of_decoded(values, checkpoint)
    assert changed["quantization_config"]["ignore"] == ["lm_head", "model.embed_tokens"]


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("awq", {"qweight": torch.zeros(WIDTH, 5, dtype=torch.int32), "scales": torch.ones(2, 40)}),
        ("bitsandbytes", {"weight": torch.zeros(320, 1, dtype=torch.uint8)}),
        ("torchao", {"weight:qdata": torch.zeros(ROWS, WIDTH, dtype=torch.int8)}),
    ],
)
def test_a_head_in_another_format_is_refused_as_quantised(method, parts, write, tmp_path):
    write(method, parts)
    with pytest.raises(CheckpointError, match=rf"the head of .* is quantised \({method}\), in a"):
        decoded(tmp_path)


def test_a_format_that_cannot_say_so_is_refused(write, tmp_path):
    _, parts = FORMATS["fp8"](np.random.default_rng(1))
    values = write("of-our-own", parts)
    with pytest.raises(CheckpointError, match=r"is quantised \(of-our-own\)"):
        settings_of_decoded(values, decoded(tmp_path))


def test_settings_over_plain_weights_are_noticed(plain):
    values = {"quantization_config": {"quant_method": "bitsandbytes"}, "x": 1}
    changed, note = settings_of_decoded(values, decoded(plain))
    assert changed == {"x": 1}
    assert note.startswith("quantization_config (bitsandbytes) of the source is left out: all its")
    assert settings_of_decoded({"x": 1}, decoded(plain)) == ({"x": 1}, None)


def test_packed_layers_under_plain_tables_stay_as_they_are(plain, tmp_path):
    tensors = load_file(plain / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(F8)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((plain / "config.json").read_bytes())
    values = {"quantization_config": {"quant_method": "fp8"}}
    assert settings_of_decoded(values, decoded(tmp_path)) == (values, None)
    assert decoded(tmp_path).decoded == {}
