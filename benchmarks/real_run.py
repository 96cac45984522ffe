"""SALT on real models: an English LLM into several languages, before any training.

    python benchmarks/real_run.py --source SMOLLM2 --plm E5_SMALL --texts DIR --work DIR \
        [--languages de vi ar] [--aux plm train] [--out benchmarks/results/real_run.json]

DIR of texts holds LANGUAGE.txt.gz and LANGUAGE.heldout.txt.gz, one document a line, and English
beside the target languages. Each result is written as it comes; a run that is there is not
repeated.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from saltlm.files.documents import documents

DOCUMENTS = {"target": 100, "English": 50}


def measure(model_dir, texts, language):
    """Bits per byte of held-out text, with a 95 % interval, and fertility."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from saltlm.evaluation.bits_per_byte import bits_per_byte
    from saltlm.tokenizer.fertility import fertility

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    found = {"tokens": len(tokenizer)}
    for name, code in (("target", language), ("English", "en")):
        held_out = list(islice(documents([texts / f"{code}.heldout.txt.gz"]), DOCUMENTS[name]))
        bits = bits_per_byte(model, tokenizer, held_out)
        size = fertility(tokenizer, held_out)
        found[name] = {
            "bits per byte": round(bits.value, 4),
            "95 % interval": [round(end, 4) for end in bits.interval()],
            "bytes": sum(bits.n_bytes),
            "bytes lost": round(bits.lost_share, 5),
            "tokens per word": round(size.tokens_per_word, 3),
        }
    return found


def run(source, plm, out, aux, corpus, texts, language):
    """Transfer in a process of its own, so that time and memory are its own."""
    command = [sys.executable, "-m", "saltlm.cli.main", "transfer", str(source), str(plm)]
    command += ["--out", str(out), "--force", "--aux", aux, "--corpus", str(corpus)]
    command += ["--method", "salt", "--mode", "replace"]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begun
    manifest = json.loads((out / "saltlm" / "manifest.json").read_text())
    return {
        "counts": manifest["counts"],
        "auxiliary": manifest["auxiliary"],
        "residual": quantiles(out, "residual"),
        "norm ratio": quantiles(out, "norm_ratio"),
        "seconds": {**manifest["seconds"], "wall": round(wall, 1)},
        "peak memory, MiB": round(manifest["peak_memory_bytes"] / 2**20),
        **measure(out, texts, language),
    }


def quantiles(out, name):
    from safetensors import safe_open

    with safe_open(out / "saltlm" / "provenance.safetensors", "pt") as file:
        values = file.get_tensor(name).double()
    return {str(q): round(float(values.quantile(q)), 3) for q in (0.1, 0.5, 0.9)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--source", "--plm", "--texts", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["de", "vi", "ar"])
    parser.add_argument("--aux", nargs="+", default=["plm", "train"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_run.json"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}

    def keep(key, result):
        results[key] = result
        given.out.write_text(json.dumps(results, indent=2) + "\n")
        print(key, json.dumps(result), flush=True)

    from saltlm.vocabulary_transfer.prune_model import prune_model

    for language in given.languages:
        corpus = given.texts / f"{language}.txt.gz"
        donor = given.work / f"donor-{language}"
        if not donor.exists():
            prune_model(given.plm, donor, [corpus])
        if f"{language}, untouched" not in results:
            keep(f"{language}, untouched", measure(given.source, given.texts, language))
        for aux in given.aux:
            key = f"{language}, aux {aux}"
            if key not in results:
                out = given.work / f"{language}-{aux}"
                keep(key, run(given.source, donor, out, aux, corpus, given.texts, language))


if __name__ == "__main__":
    main()
