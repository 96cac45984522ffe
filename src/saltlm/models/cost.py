"""What work with a model costs on this machine, from a short probe; rough, to a factor of two.

Times are those of an idle machine; nobody knows before what it does beside. The constants are of
one core of a server.
"""

import functools
import math
import os
import time
from pathlib import Path
from typing import Any

import torch

from saltlm.files.progress import duration
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import DTYPES, Checkpoint

LAYER_SECONDS = 1.5e-3  # of a layer's operations, however short the text
SLOWER = 3.0  # products inside a model, of few rows each, beside one large one
OVERHEAD_BYTES = 1200 * 2**20  # libraries and working blocks beside the weights
_ONE_ROW = 23.0  # products of one row, where each weight is read once, beside one large one
_TRAINED = 6.0  # products of a weight for each token of training: forward, backward, small steps
_IN_BFLOAT16 = 1.5  # for there a step has work in float32, too: 7 to 10 products, not 6
_SIDE = 512
_BUSY = 1.5  # processes for each core
_PROBES = 5
_LOADED = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def arithmetic(dtype: str, device: str) -> torch.dtype:
    """Return what a model counts in: ``auto`` is bfloat16 where the device is faster in it.

    Args:
        dtype: ``auto``, ``bfloat16`` or ``float32``.
        device: as torch names it, such as ``cpu`` or ``cuda:1``.
    """
    is_short = dtype == "bfloat16" or (dtype == "auto" and _multiplies_bfloat16(device))
    return torch.bfloat16 if is_short else torch.float32


def _multiplies_bfloat16(device: str) -> bool:
    kind = device.partition(":")[0]
    if kind == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # old: none
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    if kind == "cuda":
        is_there = torch.cuda.is_available()
        return is_there and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "xpu"


@functools.cache
def seconds_a_product(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Return the seconds of one multiplication with its addition, in a large product.

    The fastest of a few products, as the first starts the threads; on a CPU by the time of the
    processor, so that other programs count little.
    """
    clock, n_threads = time.perf_counter, 1
    if device == "cpu":
        clock, n_threads = time.process_time, torch.get_num_threads()
    probe, seconds = torch.ones(_SIDE, _SIDE, device=device, dtype=dtype), []
    for _ in range(_PROBES):
        begun = clock()
        float((probe @ probe.T)[0, 0])  # as layers multiply: the other way 16 bits may be slow
        seconds.append(clock() - begun)
    return min(seconds) / n_threads / _SIDE**3


def seconds_a_trained_product(dtype: str = "auto", device: str | None = None) -> float:
    """Return the seconds of one product in a training, where and in what it counts.

    Args:
        dtype: as in `arithmetic`.
        device: as torch names it; None: a GPU if there is one.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    counted_in = arithmetic(dtype, device)
    longer = 1.0 if counted_in == torch.float32 else _IN_BFLOAT16
    return longer * seconds_a_product(device, counted_in)


def about(seconds: float) -> str:
    """Say an expected time, and on a machine that is busy that it will be longer there."""
    load, n_cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= _BUSY * n_cores:
        return f"about {duration(seconds)}"
    return (
        f"about {duration(seconds)} on an idle machine, longer on this one"
        f" ({load:.0f} processes on {n_cores} cores)"
    )


def count_weights(checkpoint: Checkpoint) -> int:
    """Return how many numbers a model directory holds."""
    return sum(math.prod(entry.shape) for entry in checkpoint.tensors.values())


def loaded_as(directory: Path, checkpoint: Checkpoint) -> torch.dtype:
    """Return the number format that a model is loaded in: its configuration's, else its weights'.

    Args:
        directory: of the model.
        checkpoint: its weights; of several formats that of the largest tensor counts, and float32
            for one that transformers does not load models in.
    """
    said = getattr(read_config(directory).get_text_config(), "dtype", None)
    found = getattr(torch, said, None) if isinstance(said, str) else said
    if found is None:
        sizes = [(math.prod(entry.shape), entry.dtype) for entry in checkpoint.tensors.values()]
        found = DTYPES.get(max(sizes, default=(0, ""))[1])
    return found if found in _LOADED else torch.float32


def reading_seconds(
    n_tokens: float, n_batches: float, n_weights: int, n_layers: int, per_product: float
) -> float:
    """Return how long a model reads text.

    Args:
        n_tokens: in all.
        n_batches: that they are read in.
        n_weights: of the model.
        n_layers: of the model.
        per_product: seconds, from `seconds_a_product`.
    """
    return n_batches * n_layers * LAYER_SECONDS + n_tokens * SLOWER * n_weights * per_product


def writing_seconds(n_tokens: int, n_weights: int, n_layers: int, per_product: float) -> float:
    """Return how long a model writes so many tokens, one after the other."""
    return n_tokens * (n_layers * LAYER_SECONDS + _ONE_ROW * n_weights * per_product)


def training_seconds(n_tokens: float, n_weights: int, per_product: float) -> float:
    """Return how long a model is trained on so many tokens."""
    return _TRAINED * n_tokens * n_weights * per_product
