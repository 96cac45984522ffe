r"""What has run on CPUs only, on a GPU: training, kill and resume, the maps, the output fit.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --tiny --minutes 30 # tries the script itself

Needs nothing but this repository: the models have random weights in the shapes of SmolLM2-135M and
of a small Llama with 256,000 rows, and a tokenizer that is trained here. At most 6 minutes: each
part is a process with a limit of its own; of one that fails or takes longer the result says so.
The file is written after each part.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import adapt_speed
from adapt_speed import Case, options

PARTS_OF_THE_TIME = 6  # one part gets at most this share of it
ATTENTION = ("sdpa", "flash_attention_2")
LARGE = (
    Case("SmolLM2-135M's shape", 1024, 16_384, 8, 8, "bfloat16"),
    Case("tiny Llama, 256k rows", 1024, 16_384, 8, 8, "bfloat16"),
)
TINY = (
    Case("SmolLM2-135M's shape", 32, 128, 2, 4, "bfloat16"),
    Case("tiny Llama, 256k rows", 32, 128, 2, 4, "bfloat16"),
)
SHAPES = {
    "SmolLM2-135M's shape": {
        "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    },
    "tiny Llama, 256k rows": {
        "vocab_size": 256_000, "hidden_size": 256, "intermediate_size": 1024,
        "num_hidden_layers": 4, "num_attention_heads": 4,
    },
}  # fmt: skip
SMALLER = {"vocab_size": 600, "hidden_size": 72, "intermediate_size": 32, "num_hidden_layers": 2}
MAPS = {"m": 40_000, "n": 10_000, "d": 300, "h_t": 768, "h_s": 2048}
HEAD = {"positions": 20_000, "new": 8_000, "h_s": 576}


def cases(is_tiny: bool) -> tuple[Case, ...]:
    return TINY if is_tiny else LARGE


def make_models(folder: Path, is_tiny: bool) -> None:
    """Write a directory for each case: random weights, and a tokenizer of the text."""
    import gzip

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500 if is_tiny else 16_000,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with gzip.open(adapt_speed.CORPUS, "rt", encoding="utf-8") as opened:
        tokenizer.train_from_iterator(opened.readlines()[: 500 if is_tiny else None], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
    for number, case in enumerate(cases(is_tiny)):
        shape = SHAPES[case.name] | (SMALLER if is_tiny else {})
        torch.manual_seed(0)
        config = LlamaConfig(**shape, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0)
        LlamaForCausalLM(config).save_pretrained(folder / f"model{number}")
        fast.save_pretrained(folder / f"model{number}")


def trained(folder: Path, is_tiny: bool, side: str, number: int, attention: str) -> dict[str, Any]:
    """Train with saltlm or with the Trainer: tokens a second, peak memory, losses."""
    case = dataclasses.replace(cases(is_tiny)[number], attention=attention)
    train = {
        "saltlm": adapt_speed.train_with_saltlm,
        "trainer": adapt_speed.train_with_trainer,
    }[side]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        (Path(place) / "cache").symlink_to(folder)
        result = train(case, folder / f"model{number}", Path(place))
    ends = result["ends"]
    steps = [b - a for a, b in zip(ends, ends[1:], strict=False)]
    return {
        "tokens per second": round(case.batch_tokens / statistics.median(steps), 1),
        "peak memory, MiB": round(peak_bytes() / 2**20),
        "losses": result["losses"],
    }


def peak_bytes() -> int:
    """Return the most memory of this process: of the device where it has one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one_run(folder: Path, is_tiny: bool, out: str) -> dict[str, Any]:
    """Train the model with many rows, with checkpoints on the way."""
    from saltlm.adaptation.adapt import adapt

    config = options(cases(is_tiny)[1], folder).model_copy(update={"save_every": 2})
    adapt(folder / "model1", folder / out, config=config)
    return {}


def killed(folder: Path, is_tiny: bool) -> dict[str, Any]:
    """Kill a run after its first checkpoint, let it go on, and compare it with a whole one."""
    process = start("one_run", folder, is_tiny, "broken")
    try:
        checkpoints = folder / "broken" / "saltlm" / "checkpoints"
        while process.poll() is None and not list(checkpoints.glob("step-*")):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for out in ("broken", "whole"):
        if start("one_run", folder, is_tiny, out).wait():
            raise SystemExit(f"the run {out} failed")
    broken, whole = (digest_of(folder / out) for out in ("broken", "whole"))
    return {"was killed": process.returncode == -signal.SIGKILL, "same bytes": broken == whole}


def digest_of(directory: Path) -> str:
    """Return the SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def processes(folder: Path, is_tiny: bool) -> dict[str, Any]:
    """Train with two processes, and compare with one."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", __file__]
    for out, before in (("two", words), ("one", [sys.executable, __file__])):
        subprocess.run([*before, *child_words("one_run", folder, is_tiny, out)], check=True)
    losses = {}
    for out in ("one", "two"):
        lines = (folder / out / "saltlm" / "metrics.jsonl").read_text().splitlines()
        losses[out] = [row["loss"] for row in map(json.loads, lines) if row.get("loss")]
    return {"losses": losses}


def timed(device: str, function: Any, *given: Any) -> tuple[float, Any]:
    """Run twice and return the seconds of the second run, and what it gave."""
    for _ in range(2):
        begun = time.perf_counter()
        found = function(*given)
        if device != "cpu":
            torch.cuda.synchronize()
    return time.perf_counter() - begun, found


def maps(device: str, sizes: dict[str, int]) -> dict[str, Any]:
    """Neighbours and linear maps on the device: seconds, and how far from those of the CPU."""
    from saltlm.methods.linear import combine_rows, fit_rows
    from saltlm.methods.neighbours import nearest_shared

    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(200, sizes["d"], generator=generator)

    def clustered(rows: int) -> torch.Tensor:
        pick = torch.randint(len(centres), (rows,), generator=generator)
        return centres[pick] + 0.68 * torch.randn(rows, sizes["d"], generator=generator)

    aux_new, aux_shared = clustered(sizes["m"]), clustered(sizes["n"])
    new, shared = (torch.randn(sizes[n], sizes["h_t"], generator=generator) for n in ("m", "n"))
    table = torch.randn(sizes["n"], sizes["h_s"], generator=generator)

    def made(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        aux_new, aux_shared, new, shared, table = given
        neighbours = nearest_shared(aux_new, aux_shared)
        rows = combine_rows(table, neighbours, fit_rows(new, shared, neighbours).coefficients)
        return neighbours.k, rows

    inputs = (aux_new, aux_shared, new, shared, table)
    seconds, (k, rows) = timed(device, made, *(one.to(device) for one in inputs))
    few = slice(0, min(len(new), 2000))
    expected_k, expected = made(aux_new[few], aux_shared, new[few], shared, table)
    apart = (rows[few].cpu() - expected).norm(dim=1) / expected.norm(dim=1)
    return {
        "sizes": sizes,
        "seconds": round(seconds, 3),
        "median k": float(k.double().median()),
        "rows with another k than on the CPU": int((k[few].cpu() != expected_k).sum()),
        "largest relative difference of a row from the CPU's": float(apart.max()),
    }


def head_fit(device: str, sizes: dict[str, int]) -> dict[str, Any]:
    """The output fit on the device: seconds a pass, and its minimum beside that of the CPU."""
    from saltlm.methods.head_fit import HeadProblem, fit_head

    generator = torch.Generator().manual_seed(0)
    p, m, width = sizes["positions"], sizes["new"], sizes["h_s"]
    hidden = torch.randn(p, width, generator=generator)
    targets = torch.randint(-m, m, (p,), generator=generator).clamp_min(-1)
    start = torch.randn(m, width, generator=generator) / width
    log_partition = torch.full((p,), 10.0)

    def fitted(device: str, rows: slice) -> Any:
        one = hidden[rows], targets[rows], log_partition[rows], start
        given = (tensor.to(device) for tensor in one)
        return fit_head(HeadProblem(*given, bias=None, ridge=1.0), most_evaluations=20)

    seconds, found = timed(device, fitted, device, slice(None))
    few = slice(0, 500)
    here, there = fitted("cpu", few), fitted(device, few)
    return {
        "sizes": sizes,
        "seconds a pass": round(seconds / found.evaluations, 4),
        "objective, of 500 positions": {"cpu": here.after, device: there.after},
    }


def child_words(part: str, folder: Path, is_tiny: bool, *given: object) -> list[str]:
    return ["--child", part, str(folder), str(int(is_tiny)), *map(str, given)]


def start(part: str, folder: Path, is_tiny: bool, *given: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, __file__, *child_words(part, folder, is_tiny, *given)]
    return subprocess.Popen(words, stdout=sys.stderr)  # in the group that a late part is ended by


def child(part: str, folder: str, is_tiny: str, *given: str) -> None:
    """Run a part in this process, and print what it found."""
    tiny, place = bool(int(is_tiny)), Path(folder)
    if part == "trained":
        side, number, attention = given
        result = trained(place, tiny, side, int(number), attention)
    elif part in ("maps", "head_fit"):
        sizes = MAPS if part == "maps" else HEAD
        if tiny:
            sizes = {name: min(size, 300) for name, size in sizes.items()}
        result = {"maps": maps, "head_fit": head_fit}[part](given[0], sizes)
    else:
        run = {"one_run": one_run, "killed": killed, "processes": processes}[part]
        result = run(place, tiny, *given)
    print(json.dumps(result))


def parts(device: str) -> list[tuple[str, ...]]:
    """Return the parts that this machine has, what matters most first."""
    from transformers.utils import is_flash_attn_2_available

    kinds = ATTENTION if device != "cpu" and is_flash_attn_2_available() else ATTENTION[:1]
    found: list[tuple[str, ...]] = [
        ("trained", side, number, "sdpa") for number in "01" for side in adapt_speed.SIDES
    ]
    found += [("killed",), ("head_fit", device), ("maps", device)]
    found += [("trained", "saltlm", "0", kind) for kind in kinds[1:]]
    if device != "cpu" and torch.cuda.device_count() > 1:
        found.append(("processes",))
    return found


def measure(part: tuple[str, ...], folder: Path, is_tiny: bool, seconds: float) -> Any:
    """Return what a part found, or why it found nothing."""
    if seconds < 1:
        return {"failed": "no time was left"}
    words = [sys.executable, __file__, *child_words(part[0], folder, is_tiny, *part[1:])]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, log = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"failed": f"not done after {seconds:.0f} s"}
    if process.returncode:
        return {"failed": log.strip().splitlines()[-1:] or process.returncode}
    return json.loads(said.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that try the script itself")
    parser.add_argument("--minutes", type=float, default=5.75, help="that it may take")
    given = parser.parse_args()
    is_gpu = given.device != "cpu"
    if is_gpu and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here; --device cpu --tiny tries the script")
    begun = time.monotonic()
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if is_gpu else "cpu",
        "devices": torch.cuda.device_count() if is_gpu else 0,
        "torch": torch.__version__,
        "tiny": given.tiny,
        "cases": [dataclasses.asdict(case) for case in cases(given.tiny)],
    }
    with tempfile.TemporaryDirectory() as folder:
        make_models(Path(folder), given.tiny)
        for part in parts(given.device):
            limit = 60 * given.minutes
            left = min(limit / PARTS_OF_THE_TIME, limit - (time.monotonic() - begun))
            found = measure(part, Path(folder), given.tiny, left)
            result[" ".join(part)] = found
            print(*part, json.dumps(found), file=sys.stderr, flush=True)
            if given.out:
                given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not given.out:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
