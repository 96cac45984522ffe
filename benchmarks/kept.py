"""What of an instruct model is left after German, and what replay and a merge give back.

    nice -n 19 python benchmarks/kept.py --source SMOLLM2_INSTRUCT --plm E5_SMALL --texts DIR \
        --work DIR [--tokens 20480] [--out benchmarks/results/kept_de.json] [--arms plain ...]

DIR of texts holds de.txt.gz, de.heldout.txt.gz, en.txt.gz, en.heldout.txt.gz and en-de.tsv.gz. Each
arm is adapted once and merged with the source at a weight of 0.5; then all models are measured side
by side: German, three kinds of English (prose, messages of software, Python functions), chat. What
is there is not done again.
"""

import argparse
import ast
import gzip
import heapq
import inspect
import json
import os
import shlex
import subprocess
import sys
import textwrap
from itertools import islice
from pathlib import Path

BEST = ["--preset", "best", "--mode", "extend", "--vocabulary", "auto", "--untie"]
BEST += ["--method", "global-residual:ridge=1.0/first-piece"]  # as it was when this was measured
REPLAY = ["--english", "en.txt.gz"]
# Arm -> flags of the transfer, None for none; and of the training.
ARMS = {
    "plain": (None, []),
    "best": (BEST, []),
    "plain_replay": (None, REPLAY),
    "best_replay": (BEST, REPLAY),
}
METRICS = ("bits per byte", "instructions followed", "answers that end")  # that are kept
TEXTS, PROBES = 20, 6  # of each kind of text; instructions of each language


def saltlm(*words, check=True):
    """Run a command of the library."""
    subprocess.run([sys.executable, "-m", "saltlm", *map(str, words)], check=check)


def write_texts(texts, work):
    """Write the held-out texts: lines that choose nothing, and functions of Python's library."""
    for name, code in (("german", "de"), ("prose", "en")):
        with gzip.open(texts / f"{code}.heldout.txt.gz", "rt", encoding="utf-8") as lines:
            (work / f"{name}.txt").write_text("".join(islice(lines, 100, 160)), encoding="utf-8")
    with gzip.open(texts / "en-de.tsv.gz", "rt", encoding="utf-8") as lines:
        english = (line.partition("\t")[0] for line in lines)
        messages = list(islice((one for one in english if len(one) > 60), 60))
    (work / "messages.txt").write_text("\n".join(messages) + "\n", encoding="utf-8")
    sources = [inspect.getsource(module) for module in (textwrap, json.decoder, shlex, heapq)]
    functions = [
        part
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        and 200 < len(part := ast.get_source_segment(source, node)) < 2500
    ]
    rows = "\n".join(json.dumps({"text": function}) for function in functions)
    (work / "code.jsonl").write_text(rows, encoding="utf-8")


def make(arm, given):
    """Transfer, adapt and merge one arm, in the folder of work."""
    flags, training = ARMS[arm]
    adapted, merged, model = Path(arm), Path(f"{arm}_half"), given.source
    corpus = given.texts / "de.txt.gz"
    if flags is not None:
        model = Path("best0")
        if not model.is_dir():
            words = ["--corpus", corpus, "--budget", given.tokens, "--out", model, *flags]
            saltlm("transfer", given.source, given.plm, *words)
    if not (adapted / "config.json").is_file():
        words = ["--data", corpus, "--tokens", given.tokens, "--out", adapted, "--keep", 1]
        words += ["--english", given.texts / training[1]] if training else []
        saltlm("adapt", model, *words, "--set", f"cache={given.work}/packed")
    if not merged.is_dir():
        saltlm("merge", given.source, adapted, "--out", merged, "--weight", 0.5)
    return [adapted, merged]


def measure(models, given):
    """Measure all models side by side, and return it as one evaluation."""
    kinds = [f"German={given.work}/german.txt", f"prose={given.work}/prose.txt"]
    kinds += [f"messages={given.work}/messages.txt", f"code={given.work}/code.jsonl"]
    texts = [word for kind in kinds for word in ("--english", kind)]
    both = []
    for name, words in (
        ("texts", [*texts, "--limit", TEXTS]),
        ("chat", ["--chat", "--lang", "de", "--limit", PROBES]),
    ):
        saltlm("evaluate", *models, *words, "--out", Path("measured") / name, check=False)
        both.append(json.loads((Path("measured") / name / "evaluation.json").read_text()))
    return joined(*both)


def joined(*found):
    """Return evaluations of the same models as one, the models under short names."""
    names = {model["name"]: Path(model["name"]).name for model in found[0]["models"]}
    models = [{**model, "name": names[model["name"]]} for model in found[0]["models"]]
    results = [
        {**result, "model": {**result["model"], "name": names[result["model"]["name"]]}}
        for one in found
        for result in one["results"]
    ]
    places = [row for one in found for row in one["places"] if row["metric"] in METRICS]
    for row in [*results, *places]:  # texts with a name are those of --english
        row["task"] = row["task"].removeprefix("English text, ")
    failures = [failure for one in found for failure in one["failures"]]
    return {"models": models, "results": results, "places": places, "failures": failures}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--source", "--plm", "--texts", "--work"):
        parser.add_argument(name, type=lambda path: Path(path).absolute(), required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kept_de.json"))
    parser.add_argument("--tokens", type=int, default=20_480)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out = given.out.absolute()
    given.work.mkdir(parents=True, exist_ok=True)
    os.chdir(given.work)  # so that models have short names
    write_texts(given.texts, given.work)
    models = [model for arm in given.arms for model in make(arm, given)]
    out.write_text(json.dumps(measure([given.source, *models], given)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
