"""PLMs that `saltlm pretrain` makes, beside e5-small: the yardstick, and the model they give.

    nice -n 19 python benchmarks/our_plms.py --source SMOLLM2 --plm E5_SMALL --texts DIR \
        --work DIR [--out benchmarks/results/our_plms.json] [--list] [--arms NAME ...]

DIR of texts holds LANGUAGE.txt.gz and LANGUAGE.heldout.txt.gz. Arms run one after the other; each
result is written as it comes, and the same command again goes on, also inside an arm that was
killed. An arm is a PLM: trained on the first megabytes of a language's text, fastText vectors of as
much text for the tokens of such a PLM, or e5-small cut to as many tokens; then each method is
scored on shared tokens that it was not shown, and the source with the PLM's vocabulary is measured
on held-out paragraphs. That of `ADAPTED` is then trained on 20,480 tokens of the language and
measured again, as is the untouched source; not where only the size of the corpus differs. A gpt has
the tokens of the model that it gives: that model is trained once more with the gpt as its teacher;
of the first seed also on 102,400 tokens, as is the untouched source.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import NamedTuple

ADAPTED, ADAPTED_TOKENS, LONG_TOKENS = "global-residual:ridge=1.0", 20_480, 102_400
METHODS = ("salt", ADAPTED, "mean")
DOCUMENTS = 60


class Arm(NamedTuple):
    """One PLM."""

    language: str
    arch: str
    megabytes: float
    epochs: float
    seed: int = 0
    is_adapted: bool = True

    @property
    def name(self):
        """The key in the results."""
        seed = f", seed {self.seed}"
        if self.arch == "untouched":
            return f"{self.language} untouched{seed}"
        trained = "" if self.arch == "e5-small" else f" x {self.epochs:g}"
        return f"{self.language} {self.arch}, {self.megabytes:g} MB{trained}{seed}"


MEGABYTES = {"de": 4, "vi": 4, "ar": 2}  # all that there is in Arabic
ARCHES = {"bert": 4, "gpt": 4, "t5": 4, "vectors": 3}  # and passes over the text


def arms():
    """All arms, the most decisive first."""
    found = []
    for language, megabytes in MEGABYTES.items():
        found += [Arm(language, "untouched", 0, 0), Arm(language, "e5-small", megabytes, 0)]
        found += [Arm(language, arch, megabytes, passes) for arch, passes in ARCHES.items()]
    found += [
        Arm("de", "bert", size, ARCHES["bert"], 0, is_adapted=False) for size in (0.5, 1, 2, 8)
    ]
    for language, megabytes in MEGABYTES.items():
        found += [Arm(language, arch, megabytes, 4, 1) for arch in ("untouched", "e5-small", "gpt")]
    return found


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
        save_every=100,
        eval_every=10_000,  # before the first step and after the last
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
    return {
        "bits_per_byte": found.value,
        "interval": found.interval(),
        "bits": [round(bits, 1) for bits in found.bits],  # of each paragraph, for pairs
        "bytes": list(found.n_bytes),
    }


def train(model, arm, args, *options, tokens=ADAPTED_TOKENS):
    """Return what a model is worth after a short training on the language."""
    out = args.work / "adapted"
    shutil.rmtree(out, ignore_errors=True)
    words = ["--data", args.texts / f"{arm.language}.txt.gz", "--tokens", tokens]
    words += ["--set", f"seed={arm.seed}", "--out", out, *options]
    # A process of its own: accelerate keeps the number format that a process begins with.
    command = [sys.executable, "-m", "saltlm", "adapt", model, *words]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return measure(out, arm, args)


def run(arm, args):
    """Return the results of an arm."""
    if arm.arch == "untouched":
        before = measure(args.source, arm, args)
        return before | {"adapted": train(args.source, arm, args)}
    from saltlm import score, transfer

    corpus = first_megabytes(args.texts, args.work, arm.language, arm.megabytes)
    plm, options, result = plm_of(arm, corpus, args)
    options |= {"seed": arm.seed}
    (pair,) = score(args.source, plm, method=METHODS, **options).pairs
    result["yardstick"] = pair.to_json() | {"source": args.source.name, "plm": Path(plm).name}
    result["step 0"] = {}
    for method in METHODS:
        out = args.work / "transferred"
        transfer(args.source, plm, out, method=method, mode="replace", force=True, **options)
        result["step 0"][method] = measure(out, arm, args)
        if arm.is_adapted and method == ADAPTED:
            result["adapted"] = train(out, arm, args)
    return result


def further(arm):
    """Return the other trainings of an arm: name -> tokens."""
    is_first = arm.seed == 0
    if arm.arch == "untouched":
        return {"adapted, long": LONG_TOKENS} if is_first else {}
    if arm.arch == "gpt":
        return {"taught": ADAPTED_TOKENS} | ({"taught, long": LONG_TOKENS} if is_first else {})
    return {}


def train_further(arm, args, tokens):
    """Return what an arm is worth after such a training."""
    if arm.arch == "untouched":
        return train(args.source, arm, args, tokens=tokens)
    from saltlm import transfer

    corpus = first_megabytes(args.texts, args.work, arm.language, arm.megabytes)
    plm, _, _ = plm_of(arm, corpus, args)
    out = args.work / "transferred"
    transfer(args.source, plm, out, method=ADAPTED, mode="replace", force=True, seed=arm.seed)
    return train(out, arm, args, "--teacher", plm, tokens=tokens)


def plot(results, file):
    """Draw what the size of a corpus does, and what each PLM comes to; the same bytes each time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    looks = {"svg.hashsalt": "saltlm", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(looks):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        of = sorted(
            (arm.megabytes, results[arm.name]["step 0"][ADAPTED]["bits_per_byte"])
            for arm in arms()
            if arm.language == "de" and arm.arch == "bert"
        )
        left.plot(*zip(*of, strict=True), marker="o", label="bert")
        levels = {
            "e5-small": results["de e5-small, 4 MB, seed 0"]["step 0"][ADAPTED],
            "untouched": results["de untouched, seed 0"],
        }
        for style, (name, seen) in zip(("--", ":"), levels.items(), strict=True):
            left.axhline(seen["bits_per_byte"], color="0.4", linestyle=style, label=name)
        left.set_xscale("log", base=2)
        left.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
        left.set(xlabel="MB of German", ylabel="bits per byte before any training")
        left.legend(fontsize=8)
        adapted = [arm for arm in arms() if arm.is_adapted and arm.seed == 0]
        names = [*dict.fromkeys(arm.arch for arm in adapted)]
        for number, language in enumerate(MEGABYTES):
            of = {
                arm.arch: results[arm.name]["adapted"]
                for arm in adapted
                if arm.language == language
            }
            places = [names.index(arch) + (number - 1) / 8 for arch in of]
            middle = [one["bits_per_byte"] for one in of.values()]
            ends = [
                [abs(one["bits_per_byte"] - one["interval"][end]) for one in of.values()]
                for end in (0, 1)
            ]
            right.errorbar(places, middle, ends, fmt="o", color=f"C{number + 2}", label=language)
        right.set_xticks(range(len(names)), names)
        right.set_ylabel(f"bits per byte after {ADAPTED_TOKENS:,} tokens")
        right.set_ylim(top=2.75)
        right.legend(fontsize=8, loc="upper center", ncols=len(MEGABYTES))
        for axes in (left, right):
            axes.grid(alpha=0.3)
        figure.savefig(file, format="svg", metadata={"Date": None})


def processor_seconds():
    """Of this process and of those that it waited for."""
    own, of_others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + of_others.ru_utime


def main():
    """Run the arms that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("source", "plm", "texts", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/our_plms.json"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--plot", type=Path, help="draw the results, all of which must be there")
    parser.add_argument("--arms", nargs="*", default=[])
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    results = json.loads(args.out.read_text()) if args.out.exists() else {}

    def keep(name, key, value):
        results.setdefault(name, {})[key] = value
        args.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")

    for arm in arms():
        name = arm.name
        missing = [key for key in further(arm) if key not in results.get(name, {})]
        if args.list:
            print(name, "(done)" if name in results and not missing else "")
        elif not args.arms or name in args.arms:
            args.work.mkdir(parents=True, exist_ok=True)
            if name not in results:
                before = processor_seconds()
                results[name] = run(arm, args)
                keep(name, "processor seconds", round(processor_seconds() - before))
                print(name, json.dumps(results[name]))
            for key in missing:
                keep(name, key, train_further(arm, args, further(arm)[key]))
                print(name, key, results[name][key]["bits_per_byte"])
    if args.plot is not None:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
