"""Tokens a second and peak memory of saltlm adapt beside transformers' own Trainer.

Both train the same model on the same packed sequences in the same order: float32, fused AdamW
without weight decay, one learning rate, the same sequences at once, attention inside documents. So
their losses agree, and the benchmark stops when they do not. Each run is a process of its own and
the two take turns; a process's first step is a warm-up and does not count.

The roof is what the matrix products of a step take alone: those of a real step are noted, shapes,
strides and dtypes, and done again after every later step, in the same process and in processor
seconds. Products inside of fused attention are not among them.

    python benchmarks/adapt_speed.py --out benchmarks/results/adapt_speed.json
    python benchmarks/adapt_speed.py --only roof --out ...    # the rest of the file stays

The models: SmolLM2-135M with a German vocabulary of 21k tokens, and a tiny Llama (width 256, four
layers) with 256,000 rows and the tokenizer of multilingual-e5-small. Without --source and --plm
the two are fetched as the demo does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

SIDES = ("saltlm", "trainer")
RATE = 1e-4
CORPUS = Path(str(files("saltlm.recipes.demo") / "corpus" / "de.txt.gz"))


@dataclass(frozen=True)
class Case:
    """A model and how much of it is trained."""

    name: str
    sequence_length: int
    batch_tokens: int
    micro_batch: int
    steps: int
    dtype: str = "float32"
    attention: str | None = None


CASES = (
    Case("SmolLM2-135M, 21k rows", 256, 2048, 4, 4),
    Case("tiny Llama, 256k rows", 256, 2048, 4, 6),
)


def options(case: Case, cache: Path) -> Any:
    """The options of saltlm adapt that the Trainer's are made equal to."""
    from saltlm.adaptation.config import AdaptConfig

    given = {name: value for name, value in asdict(case).items() if name != "name"}
    return AdaptConfig(
        data={str(CORPUS): None},
        cache=cache,
        stages=[{"kind": "full"}],
        lr={"new": RATE, "shared": RATE, "body": RATE},
        weight_decay=0.0,
        warmup=0.0,
        decay=0.0,
        save_every=10**6,
        **given,
    )


def train_with_saltlm(case: Case, model: Path, folder: Path) -> dict[str, Any]:
    from saltlm.adaptation.adapt import adapt
    from saltlm.adaptation.metrics import read_metrics

    adapt(model, folder / "out", config=options(case, folder / "cache"))
    rows = read_metrics(folder / "out" / "saltlm" / "metrics.jsonl")[1:]
    return {"ends": [row["seconds"] for row in rows], "losses": [row["loss"] for row in rows]}


def train_with_trainer(case: Case, model: Path, folder: Path) -> dict[str, Any]:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from saltlm.adaptation.mixture import mix, read_batch
    from saltlm.adaptation.packed_cache import pack_text
    from saltlm.adaptation.packing import frame_of
    from saltlm.files.source import fingerprint

    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation=case.attention
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = options(case, folder / "cache")
    frame = frame_of(loaded, tokenizer)
    text = pack_text(CORPUS, fingerprint(CORPUS), tokenizer, frame, cache=config.cache)
    count = case.steps * config.batch_sequences
    mixture = mix([text], config.data, n_sequences=count, length=case.sequence_length, seed=0)
    batch = read_batch(mixture, 0, count)
    sequences = [
        {"input_ids": ids[:-1], "labels": ids[1:], "shift_labels": ids[1:], "position_ids": places}
        for ids, places in zip(batch.ids, batch.positions, strict=True)
    ]
    ends: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=str(folder / "out"),
        max_steps=case.steps,
        per_device_train_batch_size=case.micro_batch,
        gradient_accumulation_steps=config.batch_sequences // case.micro_batch,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=config.clip,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=case.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(loaded, arguments, train_dataset=sequences, callbacks=[Watch()])
    trainer.train()
    trainer.save_model()
    return {"ends": ends, "losses": [row["loss"] for row in trainer.state.log_history[:-1]]}


def train_beside_its_products(case: Case, model: Path, folder: Path) -> dict[str, Any]:
    """Train, and do the products of a step alone after each: processor seconds of both."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from saltlm.adaptation import engine

    aten = torch.ops.aten
    kinds = {aten.mm.default, aten.mm.out, aten.addmm.default, aten.addmm_.default}
    kinds.add(aten.bmm.default)
    noted: list[tuple[Any, list[tuple[Any, ...]]]] = []

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), named: Any = None) -> Any:
            if op in kinds:
                given = [one for one in args if isinstance(one, torch.Tensor)]
                noted.append((op, [(one.shape, one.stride(), one.dtype) for one in given]))
            return op(*args, **(named or {}))

    def products() -> None:
        made = {
            spec: torch.empty_strided(spec[0], spec[1], dtype=spec[2]).normal_()
            for spec in {spec for _, specs in noted for spec in specs}
        }
        buffer: dict[Any, Any] = {}
        began = time.process_time()
        for op, specs in noted:
            given = [made[spec] for spec in specs]
            if op is aten.mm.out:  # the logits, of which one buffer is filled again and again
                shape = (specs[0][0][0], specs[1][0][1])
                out = buffer.setdefault(shape, given[0].new_empty(shape))
                op(*given, out=out)
            else:
                op(*given)
        alone.append(time.process_time() - began)

    steps: list[float] = []
    alone: list[float] = []
    step = engine.train_step

    def beside(*args: Any) -> dict[str, Any]:
        if not noted:
            with Note():
                return step(*args)
        began = time.process_time()
        row = step(*args)
        steps.append(time.process_time() - began)
        products()
        return row

    engine.train_step = beside
    train_with_saltlm(case, model, folder)
    return {"step": steps, "products": alone, "count": len(noted)}


def run(side: str, case: Case, model: Path, cache: Path) -> dict[str, Any]:
    """Train in a process of its own and return its speed, its peak memory and its losses."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        (Path(folder) / "cache").symlink_to(cache)
        child = [sys.executable, __file__, "--child", side, case.name, str(model), folder]
        done = subprocess.run(child, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(side: str, name: str, model: str, folder: str) -> None:
    import resource

    case = next(case for case in CASES if case.name == name)
    if side == "roof":
        case = replace(case, batch_tokens=case.sequence_length * case.micro_batch)
        print(json.dumps(train_beside_its_products(case, Path(model), Path(folder))))
        return
    train = train_with_saltlm if side == "saltlm" else train_with_trainer
    result = train(case, Path(model), Path(folder))
    ends = result["ends"]
    result = {
        "tokens per second": case.batch_tokens * (len(ends) - 1) / (ends[-1] - ends[0]),
        "peak memory, bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "losses": result["losses"],
    }
    print(json.dumps(result))


def measure(case: Case, model: Path, cache: Path, rounds: int) -> dict[str, Any]:
    """Let the sides take turns and put medians and the median of the rounds' ratios together."""
    seen: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            seen[side].append(run(side, case, model, cache))
            print(case.name, side, json.dumps(seen[side][-1]), file=sys.stderr, flush=True)
    for ours, theirs in zip(*(seen[side][0]["losses"] for side in SIDES), strict=True):
        assert abs(ours - theirs) < 2e-3 * theirs, f"not the same training: {ours} and {theirs}"
    speeds, peaks = (
        {side: [result[what] for result in seen[side]] for side in SIDES}
        for what in ("tokens per second", "peak memory, bytes")
    )
    ratios = [a / b for a, b in zip(speeds["saltlm"], speeds["trainer"], strict=True)]
    return {
        **asdict(case),
        "tokens per second": {side: round(statistics.median(speeds[side]), 1) for side in SIDES},
        "of each round": {side: [round(speed, 1) for speed in speeds[side]] for side in SIDES},
        "times as fast": round(statistics.median(ratios), 3),
        "peak memory, MiB": {side: round(max(peaks[side]) / 2**20) for side in SIDES},
        "share of the memory": round(max(peaks["saltlm"]) / max(peaks["trainer"]), 3),
        "losses": {side: seen[side][0]["losses"] for side in SIDES},
    }


def roof(case: Case, model: Path, cache: Path) -> dict[str, Any]:
    """Return how much of a step, of one micro-batch and an update, its matrix products are."""
    found = run("roof", case, model, cache)
    print(case.name, "roof", json.dumps(found), file=sys.stderr, flush=True)
    ratios = [a / b for a, b in zip(found["products"], found["step"], strict=True)]
    return {
        "name": case.name,
        "tokens in a step": case.sequence_length * case.micro_batch,
        "processor seconds": {
            key: [round(one, 2) for one in found[key]] for key in ("step", "products")
        },
        "products": found["count"],
        "share of the roof": round(statistics.median(ratios), 3),
    }


def make_models(source: Path, plm: Path, folder: Path) -> Iterator[Path]:
    """Yield a model directory for each case."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    import saltlm

    saltlm.transfer(source, plm, folder / "smollm2", corpus=[CORPUS], prune_to=32_000)
    yield folder / "smollm2"
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(plm)
    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(
        vocab_size=256_000, num_attention_heads=4, tie_word_embeddings=True, **shape, **ids
    )
    LlamaForCausalLM(config).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    yield folder / "tiny"


def main() -> None:
    from saltlm.files.caches import cache_folder
    from saltlm.recipes.demo.assets import E5_SMALL, SMOLLM2, fetch_asset

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write; default: standard output")
    parser.add_argument("--source", type=Path, help="SmolLM2-135M")
    parser.add_argument("--plm", type=Path, help="multilingual-e5-small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["cases", "roof"], help="measure one of the two")
    given = parser.parse_args()
    source = given.source or fetch_asset(SMOLLM2, cache_folder("demo"))
    plm = given.plm or fetch_asset(E5_SMALL, cache_folder("demo"))
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, list[dict[str, Any]]] = {"cases": [], "roof": []}
        for case, model in zip(CASES, make_models(source, plm, Path(folder)), strict=True):
            if given.only != "roof":
                parts["cases"].append(measure(case, model, Path(folder), given.rounds))
            if given.only != "cases":
                parts["roof"].append(roof(case, model, Path(folder)))
    import torch
    import transformers

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    result = {**versions, "cores": os.cpu_count()}
    if given.only and given.out and given.out.is_file():
        result = json.loads(given.out.read_text(encoding="utf-8"))
    result |= {name: part for name, part in parts.items() if part}
    text = json.dumps(result, indent=2) + "\n"
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
