"""Runs that are killed, and runs of two processes; prints what came out as JSON.

It is a script, because children are forked from a process that has imported everything but has
not used a thread yet. A killed run dies at a change of its output folder: between two of them
nothing can happen that a later run could see.
"""

import gc
import json
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule

from adapt_models import save_model, save_text, tiny_config
from saltlm.adaptation import devices
from saltlm.adaptation import engine as loop
from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.metrics import read_metrics
from saltlm.adaptation.training import Training, set_up

CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
OPTIONS: dict[str, Any] = {"steps": 6, "stages": ["embeddings:0.5", "full"], "keep": 2}
OPTIONS |= {"eval_every": 3, "eval_documents": 3, "teacher": "ngrams"}


def fork(work: Callable[[], object]) -> int:
    """Start a child; it exits with 0 if the work is done."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = 1
    try:
        os.dup2(2, 1)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(children: list[int]) -> list[int]:
    """Return how each child ended; when one dies, the others are killed, as launchers do."""
    ends: dict[int, int] = {}
    while len(ends) < len(children):
        pid, status = os.waitpid(-1, 0)
        ends[pid] = os.waitstatus_to_exitcode(status)
        if ends[pid] != 0:
            for other in set(children) - ends.keys():
                os.kill(other, signal.SIGKILL)
    return [ends[child] for child in children]


def count_changes(out: Path, act: Callable[[int], None]) -> None:
    """Call ``act`` with 1, 2, ... before each change of the output folder."""
    n = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n
        is_change = event in CHANGES and str(arguments[0]).startswith(str(out))
        if is_change and (event != "open" or any(mode in str(arguments[1]) for mode in "wax")):
            n += 1
            act(n)

    sys.addaudithook(hook)


def killed_at(change: int, out: Path, work: Callable[[], object]) -> Callable[[], object]:
    """Return work that dies at a change of its output folder."""

    def act(n: int) -> None:
        if n == change:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: (count_changes(out, act), work())


def processes(count: int, work: Callable[[], object]) -> list[int]:
    """Run the same work in several processes that know of each other, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(rank: int) -> Callable[[], object]:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return lambda: (os.environ.update({k: str(v) for k, v in names.items()}), work())

    return wait([fork(member(rank)) for rank in range(count)])


def outcome(out: Path) -> dict[str, Any]:
    """Return what must not depend on how a run was interrupted."""
    timing = {"seconds", "tokens_per_second"}
    rows = read_metrics(out / "saltlm" / "metrics.jsonl")
    return {
        "weights": (out / "model.safetensors").read_bytes().hex(),
        "curve": [{key: row[key] for key in row.keys() - timing} for row in rows],
        "left": sorted(path.name for path in out.rglob(".*")),
        "checkpoints": sorted(path.name for path in (out / "saltlm" / "checkpoints").iterdir()),
    }


def kill_and_resume(folder: Path, model: Path, n_kills: int) -> dict[str, Any]:
    """Compare a run that is never killed with one that is killed again and again."""
    config = tiny_config(folder, heldout={"target": folder / "text.txt"}, **OPTIONS)
    whole, broken, counter = folder / "whole", folder / "broken", folder / "changes"

    def uninterrupted() -> None:
        count_changes(whole, lambda n: counter.write_text(str(n)))
        adapt(model, whole, config=config)

    assert wait([fork(uninterrupted)]) == [0]
    n_changes = int(counter.read_text())
    kills, ends = [], []
    for _ in range(n_kills):
        kills.append(random.randint(1, n_changes // 2))  # what is left of a run gets shorter
        work = killed_at(kills[-1], broken, lambda: adapt(model, broken, config=config))
        ends += wait([fork(work)])
        for path in broken.rglob(".saltlm-partial-*"):  # as if a minute had gone by
            os.utime(path, (0, 0))
    ends += wait([fork(lambda: adapt(model, broken, config=config))])
    return {"kills": kills, "ends": ends, "whole": outcome(whole), "broken": outcome(broken)}


def two_processes(folder: Path, model: Path, one: Path) -> dict[str, Any]:
    """Compare the run of one process with two, and two with two that were killed."""
    config = tiny_config(folder, heldout={"target": folder / "text.txt"}, **OPTIONS)
    two, broken = folder / "two", folder / "broken-two"
    ends = processes(2, lambda: adapt(model, two, config=config))
    killed = killed_at(18, broken, lambda: adapt(model, broken, config=config))
    ends_of_killed = processes(2, killed)
    ends += processes(2, lambda: adapt(model, broken, config=config))
    return {
        "ends": ends,
        "ends_of_killed": ends_of_killed,
        "one": outcome(one),
        "two": outcome(two),
        "broken": outcome(broken),
    }


def sharded_accelerator(**options: Any) -> Accelerator:
    """Return what fsdp2.yaml gives, which accelerate itself keeps from CPUs."""
    shipped = (files("saltlm.adaptation") / "launch" / "fsdp2.yaml").read_text()
    settings = yaml.safe_load(shipped)["fsdp_config"]
    os.environ.update({name.upper(): str(value) for name, value in settings.items()})
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    if options["mixed_precision"] != "no":
        plugin.set_mixed_precision(options["mixed_precision"])
    accelerator = Accelerator(**options, fsdp_plugin=plugin)
    PartialState().distributed_type = DistributedType.FSDP  # what every new state is filled from
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
    return accelerator


def sharded_set_up(*args: Any) -> Training:
    """Make sure that every stage shares the weights.

    On CPUs torch 2.8 adds up gradients where it is told to average them.
    """
    training = set_up(*args)
    assert isinstance(training.inside, FSDPModule)
    for module in training.inside.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
    return training


def sharded(folder: Path, model: Path, one: Path) -> dict[str, Any]:
    """Compare the run of one process with two that share the weights, killed and resumed once."""
    config = tiny_config(folder, heldout={"target": folder / "text.txt"}, **OPTIONS)
    two, rough = folder / "sharded", folder / "sharded-bfloat16"
    devices.Accelerator, loop.set_up = sharded_accelerator, sharded_set_up
    killed = killed_at(18, two, lambda: adapt(model, two, config=config))
    ends_of_killed = processes(2, killed)
    ends = processes(2, lambda: adapt(model, two, config=config))
    changed = {"steps": 1, "stages": ["embeddings"], "dtype": "bfloat16"}
    short = tiny_config(folder, **{**OPTIONS, **changed})
    ends += processes(2, lambda: adapt(model, rough, config=short))
    return {
        "ends": ends,
        "ends_of_killed": ends_of_killed,
        "one": outcome(one),
        "two": outcome(two),
        "bfloat16": outcome(rough),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # a child that collects would copy every page of what is imported
    place = Path(sys.argv[1])
    save_text(place / "text.txt")
    tiny = save_model(place / "model", num_hidden_layers=1)
    results = {
        "kill": kill_and_resume(place, tiny, n_kills=3),
        "two": two_processes(place, tiny, one=place / "whole"),
        "sharded": sharded(place, tiny, one=place / "whole"),
    }
    json.dump(results, sys.stdout)
