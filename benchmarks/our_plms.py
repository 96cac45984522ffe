"""PLMs that `saltlm pretrain` makes, beside e5-small: the yardstick, and bits per byte at step 0.

    nice -n 19 python benchmarks/our_plms.py --source SMOLLM2 --plm E5_SMALL --texts DIR \
        --work DIR [--out benchmarks/results/our_plms.json] [--list] [--arms NAME ...]

DIR of texts holds LANGUAGE.txt.gz and LANGUAGE.heldout.txt.gz. Arms run one after the other; each
result is written as it comes, and the same command again goes on, also inside an arm that was
killed. An arm is a PLM: trained on the first megabytes of a language's text, fastText vectors of as
much text for the tokens of such a PLM, or e5-small cut to as many tokens; then each method is
scored on shared tokens that it was not shown, and the source with the PLM's vocabulary is measured
on held-out paragraphs, untrained. The corpus that chooses e5-small's tokens is the same.
"""

import argparse
import json
import os
import resource
from itertools import islice
from pathlib import Path
from typing import NamedTuple

METHODS = ("salt", "global-residual:ridge=1.0", "mean")
DOCUMENTS = 60


class Arm(NamedTuple):
    """One PLM."""

    language: str
    arch: str
    megabytes: float
    epochs: float
    seed: int = 0

    @property
    def name(self):
        """The key in the results."""
        if self.arch == "untouched":
            return f"{self.language} untouched"
        trained = "" if self.arch == "e5-small" else f" x {self.epochs:g}, seed {self.seed}"
        return f"{self.language} {self.arch}, {self.megabytes:g} MB{trained}"


ARMS = [
    Arm("de", "untouched", 0, 0),
    Arm("de", "bert", 4, 1),
    Arm("de", "e5-small", 4, 0),
    *(Arm("de", "vectors", megabytes, 3) for megabytes in (4, 0.5, 1, 2, 8)),
    *(Arm(language, "vectors", 4, 3) for language in ("vi", "ar")),
    Arm("de", "gpt", 4, 1),
    *(Arm("de", arch, 4, 4) for arch in ("bert", "gpt", "t5")),
    *(Arm("de", "bert", megabytes, 4) for megabytes in (0.5, 1, 2, 8)),
    Arm("de", "bert", 4, 4, seed=1),
    *(Arm(language, arch, 4, 4) for language in ("vi", "ar") for arch in ("bert", "gpt", "t5")),
    *(Arm(language, "e5-small", 4, 0) for language in ("vi", "ar")),
    *(Arm(language, "untouched", 0, 0) for language in ("vi", "ar")),
]


def first_megabytes(texts, work, language, megabytes):
    """Write the beginning of a language's text, whole documents, and return the file."""
    from saltlm.files.documents import documents

    file = work / f"{language}-{megabytes:g}.txt"
    if not file.exists():
        n_bytes, lines = 0, []
        for document in documents([texts / f"{language}.txt.gz"]):
            lines.append(" ".join(document.split()))
            n_bytes += len(lines[-1].encode()) + 1
            if n_bytes >= megabytes * 1e6:
                break
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def plm_of(arm, corpus, args):
    """Return the PLM's directory, the options of its transfer, and how it was made."""
    if arm.arch == "e5-small":
        return args.plm, {"prune_to": 8000, "corpus": str(corpus)}, {}
    from saltlm import pretrain, vectors

    is_trained = arm.arch != "vectors"
    place = args.work / arm.name.replace(" ", "-").replace(",", "")
    done = pretrain(
        place,
        corpus=str(corpus),
        arch=arm.arch if is_trained else "bert",
        size="mini",
        vocab_size=8000,
        **({"epochs": arm.epochs} if is_trained else {"steps": 1}),
        seed=arm.seed,
        save_every=50,
        eval_every=200,
        heldout=str(args.texts / f"{arm.language}.heldout.txt.gz"),
        eval_documents=30,
    )
    if not is_trained:
        file = args.work / f"{place.name}.bin"
        made = vectors("train", corpus=corpus, out=file, epochs=int(arm.epochs), force=True)
        options = {"plm_vectors": f"fasttext:{file}"}
        return place, options, {"words": made.n_words, "n-grams": made.n_ngrams}
    made = {
        "parameters": done.n_parameters,
        "tokens": done.n_tokens,
        "read": done.n_read,
        "seconds": done.seconds,
        "own_bits_per_byte": done.bits_per_byte,
        "reasons": done.reasons,
    }
    return place, {}, made


def measure(directory, arm, args):
    """Return bits per byte of held-out paragraphs, with its interval."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from saltlm.evaluation.bits_per_byte import bits_per_byte
    from saltlm.files.documents import documents

    texts = list(islice(documents([args.texts / f"{arm.language}.heldout.txt.gz"]), DOCUMENTS))
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
    found = bits_per_byte(model, AutoTokenizer.from_pretrained(directory), texts, context=512)
    return {"bits_per_byte": found.value, "interval": found.interval()}


def run(arm, args):
    """Return the results of an arm."""
    if arm.arch == "untouched":
        return measure(args.source, arm, args)
    from saltlm import score, transfer

    corpus = first_megabytes(args.texts, args.work, arm.language, arm.megabytes)
    plm, options, result = plm_of(arm, corpus, args)
    (pair,) = score(args.source, plm, method=METHODS, **options).pairs
    result["yardstick"] = pair.to_json()
    result["step 0"] = {}
    for method in METHODS:
        out = args.work / "transferred"
        transfer(args.source, plm, out, method=method, force=True, **options)
        result["step 0"][method] = measure(out, arm, args)
    return result


def main():
    """Run the arms that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("source", "plm", "texts", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/our_plms.json"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--arms", nargs="*", default=[])
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    for arm in ARMS:
        if args.list:
            print(arm.name, "(done)" if arm.name in results else "")
        elif arm.name not in results and (not args.arms or arm.name in args.arms):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            args.work.mkdir(parents=True, exist_ok=True)
            results[arm.name] = run(arm, args)
            spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
            results[arm.name]["processor seconds"] = round(spent)
            args.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
            print(arm.name, json.dumps(results[arm.name]))


if __name__ == "__main__":
    main()
