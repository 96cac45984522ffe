"""Tiny sources quantised by the packages themselves, transferred, and loaded by them again.

python benchmarks/quantised.py --out benchmarks/results/quantised.json

It needs, in an environment of its own: bitsandbytes, compressed-tensors, torchao.
"""

import argparse
import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import Tensor

import saltlm
from census import why, write_parents
from saltlm.errors import SaltlmError

ROWS, TOKENS = 928, 12
ALL = ["nothing of this name"]  # that is left as it is


def save_plain(directory: Path) -> Path:
    """Write a tiny Llama in bfloat16, wide enough for blocks and groups."""
    torch.manual_seed(5)
    config = hf.LlamaConfig(
        vocab_size=ROWS,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        dtype="bfloat16",
    )
    hf.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory / "plain")
    return directory / "plain"


def by_transformers(settings: Any) -> Callable[[Path], None]:
    """What loads a plain model with settings of a package, and saves it."""

    def write(work: Path) -> None:
        model = hf.AutoModelForCausalLM.from_pretrained(
            save_plain(work), quantization_config=settings(), dtype=torch.bfloat16
        )
        model.save_pretrained(work / "source")

    return write


def by_compressed_tensors(
    bits: int, kind: str, strategy: str, form: str, ignore: list[str]
) -> Callable[[Path], None]:
    """What quantises weights with the library compressed-tensors: the scale is the largest one."""
    largest = {("int", 4): 7.5, ("int", 8): 127.5, ("float", 8): 448.0}[kind, bits]
    group = 32 if strategy == "group" else None

    def write(work: Path) -> None:
        from compressed_tensors.compressors import ModelCompressor
        from compressed_tensors.quantization import (
            QuantizationArgs,
            QuantizationConfig,
            QuantizationScheme,
            apply_quantization_config,
        )

        model = hf.AutoModelForCausalLM.from_pretrained(save_plain(work), dtype=torch.bfloat16)
        weights = QuantizationArgs(
            num_bits=bits, type=kind, strategy=strategy, symmetric=True, group_size=group
        )
        scheme = QuantizationScheme(targets=["Linear"], weights=weights, format=form)
        config = QuantizationConfig(
            config_groups={"group_0": scheme},
            ignore=ignore,
            format=form,
            quantization_status="frozen",
        )
        apply_quantization_config(model, config)
        for module in model.modules():
            if hasattr(module, "weight_scale"):
                blocks = module.weight.detach().float().unflatten(1, (-1, group or 128))
                scale = (blocks if group else blocks.flatten(1).unsqueeze(1)).abs().amax(2)
                module.weight_scale.data = (scale / largest).to(module.weight_scale.dtype)
        compressor = ModelCompressor.from_pretrained_model(model, quantization_format=form)
        compressor.compress_model(model)
        model.save_pretrained(work / "source", save_original_format=False)
        compressor.update_config(str(work / "source"))

    return write


def fp8(work: Path) -> None:
    """Write FP8 in blocks of 128 with their scales, as DeepSeek and Qwen publish it."""
    plain = save_plain(work)
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        if tensor.ndim < 2 or "embed" in name:
            tensors[name] = tensor
            continue
        rows, columns = (-(-size // 128) for size in tensor.shape)
        scales = torch.empty(rows, columns)
        for i in range(rows):
            for j in range(columns):
                block = tensor[i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128]
                scales[i, j] = block.abs().max() / 448
        wide = scales.repeat_interleave(128, 0)[: len(tensor)].repeat_interleave(128, 1)
        tensors[name] = (tensor / wide[:, : tensor.shape[1]]).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scales
    (work / "source").mkdir()
    save_file(tensors, work / "source/model.safetensors", {"format": "pt"})
    values = json.loads((plain / "config.json").read_text())
    values["quantization_config"] = {
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
        "activation_scheme": "dynamic",
        "modules_to_not_convert": ALL,
    }
    (work / "source/config.json").write_text(json.dumps(values))


def mxfp4(work: Path) -> None:
    """Write experts in MXFP4, as gpt-oss has them: 4 bits a number, and a power of 2 for 32."""
    torch.manual_seed(5)
    config = hf.GptOssConfig(
        vocab_size=ROWS,
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=2,
        layer_types=["sliding_attention", "full_attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_local_experts=4,
        num_experts_per_tok=2,
        initializer_range=0.2,
        dtype="bfloat16",
    )
    hf.GptOssForCausalLM(config).to(torch.bfloat16).save_pretrained(work / "source")
    tensors = load_file(work / "source/model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj") and "experts" in name]:
        experts, wide, out = tensors.pop(name).shape
        blocks = (experts, out, wide // 32)
        tensors[f"{name}_blocks"] = torch.randint(256, (*blocks, 16), dtype=torch.uint8)
        tensors[f"{name}_scales"] = torch.full(blocks, 123, dtype=torch.uint8)  # 2 ** (123 - 127)
    save_file(tensors, work / "source/model.safetensors", {"format": "pt"})
    values = json.loads((work / "source/config.json").read_text())
    values["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.embed_tokens", "lm_head"],
    }
    (work / "source/config.json").write_text(json.dumps(values))


def torchao_int8() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return hf.TorchAoConfig(Int8WeightOnlyConfig(version=2))


BITS = hf.BitsAndBytesConfig
CASES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "8 bits, head too": (
        "bitsandbytes",
        by_transformers(lambda: BITS(load_in_8bit=True, llm_int8_skip_modules=ALL)),
    ),
    "8 bits": ("bitsandbytes", by_transformers(lambda: BITS(load_in_8bit=True))),
    "4 bits (nf4)": (
        "bitsandbytes",
        by_transformers(lambda: BITS(load_in_4bit=True, bnb_4bit_quant_type="nf4")),
    ),
    "4 bits, head too": (
        "bitsandbytes",
        by_transformers(lambda: BITS(load_in_4bit=True, llm_int8_skip_modules=ALL)),
    ),
    "packed 4 bits, head too": (
        "compressed-tensors",
        by_compressed_tensors(4, "int", "group", "pack-quantized", []),
    ),
    "packed 4 bits": (
        "compressed-tensors",
        by_compressed_tensors(4, "int", "group", "pack-quantized", ["lm_head"]),
    ),
    "int8, head too": (
        "compressed-tensors",
        by_compressed_tensors(8, "int", "channel", "int-quantized", []),
    ),
    "FP8, head too": (
        "compressed-tensors",
        by_compressed_tensors(8, "float", "channel", "float-quantized", []),
    ),
    "FP8 in blocks, head too": ("transformers", fp8),
    "MXFP4 experts": ("transformers", mxfp4),
    "int8 weights": ("torchao", by_transformers(torchao_int8)),
}


def logits_of(directory: Path, ids: Tensor) -> tuple[Tensor, str]:
    """Return what a model says as its package loads it, and of what class its head is."""
    model = hf.AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval()
    with torch.inference_mode():
        logits = model(input_ids=ids.unsqueeze(0), use_cache=False).logits[0]
    return logits.float(), type(model.lm_head).__name__


def one(write: Callable[[Path], None], work: Path) -> dict[str, Any]:
    """Return what came of one case."""
    source, out = work / "source", work / "out"
    for directory in (source, out):
        shutil.rmtree(directory, ignore_errors=True)
    try:
        write(work)
    except Exception as error:
        return {"outcome": "not made", "why": why(error)}
    for file in (work / "tokenizer").iterdir():
        shutil.copyfile(file, source / file.name)
    try:
        made = saltlm.transfer(source, work / "plm", out, prove=True).provenance
    except SaltlmError as error:
        return {"outcome": "refused", "why": error.what.replace(str(work), "")}
    kept = (made.source_ids >= 0).nonzero().squeeze(1)
    text = kept[:: max(1, len(kept) // TOKENS)][:TOKENS]
    try:
        before, old = logits_of(source, made.source_ids[text])
        after, new = logits_of(out, text)
    except Exception as error:
        return {"outcome": "not loaded", "why": why(error)}
    settings = json.loads((out / "config.json").read_text())["quantization_config"]
    before, after = before[:, made.source_ids[kept]], after[:, kept]
    return {
        "outcome": "loaded",
        "head": [old, new],
        "apart": float((before - after).abs().max()),
        "largest": float(before.abs().max()),
        "left_alone": {key: names for key, names in settings.items() if isinstance(names, list)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="results as JSON")
    options = parser.parse_args()
    hf.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    packages = ("transformers", "torch", *sorted({package for package, _ in CASES.values()}))
    versions = {name: importlib.metadata.version(name) for name in packages}
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_parents(work)
        for name, (package, write) in CASES.items():
            results.append({"package": package, "what": name, **one(write, work)})
            print(json.dumps(results[-1]), flush=True)
    if options.out:
        kept = {"versions": versions, "results": results}
        options.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
