"""Embeddings and heads that are quantised: decoded, for rows are copied and made of them.

The other tensors stay packed as they are. What the settings say is changed, so that nobody takes
the new tables for packed ones.
"""

import copy
import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from transformers import PreTrainedConfig

from saltlm.errors import CheckpointError
from saltlm.models.checkpoint import Checkpoint, TensorEntry, dtype_name
from saltlm.models.skeleton import class_of, names_in_model
from saltlm.models.table_names import FLOATING
from saltlm.models.vocabulary_tensors import built_for

_PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>qweight|qzeros|g_idx|scales|SCB|weight_format|weight_packed"
    r"|weight_shape|weight_zero_point|weight_g_idx|weight_scale|weight_scale_inv|input_scale"
    r"|output_scale|weight([.:_].+)?)$"
)
_SCALES = ("weight_scale", "weight_scale_inv", "SCB")
_SKIPS = {
    "bitsandbytes": "llm_int8_skip_modules",
    "compressed-tensors": "ignore",
    **dict.fromkeys(
        ("fp8", "fbgemm_fp8", "awq", "torchao", "hqq", "quanto", "mxfp4", "eetq", "modelopt"),
        "modules_to_not_convert",
    ),
}


def with_decoded_tables(checkpoint: Checkpoint, config: PreTrainedConfig) -> Checkpoint:
    """Return a checkpoint in which embedding and head are numbers in the model's dtype.

    Understood are 8-bit numbers with scales (FP8, bitsandbytes, compressed-tensors), GPTQ, and
    packed integers of compressed-tensors.

    Args:
        checkpoint: the source's weights.
        config: of the source.

    Raises:
        CheckpointError: the head or the embedding is quantised in another way.
    """
    if class_of(config) is None or _is_plain(checkpoint):
        return checkpoint
    built = built_for(config, checkpoint.directory)
    modules: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in checkpoint.tensors.items():
        if found := _PART.match(name):
            modules.setdefault(found["module"], {})[found["part"]] = entry
    places = names_in_model(built.model, [f"{module}.weight" for module in modules])
    tensors, decoded = dict(checkpoint.tensors), dict(checkpoint.decoded)
    stated = getattr(config.get_text_config(), "dtype", None)
    dtype = stated if isinstance(stated, torch.dtype) else torch.bfloat16
    for name, place in places.items():
        parts = modules[name.removesuffix(".weight")]
        is_whole = set(parts) == {"weight"} and parts["weight"].dtype in FLOATING
        if place not in built.grows or is_whole:
            continue
        grown = built.grows[place]
        what = "head" if "head" in grown.kind else "embedding"
        decode = _decoder(checkpoint, parts, config, what, dtype)
        first = next(iter(parts.values()))
        for part in parts.values():
            del tensors[part.name]
        size = math.prod(grown.shape) * dtype.itemsize
        tensors[name] = replace(
            first, name=name, dtype=dtype_name(dtype), shape=grown.shape, start=0, stop=size
        )
        decoded[name] = decode
    return replace(checkpoint, tensors=tensors, decoded=decoded)


def settings_of_decoded(
    values: dict[str, Any], checkpoint: Checkpoint
) -> tuple[dict[str, Any], str | None]:
    """Return ``config.json`` for a model whose tables are not packed, and a note.

    Settings that a trainer left behind over weights that are all plain are left out.

    Args:
        values: of the file.
        checkpoint: of the source, its tables decoded.

    Raises:
        CheckpointError: the format cannot say which modules are not packed.
    """
    changed = copy.deepcopy(values)
    quantised = changed.get("quantization_config")
    if not isinstance(quantised, dict):
        return changed, None
    method = str(quantised.get("quant_method"))
    if _is_plain(checkpoint):
        del changed["quantization_config"]
        return changed, (
            f"quantization_config ({method}) of the source is left out: all its weights are plain"
            " numbers"
        )
    modules = sorted(name.removesuffix(".weight") for name in checkpoint.decoded)
    if not modules:
        return changed, None
    if method == "gptq":
        quantised["lm_head"] = False
    elif method in _SKIPS:
        key = _SKIPS[method]
        quantised[key] = [*dict.fromkeys([*(quantised.get(key) or ()), *modules])]
    else:
        raise _quantised(checkpoint, "head", method)
    return (
        changed,
        f"{' and '.join(modules)} of the source were {method}, and are whole numbers now",
    )


def _is_plain(checkpoint: Checkpoint) -> bool:
    """Tell whether no tensor of a checkpoint is packed or scaled."""
    return (
        not any(
            (entry.dtype.startswith("F8") or entry.dtype in ("I8", "U8", "I32"))
            and len(entry.shape) > 1
            for entry in checkpoint.tensors.values()
        )
        and not checkpoint.decoded
    )


def _decoder(
    checkpoint: Checkpoint,
    parts: dict[str, TensorEntry],
    config: PreTrainedConfig,
    what: str,
    dtype: torch.dtype,
) -> partial[Tensor]:
    """Return what decodes a table, by the tensors that it is stored in."""
    settings = getattr(config, "quantization_config", None) or {}
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    scale = next((name for name in _SCALES if name in parts), None)
    weight = parts.get("weight")
    if (
        weight is not None
        and weight.dtype in ("F8_E4M3", "F8_E5M2", "I8")
        and not ({"weight_zero_point"} & parts.keys())
    ):
        return partial(_scaled, checkpoint, weight, parts.get(scale or ""), scale == "SCB", dtype)
    if {"qweight", "scales", "qzeros"} <= parts.keys() and settings.get("quant_method") == "gptq":
        bits, is_v2 = int(settings.get("bits", 4)), "v2" in str(settings.get("checkpoint_format"))
        if bits in (2, 4, 8):
            return partial(_gptq, checkpoint, parts, bits, 0 if is_v2 else 1, dtype)
    if {"weight_packed", "weight_scale", "weight_shape"} <= parts.keys() and not (
        {"weight_zero_point", "weight_g_idx"} & parts.keys()
    ):
        return partial(_packed, checkpoint, parts, dtype)
    raise _quantised(checkpoint, what, settings.get("quant_method") or "in an unknown way")


def _quantised(checkpoint: Checkpoint, what: str, method: Any) -> CheckpointError:
    return CheckpointError(
        f"the {what} of {checkpoint.directory} is quantised ({method}), in a way that saltlm does"
        " not decode",
        "use the model that it was made of, or a copy whose embedding and head are not quantised",
    )


def _scaled(
    checkpoint: Checkpoint,
    weight: TensorEntry,
    scale: TensorEntry | None,
    is_absmax: bool,
    dtype: torch.dtype,
) -> Float[Tensor, "v h"]:
    """Return 8-bit numbers times their scales: one, one a row, or one a block."""
    table = checkpoint.read(weight.name).float()
    if scale is not None:
        factors = checkpoint.read(scale.name).float()
        factors = factors / 127 if is_absmax else factors
        if factors.numel() in (1, len(table)):
            factors = factors.reshape(-1, 1)
        else:
            rows, columns = (
                math.ceil(size / n) for size, n in zip(table.shape, factors.shape, strict=True)
            )
            factors = factors.repeat_interleave(rows, 0)[: len(table)]
            factors = factors.repeat_interleave(columns, 1)[:, : table.shape[1]]
        table *= factors
    return table.to(dtype)


def _gptq(
    checkpoint: Checkpoint,
    parts: dict[str, TensorEntry],
    bits: int,
    zero_offset: int,
    dtype: torch.dtype,
) -> Float[Tensor, "v h"]:
    """Return (q - zero) * scale; q is packed along the inputs, zeros along the outputs."""
    read = {part: checkpoint.read(entry.name) for part, entry in parts.items()}
    numbers = _unpacked(read["qweight"].T, bits)
    zeros = _unpacked(read["qzeros"], bits) + zero_offset
    scales, width = read["scales"].float(), numbers.shape[1]
    groups = read.get("g_idx")
    if groups is None:
        groups = torch.arange(width) // math.ceil(width / len(scales))
    groups = groups.long()
    table: Tensor = (numbers - zeros[groups].T) * scales[groups].T
    return table.to(dtype)


def _packed(
    checkpoint: Checkpoint, parts: dict[str, TensorEntry], dtype: torch.dtype
) -> Float[Tensor, "v h"]:
    """Return signed integers of compressed-tensors, packed along a row, times their scales."""
    packed = checkpoint.read(parts["weight_packed"].name)
    width = int(checkpoint.read(parts["weight_shape"].name)[1])
    scales = checkpoint.read(parts["weight_scale"].name).float()
    bits = 32 * packed.shape[1] // width
    numbers = _unpacked(packed, bits)[:, :width] - 2 ** (bits - 1)
    factors = scales.repeat_interleave(math.ceil(width / scales.shape[1]), 1)
    table: Tensor = numbers * factors[:, :width]
    return table.to(dtype)


def _unpacked(packed: Int32[Tensor, "rows n"], bits: int) -> Float[Tensor, "rows m"]:
    """Return the numbers in 32-bit words, the lowest bits first."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    words = packed.contiguous().unsqueeze(-1) >> shifts
    numbers: Tensor = (words & (2**bits - 1)).flatten(1)
    return numbers.float()
