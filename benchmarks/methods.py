"""Every method on a real pair: the yardstick, and the model before any training.

    python benchmarks/methods.py --source SMOLLM2 --plm E5_SMALL --texts DIR --work DIR \
        [--languages de ar vi] [--out benchmarks/results]

DIR of texts holds LANGUAGE.txt.gz, LANGUAGE.heldout.txt.gz and the parallel en-LANGUAGE.tsv.gz.
The results are those of `saltlm compare`, one call per setting, in methods_LANGUAGE.json. The same
command again makes only what is missing; models are deleted once they are measured.

WECHSEL gets what these texts allow: fastText trained as its authors do (cbow, 100 dimensions, 20
epochs, n-grams of 5), on one thread, and a dictionary of the words that are each other's best
translation by Dice's coefficient over the parallel lines.
"""

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

from saltlm.files.documents import documents
from saltlm.vocabulary_transfer.prune_model import prune_model

ALL = [
    *("salt", "salt:ridge=0.1", "salt:ridge=1.0:centred=True", "random", "mean", "multivariate"),
    *("fvt", "fvt:word_start=True", "clp", "clp+", "focus", "ofa", "omp", "least-squares"),
    *("global", "procrustes", "global-residual", "global-residual:ridge=1.0", "kernel-ridge"),
]
SETTINGS = ["plm", "fasttext", "norms", "unigrams"]
NEIGHBOURS = ["salt", "salt:ridge=1.0:centred=True", "focus"]


def settings(texts, work, language):
    """Name, methods and flags of each call; calibrations and spaces belong to a whole call."""
    words = f"source_vectors={work}/en.bin:target_vectors={work}/{language}.bin"
    wechsel = f"wechsel:{words}:dictionary={work}/en-{language}.txt"
    english = f'calibration.unigrams=["{texts}/en.txt.gz"]'
    return {
        "plm": ([*ALL, wechsel], []),
        "fasttext": (NEIGHBOURS, ["--aux", "train"]),
        "norms": (["salt", "global-residual:ridge=1.0"], ["--set", "calibration.norms=true"]),
        "unigrams": (["salt", "focus", "global-residual:ridge=1.0"], ["--set", english]),
    }


def train_words(corpus, file):
    """Train fastText as `wechsel.train_embeddings` does, with fewer buckets and one thread."""
    import fasttext

    if file.exists():
        return
    text = file.with_suffix(".txt")
    with text.open("w", encoding="utf-8") as opened:
        for document in documents([corpus]):
            opened.write(" ".join(words_of(document)) + "\n")
    model = fasttext.train_unsupervised(
        *(str(text), "cbow"),
        **dict(dim=100, neg=10, minn=5, maxn=5, epoch=20, bucket=200_000, thread=1, verbose=0),
    )
    model.save_model(str(file.with_suffix(".partial")))
    file.with_suffix(".partial").rename(file)
    text.unlink()


def words_of(text):
    return re.findall(r"\w+|[^\w\s]", text)


def write_dictionary(parallel, file, least=3):
    """Write the words that are each other's best translation over parallel lines."""
    counts, pairs = (Counter(), Counter()), Counter()
    with gzip.open(parallel, "rt", encoding="utf-8") as lines:
        for line in lines:
            sides = [
                {word.lower() for word in words_of(side) if word.isalpha()}
                for side in line.rstrip("\n").split("\t")[:2]
            ]
            for count, words in zip(counts, sides, strict=True):
                count.update(words)
            pairs.update(product(*sides))
    dice = {
        pair: 2 * n / (counts[0][pair[0]] + counts[1][pair[1]])
        for pair, n in pairs.items()
        if n >= least
    }
    best = [{}, {}]
    for pair in sorted(dice, key=lambda pair: (dice[pair], pair)):  # the last one stays
        for side in (0, 1):
            best[side][pair[side]] = pair
    mutual = sorted(pair for word, pair in best[0].items() if best[1][pair[1]] == pair)
    file.write_text("".join(f"{a}\t{b}\n" for a, b in mutual), encoding="utf-8")
    return len(mutual)


def run(given, language):
    work, texts = given.work.resolve(), given.texts.resolve()
    donor, corpus = work / f"donor-{language}", texts / f"{language}.txt.gz"
    if not donor.exists():
        prune_model(given.plm, donor, [corpus], size=given.size)
    for code in ("en", language):
        train_words(texts / f"{code}.txt.gz", work / f"{code}.bin")
    n_pairs = write_dictionary(texts / f"en-{language}.tsv.gz", work / f"en-{language}.txt")
    report = {
        "source": given.source.name,
        "plm": f"{given.plm.name}, pruned to {given.size:,} tokens with {corpus.name}",
        "documents": given.documents,
        "pairs in the dictionary": n_pairs,
        "settings": {},
    }
    for name, (methods, flags) in settings(texts, work, language).items():
        if name not in given.settings:
            continue
        out = work / f"compare-{language}-{name}"
        command = [sys.executable, "-m", "saltlm.cli.main", "compare", str(given.source)]
        command += [str(donor), "--methods", ",".join(methods), "--out", str(out), *flags]
        command += ["--corpus", str(corpus), "--heldout", str(texts / f"{language}.heldout.txt.gz")]
        command += ["--english", str(texts / "en.heldout.txt.gz")]
        command += ["--documents", str(given.documents)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        found = json.loads((out / "comparison.json").read_text())
        report["settings"][name] = {
            "auxiliary": found["auxiliary"],
            "results": {
                name.partition(":source")[0]: kept(r) for name, r in found["results"].items()
            },
        }
        for model in out.iterdir():
            if model.is_dir():
                shutil.rmtree(model)
        file = given.out / f"methods_{language}.json"
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def kept(result):
    """A result without what it was called by and where it lay."""
    yardstick = dict(result.get("yardstick", {}))
    for part, keys in ((result, ("directory", "method")), (yardstick, ("method", "options"))):
        for key in keys:
            part.pop(key, None)
    return result | {"yardstick": yardstick}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--source", "--plm", "--texts", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["de", "ar", "vi"])
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--size", type=int, default=32_000, help="tokens of the pruned PLM")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for language in given.languages:
        run(given, language)


if __name__ == "__main__":
    main()
