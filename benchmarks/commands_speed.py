r"""Whole commands of two checkouts in turns, and scripts that do the least that a command must.

    python benchmarks/commands_speed.py SOURCE PLM CORPUS BEFORE AFTER [--rounds 5] \
        [--only prune inspect] [--out benchmarks/results/commands_speed.json]

BEFORE and AFTER are clones of this repository at two commits; git names them in the result.
Processor seconds of the whole process on one thread, medians of the rounds. A command that a
checkout does not have is null there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_RUN = "import sys; from saltlm.cli.main import main; sys.exit(main())"
_TRANSFERS = {"small plm": 16_000, "prune": 16_000, "extend": 53_000, "swap": 53_000}
"""Rows of the new tables, about."""
_FLOOR = """
import json, shutil, sys
from pathlib import Path
import torch, transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
source, plm, rows, out = *map(Path, sys.argv[1:3]), int(sys.argv[3]), Path(sys.argv[4])
transformers.LlamaForCausalLM, transformers.BertModel
configs = [AutoConfig.from_pretrained(one) for one in (source, plm)]
tokenizers = [AutoTokenizer.from_pretrained(one) for one in (source, plm)]
tensors = {}
with safe_open(source / "model.safetensors", "pt") as opened:
    for name in opened.keys():
        tensors[name] = opened.get_tensor(name)
with safe_open(plm / "model.safetensors", "pt") as opened:
    largest = max(opened.keys(), key=lambda name: opened.get_slice(name).get_shape()[0])
    table = opened.get_tensor(largest)
name = next(name for name in tensors if "embed" in name)
tensors[name] = tensors[name][:rows].clone()
out.mkdir()
save_file(tensors, out / "model.safetensors", {"format": "pt"})
tokenizers[1].save_pretrained(out)
shutil.copyfile(source / "config.json", out / "config.json")
"""
_CHECK_FLOOR = """
import sys, tempfile
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.inference_mode():
    model(**tokenizer("a", return_tensors="pt"))
with tempfile.TemporaryDirectory() as again:
    model.save_pretrained(again)
    tokenizer.save_pretrained(again)
"""
_PRUNE = """
import sys
from pathlib import Path
from saltlm.vocabulary_transfer.prune_model import prune_model
prune_model(sys.argv[1], sys.argv[2], [Path(sys.argv[3])], size=16000)
"""


def commands(source: str, plm: str, corpus: str, folder: Path) -> dict[str, list[str]]:
    """Return the arguments of each command; two look at the result of the first."""
    small = str(folder.parent / "plm")
    text, out = ["--corpus", corpus], {name: str(folder / name) for name in _TRANSFERS}
    few = ["--mode", "extend", "--prune-to", "4000"]
    return {
        "small plm": ["transfer", source, small, "--out", out["small plm"]],
        "explain": ["explain", out["small plm"], "Haus"],
        "check": ["check", out["small plm"]],
        "inspect": ["inspect", source, plm, *text, "--prune-to", "16000"],
        "score": ["score", source, small],
        "select": ["score", source, small, "--select"],
        "prune": ["transfer", source, plm, *text, "--prune-to", "16000", "--out", out["prune"]],
        "extend": ["transfer", source, plm, *text, *few, "--out", out["extend"]],
        "swap": ["transfer", source, plm, *text, "--mode", "swap", "--out", out["swap"]],
    }


def least_of(name: str, arguments: list[str], out: str) -> list[str] | None:
    """Return the script that does the least that a command must, with its arguments."""
    if name in _TRANSFERS:
        return [_FLOOR, *arguments[1:3], str(_TRANSFERS[name]), out]
    if name == "check":
        return [_CHECK_FLOOR, arguments[1]]
    return None


def seconds(arguments: list[str], checkout: Path) -> float | None:
    """Return the processor seconds of a process; None if it does not know its arguments."""
    path = str(checkout / "src")
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    environment |= {"RAYON_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", *arguments], env=environment, stdout=-3, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code == 2 or "Input should be" in said:  # arguments that are not known, or their values
        return None
    if code:
        raise SystemExit(f"{arguments} of {checkout.name} ended with {code}:\n{said}")
    return usage.ru_utime + usage.ru_stime


def commit_of(checkout: Path) -> str:
    """Return the commit that a clone is at."""
    said = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


def main() -> None:
    """Measure, and write what was found after each command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("source", "plm", "corpus"):
        parser.add_argument(name)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/commands_speed.json"))
    given = parser.parse_args()
    checkouts = {"before": given.before, "after": given.after}
    result = json.loads(given.out.read_text()) if given.out.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        seconds([_PRUNE, given.plm, str(Path(temporary) / "plm"), given.corpus], given.after)
        for name in commands("", "", "", Path()):
            if given.only and name not in given.only:
                continue
            taken: dict[str, list[float | None]] = {"before": [], "after": [], "floor": []}
            for round in range(given.rounds):
                for side, checkout in checkouts.items():
                    folder = Path(temporary) / side
                    folder.mkdir(exist_ok=True)
                    arguments = commands(given.source, given.plm, given.corpus, folder)[name]
                    if "--out" in arguments and Path(arguments[-1]).exists():
                        arguments = [*arguments, "--force"]
                    taken[side].append(seconds([_RUN, *arguments], checkout))
                out = str(Path(temporary) / f"floor {name} {round}")
                if (least := least_of(name, arguments, out)) is not None:
                    taken["floor"].append(seconds(least, given.after))
            result[name] = {"rounds": given.rounds, "commits": {}} | {
                side: None if not all(found) else round_of(found) for side, found in taken.items()
            }
            result[name]["commits"] = {s: commit_of(path) for s, path in checkouts.items()}
            print(name, result[name], flush=True)
            given.out.write_text(json.dumps(result, indent=2) + "\n")


def round_of(found: list[float | None]) -> float | None:
    """Return the median in hundredths of a second; None where nothing was measured."""
    taken = [one for one in found if one is not None]
    return round(statistics.median(taken), 2) if taken else None


if __name__ == "__main__":
    main()
