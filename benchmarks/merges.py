"""saltlm merge beside mergekit's own output, tensor by tensor.

    python benchmarks/merges.py --source MODEL --adapted MODEL --python PYTHON --work DIR

MODEL is a model and one adapted from it with the same vocabulary (saltlm adapt, 20k tokens in the
kept result), PYTHON one of an environment with mergekit. Also against matrices moved by half their
spread, where the arc of a slerp is far from the line. Rows are left out: saltlm has its own rules.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file

import saltlm

WEIGHT = 0.3
ROWS = ("embed_tokens", "lm_head")
_RUN = """
import sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
with open(sys.argv[1]) as file:
    config = MergeConfiguration.model_validate(yaml.safe_load(file))
run_merge(config, sys.argv[2], MergeOptions(copy_tokenizer=True))
"""


def theirs(config, python, out):
    shutil.rmtree(out, ignore_errors=True)
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({"dtype": "float32", **config}))
    subprocess.run([python, "-c", _RUN, file, out], check=True)
    return tensors(out)


def ours(base, adapted, out, **options):
    saltlm.merge(base, adapted, out, special="adapted", force=True, **options)
    return tensors(out)


def tensors(directory):
    return {k: v for f in directory.glob("*.safetensors") for k, v in load_file(f).items()}


def difference(one, other):
    """Return the largest difference over the largest number of its tensor."""
    return max(
        float((one[name].double() - tensor.double()).abs().max() / tensor.double().abs().max())
        for name, tensor in other.items()
        if not any(part in name for part in ROWS)
    )


def moved(source, out):
    """Write the source with its matrices moved by half their spread, the rest by a tenth."""
    generator = torch.Generator().manual_seed(0)
    shutil.copytree(source, out, dirs_exist_ok=True)
    weights = {}
    for name, tensor in tensors(source).items():
        noise = torch.randn(tensor.shape, generator=generator)
        by = tensor.std() / 2 if tensor.ndim == 2 else tensor / 10
        weights[name] = tensor + by * noise
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--source", "--adapted", "--python", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mergekit.json"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    source, near, far = given.source, given.adapted, moved(given.source, given.work / "far")

    def both(name, adapted, config, **options):
        merged = ours(source, adapted, given.work / f"our-{name}", **options)
        return difference(merged, theirs(config, given.python, given.work / f"their-{name}"))

    def weighted(*models):
        return [{"model": str(m), "parameters": {"weight": weight}} for m, weight in models]

    def arc(adapted):
        models = [{"model": str(source)}, {"model": str(adapted)}]
        options = {"base_model": str(source), "models": models, "parameters": {"t": WEIGHT}}
        return {"merge_method": "slerp", **options}

    line = {"merge_method": "linear", "models": weighted((source, 1 - WEIGHT), (near, WEIGHT))}
    vector = {
        "merge_method": "task_arithmetic",
        "base_model": str(far),
        "models": weighted((source, 0.5), (near, 1.0)),
    }
    found = {
        "linear": both("linear", near, line, weight=WEIGHT),
        "slerp, near": both("near", near, arc(near), method="slerp", weight=WEIGHT),
        "slerp, far": both("far", far, arc(far), method="slerp", weight=WEIGHT),
        "task_arithmetic (the chat vector)": both(
            "vector", near, vector, method="chat-vector", pretrained=far, weight=0.5
        ),
    }
    code = "import importlib.metadata as m; print(m.version('mergekit'))"
    version = subprocess.run([given.python, "-c", code], capture_output=True, text=True, check=True)
    result = {"mergekit": version.stdout.strip(), "weight": WEIGHT, "differences": found}
    given.out.write_text(json.dumps({"model": source.name, **result}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
