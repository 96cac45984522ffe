r"""How long training steps take where cores are shared, and threads wait busily or asleep.

    python benchmarks/waiting.py [--rounds 3] [--out benchmarks/results/waiting.json]

A process, and then two at once, each with as many threads as there are cores, take steps of a
made-up model; OMP_WAIT_POLICY says how a thread waits for the others. Seconds are by the clock, of
a step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_STEPS = """
import sys, time
import torch
from transformers import LlamaConfig, LlamaForCausalLM
shape = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=8)
heads = dict(num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
config = LlamaConfig(**shape, **heads)
torch.manual_seed(0)
model = LlamaForCausalLM(config)
ids = torch.randint(49152, (2, 256))
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
def step():
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
step()
print("ready", flush=True)
sys.stdin.readline()
begun = time.perf_counter()
for _ in range(4):
    step()
print((time.perf_counter() - begun) / 4, flush=True)
"""


def seconds(policy: str, n_processes: int) -> float:
    """Return the seconds of a step, the mean of processes that take theirs at the same time."""
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", _STEPS]
    started = [subprocess.Popen(command, env=environment, **pipes) for _ in range(n_processes)]
    for process in started:
        process.stdout.readline()
    time.sleep(1)
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [float(process.stdout.readline()) for process in started]
    for process in started:
        process.wait()
    return statistics.mean(found)


def main() -> None:
    """Measure the policies in turns, and write medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/waiting.json"))
    given = parser.parse_args()
    taken: dict[tuple[int, str], list[float]] = {}
    for _ in range(given.rounds):
        for n_processes in (1, 2):
            for policy in ("active", "passive"):
                found = taken.setdefault((n_processes, policy), [])
                found.append(seconds(policy, n_processes))
    result = {"cores": os.cpu_count(), "rounds": given.rounds}
    for (n_processes, policy), found in taken.items():
        result[f"{n_processes} at once, {policy}"] = [round(one, 3) for one in sorted(found)]
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
