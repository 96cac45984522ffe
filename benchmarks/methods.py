"""Every method on real pairs, before any training: the yardstick, bits per byte, mass on new rows.

    python benchmarks/methods.py --source SMOLLM2 --plm E5_SMALL --texts DIR --work DIR \
        [--languages de vi ar] [--documents 60]

DIR of texts holds LANGUAGE.txt.gz, LANGUAGE.heldout.txt.gz and en-LANGUAGE.tsv.gz, and English
beside the target languages. WECHSEL gets fastText vectors trained on the English and the target
text, and as a dictionary the pairs of single words among the parallel lines. Models are removed
when they are measured; the results stay, and what is there is not made again.
"""

import argparse
import gzip
import json
import shutil
from pathlib import Path

from saltlm.comparison import compare, directory_name
from saltlm.config import FasttextConfig, TransferConfig
from saltlm.fasttext_format import token_vectors
from saltlm.fasttext_training import train_fasttext
from saltlm.methods import parse_method
from saltlm.prune import prune_model

METHODS = [
    "salt",
    "salt:ridge=0.1",
    "salt:centred=true:ridge=1",
    "random",
    "mean",
    "multivariate",
    "fvt",
    "clp",
    "clp+",
    "focus",
    "ofa",
    "omp",
    "least-squares",
    "global",
    "procrustes",
    "global-residual",
    "kernel-ridge",
]
VECTORS = FasttextConfig(dimension=100, epochs=5, bucket=100_000)


def word_vectors(corpus, file):
    """Train fastText on a text and write the vectors of its words in word2vec's format."""
    if not file.is_file():
        model = train_fasttext([corpus], VECTORS, seed=0)
        words = [word for word in model.words() if word != "</s>"]
        lines = [
            f"{word} {' '.join(f'{x:.5f}' for x in vector)}"
            for word, vector in zip(words, token_vectors(model, words), strict=True)
        ]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def dictionary(parallel, file):
    """Write the pairs of single words that stand alone on a line, once each."""
    with gzip.open(parallel, "rt", encoding="utf-8") as opened:
        pairs = [line.rstrip("\n").split("\t") for line in opened]
    single = [pair for pair in pairs if len(pair) == 2 and all(word.isalpha() for word in pair)]
    file.write_text("".join(f"{a}\t{b}\n" for a, b in sorted(map(tuple, single))), encoding="utf-8")
    return file, len(single)


def run(given, language):
    corpus, donor = given.texts / f"{language}.txt.gz", given.work / f"donor-{language}"
    out = given.work / f"methods-{language}"
    if not donor.exists():
        prune_model(given.plm, donor, [corpus], size=given.size)
    english = word_vectors(given.texts / "en.txt.gz", given.work / "en.vec")
    target = word_vectors(corpus, given.work / f"{language}.vec")
    words, n_pairs = dictionary(given.texts / f"en-{language}.tsv.gz", given.work / "words.tsv")
    wechsel = f"wechsel:source_vectors={english}:target_vectors={target}:dictionary={words}"
    for method in [*METHODS, wechsel]:
        found = compare(
            given.source,
            donor,
            [method],
            out,
            heldout=[given.texts / f"{language}.heldout.txt.gz"],
            english=[given.texts / "en.heldout.txt.gz"],
            config=TransferConfig(corpus=(corpus,)),
            n_documents=given.documents,
        )
        shutil.rmtree(out / directory_name(parse_method(method)), ignore_errors=True)
    results = {name.partition(":source")[0]: r for name, r in found["results"].items()}
    for result in results.values():
        score = result.pop("yardstick", {})
        keys = ("r2", "cosine", "norm_ratio", "retrieval", "seconds")
        result["yardstick"] = {key: score[key] for key in keys if score}
        result.pop("directory", None)
        result["method"] = result["method"].partition(":source")[0]
    return {
        "source": "SmolLM2-135M-Instruct",
        "plm": f"multilingual-e5-small, pruned to {given.size:,} tokens with {corpus.name}",
        "auxiliary": found["auxiliary"],
        "documents": given.documents,
        "pairs of words for wechsel": n_pairs,
        "results": results,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--source", "--plm", "--texts", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["de", "vi", "ar"])
    parser.add_argument("--size", type=int, default=32_000)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for language in given.languages:
        found = run(given, language)
        file = given.out / f"methods_{language}.json"
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
