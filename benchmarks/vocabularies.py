"""One pair, six vocabularies: replaced, joined, extended, swapped, pruned to two sizes, untrained.

    python benchmarks/vocabularies.py --source SMOLLM2 --plm E5_SMALL --texts DIR --work DIR \
        [--language de] [--stage make cut measure time] [--only replaced ...] \
        [--out benchmarks/results/vocabularies.json]

DIR of texts holds LANGUAGE.txt.gz and LANGUAGE.heldout.txt.gz, one document a line, and English
beside the language. ``replaced`` has all tokens that occur in LANGUAGE.txt.gz, ``extended`` puts
the same tokens behind the source's own, ``joined`` shares out as many rows among these tokens and
neighbours of theirs that are joined, ``swapped`` cuts those of the source that no text uses.
Stage ``cut`` says how the tokenizers alone cut held-out text, and of that the documents without
digits, what they lose, and how much longer the kept sample gets.
Speed is that of greedy generation on one thread, in rounds that take the models in turn, by the
processor's time, which other processes do not lengthen.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import torch

from real_run import DOCUMENTS, measure
from saltlm.alignment import align as alignment_module
from saltlm.alignment.align import align
from saltlm.config.transfer import RowsConfig
from saltlm.files.documents import documents
from saltlm.tokenizer.counts import encode_texts
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.fertility import fertility
from saltlm.tokenizer.load import load_tokenizer
from saltlm.tokenizer.losses import losses
from saltlm.tokenizer.special_tokens import read_special_tokens
from saltlm.vocabulary_transfer.prune_model import prune_model

KEPT_SAMPLE = Path(alignment_module.__file__).with_name("english.txt.gz")
SIZES = (16000, 32000)
CUTS = {
    "replaced": {"mode": "replace"},
    "replaced, digits=plm": {"mode": "replace", "digits": "plm"},
    "joined": {"mode": "replace", "vocabulary": "joined"},
    "joined to 8,000": {"mode": "replace", "vocabulary": "joined", "prune_to": 8000},
    "extended": {"mode": "extend"},
    "swapped": {"mode": "swap"},
}
DIGIT = re.compile(r"\d")
PROMPTS, PROMPT_CHARACTERS, NEW_TOKENS, ROUNDS = 4, 200, 32, 3


def make(given):
    """Make the models; return the directory of each, the untouched source first."""
    corpus = given.texts / f"{given.language}.txt.gz"
    donor = given.work / f"donor-{given.language}"
    n_donor = json.loads((donor / "config.json").read_text())["vocab_size"]
    joined = ["--vocabulary", "joined", "--prune-to", n_donor, "--corpus", corpus]
    options = {
        "replaced": [donor],
        "joined": [donor, "--mode", "replace", *joined],
        "extended": [donor, "--mode", "extend"],
        "swapped": [donor, "--mode", "swap", "--corpus", corpus],
    }
    options |= {
        f"pruned to {size}": [given.plm, "--prune-to", size, "--corpus", corpus] for size in SIZES
    }
    options = {name: flags for name, flags in options.items() if name in (given.only or options)}
    models = {"untouched": given.source}
    models |= {name: given.work / f"{given.language}-{name.replace(' ', '-')}" for name in options}
    if "make" in given.stage:
        for name, (plm, *flags) in options.items():
            if not models[name].exists():
                command = [sys.executable, "-m", "saltlm.cli.main", "transfer", given.source, plm]
                command += ["--out", models[name], "--method", "salt", *flags]
                subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return models


def size_of(directory):
    """Bytes on disk that make up the model, numbers in its tensors, and how it was made."""
    from saltlm.models.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(directory)
    manifest = directory / "saltlm" / "manifest.json"
    record = json.loads(manifest.read_text()) if manifest.is_file() else {}
    names = ("*.safetensors", "*.json", "*.jinja")
    return {
        "parameters": sum(int(torch.Size(t.shape).numel()) for t in checkpoint.tensors.values()),
        "bytes on disk": sum(f.stat().st_size for name in names for f in directory.glob(name)),
        "counts": record.get("counts"),
        "vocabulary": record.get("vocabulary"),
    }


def bytes_a_token(directory, texts, language):
    """UTF-8 bytes of the held-out text that bits per byte are measured on, a token."""
    from transformers import AutoTokenizer

    held_out = list(islice(documents([texts / f"{language}.heldout.txt.gz"]), DOCUMENTS["target"]))
    found = fertility(AutoTokenizer.from_pretrained(directory), held_out).bytes_per_token
    return {"bytes a token": round(found, 3)}


def cut(given):
    """Yield each vocabulary's tokens a word of held-out text, and what of it is changed."""
    parents = []
    for directory in (given.source, given.work / f"donor-{given.language}"):
        tokenizer = load_tokenizer(directory)
        parents += [Definition.of(tokenizer), read_special_tokens(directory, tokenizer)]
    corpus = given.texts / f"{given.language}.txt.gz"
    source, sample = parents[0].tokenizer, list(documents([KEPT_SAMPLE]))
    yield "untouched", cut_by(source, given)
    yield "the PLM's own", cut_by(parents[2].tokenizer, given)
    for name, options in CUTS.items():
        if name not in (given.only or name):
            continue
        if name == "joined":  # as many as the corpus needs of the PLM's
            options = options | {"prune_to": len(parents[2].ids)}
        config = RowsConfig(**options, corpus=corpus)
        alignment = align(*parents, config, n_source_rows=len(parents[0].ids))
        made = alignment.target.tokenizer
        lost = [loss.kind for loss in losses(made)]
        found = {"lost probes": lost, "swap": alignment.record.get("swap")}
        kept = [sum(map(len, encode_texts(each, sample))) for each in (source, made)]
        found["kept sample, longer"] = round(kept[1] / kept[0] - 1, 5)
        yield name, cut_by(made, given) | found


def cut_by(tokenizer, given):
    """Tokens a word, and documents that come back otherwise, in both languages."""
    found = {"tokens": tokenizer.get_vocab_size()}
    for language in (given.language, "en"):
        texts = list(documents([given.texts / f"{language}.heldout.txt.gz"]))
        ids = encode_texts(tokenizer, texts)
        backs = tokenizer.decode_batch(ids, skip_special_tokens=False)
        changed = sum(text != back for text, back in zip(texts, backs, strict=True))
        n_words = sum(len(text.split()) for text in texts)
        n_tokens = sum(map(len, ids))
        plain = [len(one) for one, text in zip(ids, texts, strict=True) if not DIGIT.search(text)]
        found[f"{language}, tokens"] = n_tokens
        found[f"{language}, documents without digits"] = [len(plain), sum(plain)]
        found[f"{language}, tokens a word"] = round(n_tokens / n_words, 4)
        found[f"{language}, documents changed"] = changed
    return found


def generate_in_turn(models, given):
    """Speed of greedy generation after the same prompts, in rounds that take each in turn."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    held_out = documents([given.texts / f"{given.language}.heldout.txt.gz"])
    long_enough = (text for text in held_out if len(text) > PROMPT_CHARACTERS)
    prompts = [text[:PROMPT_CHARACTERS] for text in islice(long_enough, PROMPTS)]
    loaded = {
        name: (
            AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval(),
            AutoTokenizer.from_pretrained(directory),
        )
        for name, directory in models.items()
    }
    seconds = {name: [] for name in models}
    written = {}
    for round_ in range(ROUNDS + 1):
        for name, (model, tokenizer) in loaded.items():
            texts, total = [], 0.0
            for prompt in prompts:
                ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
                begun = time.process_time()
                out = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    min_new_tokens=NEW_TOKENS,
                    max_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    pad_token_id=0,
                )
                total += time.process_time() - begun
                texts.append(tokenizer.decode(out[0, ids.shape[1] :]))
            written[name] = sum(len(text.encode()) for text in texts)
            if round_:  # the first one warms up
                seconds[name].append(total)
    found = {}
    for name, of_rounds in seconds.items():
        middle = statistics.median(of_rounds)
        found[name] = {
            "tokens a second": round(PROMPTS * NEW_TOKENS / middle, 2),
            "slowest and fastest round": [
                round(PROMPTS * NEW_TOKENS / pick(of_rounds), 2) for pick in (max, min)
            ],
            "bytes written a second": round(written[name] / middle, 1),
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--source", "--plm", "--texts", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--language", default="de")
    stages = ["make", "cut", "measure", "time"]
    parser.add_argument("--stage", nargs="+", choices=stages, default=stages)
    parser.add_argument("--only", nargs="+", help="these models, beside the untouched one")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/vocabularies.json"))
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}

    def keep(key, result):
        results.setdefault(key, {}).update(result)
        given.out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        print(key, json.dumps(result, ensure_ascii=False), flush=True)

    donor = given.work / f"donor-{given.language}"
    if not donor.exists():
        prune_model(given.plm, donor, [given.texts / f"{given.language}.txt.gz"])
    if "cut" in given.stage:
        for name, found in cut(given):
            keep(name, {f"cut, {given.language}": found})
    if given.stage == ["cut"]:
        return
    models = make(given)
    if "measure" in given.stage:
        for name, directory in models.items():
            keep(name, size_of(directory) | measure(directory, given.texts, given.language))
            keep(name, bytes_a_token(directory, given.texts, given.language))
    if "time" in given.stage:
        for name, result in generate_in_turn(models, given).items():
            keep(name, result)


if __name__ == "__main__":
    main()
