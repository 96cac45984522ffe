"""What holds the memory of a training step: what is alive, and what the heap keeps beside it.

A model of SmolLM2-135M's width with random weights takes steps as `saltlm adapt` does: two
micro-batches, the chunked loss, clipping, fused AdamW, all in float32 on one thread. What is alive
at the peak is counted; the peak is the process's own. Each way is a process of its own.

    python benchmarks/adapt_memory.py --layers 8 --out benchmarks/results/adapt_memory.json
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROWS, SEQUENCES, LENGTH, STEPS = 4_000, 4, 256, 2
WAYS: dict[str, tuple[dict[str, str], bool]] = {
    "as it is": ({}, False),
    "blocks of 1 MiB returned at once": ({"MALLOC_MMAP_THRESHOLD_": str(2**20)}, False),
    "all but products recomputed": ({}, True),
}
MIB = 2**20


def child(layers: int, is_recomputed: bool) -> dict[str, Any]:
    """Take steps, and return what was alive at the peak, the peak and the processor seconds."""
    import torch

    from saltlm.adaptation.loss import causal_loss

    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = build(1, is_recomputed)  # loads what torch loads late
    take_step(small, torch.zeros(1, 9, dtype=torch.int64), torch.arange(8).unsqueeze(0))
    del small
    model = build(layers, is_recomputed)
    ids = torch.randint(ROWS, (SEQUENCES, LENGTH + 1))
    positions = torch.arange(LENGTH).remainder(100).expand(SEQUENCES, -1)
    weights = sum(weight.nbytes for weight in model[0].parameters())
    before = resident()
    seconds = []
    for _ in range(STEPS):
        began = time.process_time()
        loss, norm = take_step(model, ids, positions)
        seconds.append(round(time.process_time() - began, 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    storages: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        causal_loss(model[0], ids, positions)
    for weight in model[0].parameters():
        storages.pop(weight.untyped_storage().data_ptr(), None)
    alive = {
        "process, model not counted": before - weights,
        "weights": weights,
        "gradients": weights,
        "two moments": 2 * weights,
        "saved for the backward pass": sum(storages.values()),
        "logits": SEQUENCES * LENGTH * ROWS * 4,
    }
    return {
        "alive, MiB": {name: round(size / MIB) for name, size in alive.items()},
        "alive together, MiB": round(sum(alive.values()) / MIB),
        "peak, MiB": round(peak / MIB),
        "processor seconds of each step": seconds,
        "loss and norm": [loss, norm],
    }


def build(layers: int, is_recomputed: bool) -> tuple[Any, Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3}
    config = LlamaConfig(vocab_size=ROWS, tie_word_embeddings=True, **shape, **heads)
    model = LlamaForCausalLM(config).train()
    if is_recomputed:
        recompute_all_but_products(model)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)


def take_step(made: tuple[Any, Any], ids: Any, positions: Any) -> tuple[float, float]:
    """Take a step of two micro-batches, and return its loss and the norm of its gradient."""
    import torch

    from saltlm.adaptation.loss import causal_loss

    model, optimizer = made
    for _ in range(2):
        loss = causal_loss(model, ids, positions) / (2 * ids.numel())
        loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item(), norm.item()


def recompute_all_but_products(model: Any) -> None:
    from functools import partial

    import torch
    from torch.utils.checkpoint import create_selective_checkpoint_contexts

    aten = torch.ops.aten
    attention = aten._scaled_dot_product_flash_attention_for_cpu.default
    kept = [aten.mm.default, aten.addmm.default, aten.bmm.default, attention]
    contexts = partial(create_selective_checkpoint_contexts, kept)
    model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write; default: standard output")
    parser.add_argument("--layers", type=int, default=30)
    given = parser.parse_args()
    ways = {}
    for way, (variables, is_recomputed) in WAYS.items():
        words = [sys.executable, __file__, "--child", str(given.layers), str(int(is_recomputed))]
        done = subprocess.run(
            words, env=os.environ | variables, stdout=subprocess.PIPE, check=True, text=True
        )
        found = json.loads(done.stdout)
        alive = {name: found.pop(name) for name in ("alive, MiB", "alive together, MiB")}
        ways[way] = found if ways else alive | found  # what is recomputed is not counted
        print(way, done.stdout, file=sys.stderr, flush=True)
    sizes = {"rows": ROWS, "sequences": SEQUENCES, "length": LENGTH, "layers": given.layers}
    text = json.dumps({**sizes, "ways": ways}, indent=2) + "\n"
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(int(sys.argv[2]), bool(int(sys.argv[3])))))
    else:
        main()
