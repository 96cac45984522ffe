"""Is a transfer ahead of plain continued pre-training? Every arm with the library's own commands.

    nice -n 19 python benchmarks/win.py --source SMOLLM2 --plm E5_SMALL --texts DIR --work DIR \
        [--out benchmarks/results/win.json] [--list] [--arms NAME ...] [--languages vi ...]

DIR of texts holds LANGUAGE.txt.gz, LANGUAGE.heldout.txt.gz and en.txt.gz, en.heldout.txt.gz.
Arms run one after the other, the most decisive first; each result is written as it comes. The
same command again goes on, also inside an arm that was killed. An arm is transferred, measured,
adapted and measured again: bits of each of 200 held-out paragraphs, so that any two arms can be
paired. All get the same tokens, 5 % of them English unless the arm says more. ``processor seconds``
are those of the whole pipeline, transfer and fits included, its measurements not. The arm ``plain,
compute of best`` gets so many tokens that it takes as long as ``best``, and ``plain, long`` as long
as ``best, taught`` with the training of its teacher.
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

LANGUAGES = ("vi", "de", "ar")
DOCUMENTS = {"target": 200, "English": 100}
TWENTY = ["--set", "min_occurrences=20"]  # in the budget: what a training alone can teach
EXTEND = ["--mode", "extend", "--vocabulary", "auto"]
MANY = ["--preset", "best", *EXTEND]  # as many new tokens as counts can teach
HALFWAY = ["--method", "global-residual:ridge=1.0/first-piece"]  # as best was before pieces
UNTIED = [*MANY, *HALFWAY, "--untie"]  # two rows a token: what best was before that
NO_FITS = ["--set", "fits.input=false", "--set", "fits.head=false"]
HALF_POSITIONS = ["--set", "fits.positions=5120"]  # of the head's fit, as they were then
TWO_SIDES = [*UNTIED, *HALF_POSITIONS]
BEST = [*UNTIED, *TWENTY]
REPLACE = ["--prune-to", "16000"]
COMPUTE = "plain, compute of best"
BFLOAT16 = "dtype=bfloat16"
TWENTIETH_ENGLISH = [BFLOAT16, "english_share=0.05"]
TENTH_ENGLISH = [BFLOAT16, "english_share=0.1"]
FIFTEEN_ENGLISH = [BFLOAT16, "english_share=0.15"]
TENTH = "best, taught, a tenth English"
NGRAMS = "teacher=ngrams"
BY_COUNTS = [*FIFTEEN_ENGLISH, NGRAMS]  # as adapt does it by default
WHOLE_RATE = ["--set", "fits.learning_rate=0.006"]  # of the input fit: what it is elsewhere
COUNTED = "best, ngrams"
NO_PIECES = f"{COUNTED}, no pieces"
TWO = f"{COUNTED}, two sides"
FEW = "best, ngrams, few tokens"
FASTTEXT = ("salt", "focus", "ofa", "multivariate")  # the paper's comparison and its setting
RIDGE = "salt:ridge=1"  # SALT without its nearly singular maps
PLACES = {
    "data",
    "english",
    "heldout",
    "cache",
    "teacher",
}  # options that name files of one machine

# Arm -> flags of the transfer, None for none; and options of the training.
ARMS = {
    "plain": (None, []),
    "best": (BEST, []),
    COMPUTE: (None, []),
    "plain, untied": (None, [BFLOAT16]),
    "salt": (["--preset", "paper", *REPLACE], []),
    "focus": (["--method", "focus", *REPLACE], []),
    "global-residual": (["--method", "global-residual:ridge=1.0", *EXTEND, *TWENTY], []),
    "best, swap": ([*BEST, "--mode", "swap"], []),
    "best without input fit": ([*BEST, "--set", "fits.input=false"], []),
    "best without head fit": ([*BEST, "--set", "fits.head=false"], []),
    "best, 10 occurrences": ([*BEST, "--set", "min_occurrences=10"], []),
    "best, new rows at 3 times the rate": (BEST, ["lr.new=9e-4"]),
    "plain, bfloat16": (None, [BFLOAT16]),
    "best, taught": (BEST, [*TWENTIETH_ENGLISH, "teacher={teacher}"]),
    "best, half taught": (
        BEST,
        [*TWENTIETH_ENGLISH, "teacher={teacher}", "teacher_share=0.5"],
    ),
    "best, taught, a fifth English": (
        BEST,
        [BFLOAT16, "teacher={teacher}", "english_share=0.2"],
    ),
    TENTH: (BEST, [*TENTH_ENGLISH, "teacher={teacher}"]),
    COUNTED: (MANY, BY_COUNTS),
    FEW: (BEST, [*TENTH_ENGLISH, NGRAMS]),
    TWO: (TWO_SIDES, BY_COUNTS),
    f"{TWO}, whole fits": ([*UNTIED, *WHOLE_RATE, "--set", "fits.steps=40"], BY_COUNTS),
    f"{TWO}, whole rate": ([*TWO_SIDES, *WHOLE_RATE], BY_COUNTS),
    f"{TWO}, no input fit": ([*TWO_SIDES, "--set", "fits.input=false"], BY_COUNTS),
    f"{TWO}, no head fit": ([*TWO_SIDES, "--set", "fits.head=false"], BY_COUNTS),
    f"{TWO}, no teacher": ([*TWO_SIDES, *WHOLE_RATE], [*FIFTEEN_ENGLISH, "teacher=none"]),
    f"{TWO}, swap": ([*TWO_SIDES, "--mode", "swap"], BY_COUNTS),
    f"{COUNTED}, no input fit": (
        [*MANY, "--set", "fits.input=false"],
        BY_COUNTS,
    ),
    f"{COUNTED}, no head fit": ([*MANY, "--set", "fits.head=false"], BY_COUNTS),
    f"{COUNTED}, no teacher": (MANY, [*FIFTEEN_ENGLISH, "teacher=none"]),
    f"{COUNTED}, swap": ([*MANY, "--mode", "swap"], BY_COUNTS),
    f"{COUNTED}, no fits": ([*MANY, *NO_FITS], BY_COUNTS),
    NO_PIECES: ([*MANY, *HALFWAY], BY_COUNTS),
    f"{NO_PIECES}, no teacher": (
        [*MANY, *HALFWAY],
        [*FIFTEEN_ENGLISH, "teacher=none"],
    ),
    f"{NO_PIECES}, no fits": (["--method", "global-residual:ridge=1.0", *EXTEND], BY_COUNTS),
    f"{FEW}, no input fit": (
        [*BEST, "--set", "fits.input=false"],
        [*TENTH_ENGLISH, NGRAMS],
    ),
    f"{FEW}, no head fit": (
        [*BEST, "--set", "fits.head=false"],
        [*TENTH_ENGLISH, NGRAMS],
    ),
    "best, a tenth English": (BEST, TENTH_ENGLISH),
    "plain, ngrams": (None, [*TENTH_ENGLISH, NGRAMS]),
    "plain, taught": (None, [*TWENTIETH_ENGLISH, "teacher={teacher}"]),
    "plain, long": (None, [BFLOAT16]),
    **{
        f"{method}, fastText": (["--method", method, "--aux", "train", *REPLACE], [BFLOAT16])
        for method in (*FASTTEXT, RIDGE)
    },
}
SMALL_FITS = ["--set", "fits.steps=16", "--set", "fits.positions=3277"]  # less of 41k tokens' time
LONG_TOKENS = {"vi": 271_967, "ar": 222_469}  # as long as best, taught and its teacher, measured
AS_LONG = {
    "vi": [140_000, 137_000, 58_000],
    "de": [140_000, 120_000, 131_000, 58_000, 48_000],
    "ar": [140_000, 120_000, 134_000, 58_000],
}
TAUGHT = (
    "best, taught",
    TENTH,
    "best, half taught",
    "best, taught, a fifth English",
    "plain, taught",
)
PARTS = (
    FEW,
    f"{COUNTED}, no teacher",
    f"{COUNTED}, no input fit",
    f"{COUNTED}, no head fit",
    f"{COUNTED}, no fits",
    f"{COUNTED}, swap",
    f"{NO_PIECES}, no teacher",
    f"{NO_PIECES}, no fits",
    TWO,
    f"{TWO}, no teacher",
    f"{TWO}, no input fit",
    f"{TWO}, no head fit",
    f"{TWO}, swap",
    "plain, untied",
    "best, a tenth English",
    "plain, ngrams",
)
PASSES = {"vi": 4, "de": 2, "ar": 8}  # of a teacher over its text: 5, 8 and 2 MB
FIRST = ("plain", "best", COMPUTE)
LONG = ("plain", "best", COMPUTE, "salt")


class Arm(NamedTuple):
    """One line of the results."""

    language: str
    name: str
    tokens: int
    seed: int

    @property
    def key(self):
        return f"{self.language}, {self.name}, {self.tokens}, seed {self.seed}"


def arms():
    """All arms, the most decisive first."""
    order = [Arm(code, name, 40_960, 0) for code in LANGUAGES for name in FIRST]
    order += [Arm(code, name, 102_400, 0) for code in LANGUAGES for name in LONG[:3]]
    later = [*FIRST, "plain, long", *(f"{method}, fastText" for method in (*FASTTEXT, RIDGE))]
    rest = [name for name in ARMS if name not in later]
    order += [Arm(code, name, 40_960, 0) for name in rest for code in LANGUAGES]
    order += [Arm(code, "salt", 102_400, 0) for code in LANGUAGES]
    order += [
        Arm(code, name, tokens, 0)
        for name in TAUGHT
        for tokens in (102_400, 40_960)
        for code in LANGUAGES
    ]
    order += [Arm(code, "best, taught", 102_400, 1) for code in LANGUAGES]  # on one machine
    order += [Arm(code, "best, taught, a fifth English", 102_400, 1) for code in LANGUAGES]
    order += [Arm(code, "plain, bfloat16", 40_960, 1) for code in LANGUAGES]
    order += [Arm(code, "plain, long", tokens, 0) for code, tokens in LONG_TOKENS.items()]
    order += [
        Arm(code, name, tokens, seed)
        for name in (COUNTED, NO_PIECES, TWO)
        for seed in (1, 0)
        for tokens in (102_400, 40_960)
        for code in LANGUAGES
    ]
    order += [Arm("de", TWO, 102_400, 2)]
    order += [  # as long as two sides
        Arm(code, f"{NO_PIECES}, no fits", tokens, 1)
        for code, tokens in (("de", 120_000), ("vi", 52_000), ("ar", 51_000))
    ]
    order += [
        Arm(code, "plain, bfloat16", tokens, 1)
        for code, lengths in AS_LONG.items()
        for tokens in lengths
    ]
    order += [
        Arm(code, "plain, bfloat16", tokens, 0)
        for tokens in (140_000, 58_000)
        for code in LANGUAGES
    ]
    order += [Arm("de", "plain, bfloat16", 140_000, 2)]
    order += [Arm("de", f"{TWO}, no input fit", 40_960, 0)]
    order += [
        Arm(code, f"{TWO}, whole {part}", tokens, seed)
        for part, lengths in (("fits", [102_400]), ("rate", [102_400, 40_960]))
        for tokens in lengths
        for seed in (1, 0)
        for code in LANGUAGES
    ]
    order += [Arm(code, name, 40_960, 1) for name in PARTS for code in LANGUAGES]
    order += [
        Arm(code, name, 102_400, 1)
        for name in ("plain, ngrams", f"{NO_PIECES}, no fits")
        for code in LANGUAGES
    ]
    order += [Arm(code, FEW, 102_400, seed) for seed in (1, 0) for code in LANGUAGES]
    order += [Arm(code, FEW, 40_960, 0) for code in LANGUAGES]
    order += [Arm("de", f"{FEW}, no {side} fit", 40_960, 1) for side in ("input", "head")]
    order += [
        Arm(code, name, tokens, 1)
        for tokens in (40_960, 102_400)
        for code in LANGUAGES
        for name in (*FIRST, TENTH)
    ]
    order += [
        Arm(code, f"{method}, fastText", 40_960, 1)
        for method in (*FASTTEXT, RIDGE)
        for code in LANGUAGES
    ]
    order += [Arm(code, "salt, fastText", 102_400, 1) for code in LANGUAGES]
    return list(dict.fromkeys(order))  # each once


def saltlm(*words):
    """Run a command of the library; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "saltlm", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(getattr(after, part) - getattr(before, part) for part in ("ru_utime", "ru_stime"))


def measure(directory, texts, language):
    """Bits and bytes of each held-out paragraph."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from saltlm.evaluation.bits_per_byte import bits_per_byte
    from saltlm.files.documents import documents

    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    found = {"tokens": len(tokenizer)}
    for name, code in (("target", language), ("English", "en")):
        held_out = list(islice(documents([texts / f"{code}.heldout.txt.gz"]), DOCUMENTS[name]))
        bits = bits_per_byte(model, tokenizer, held_out)
        found[name] = {
            "bits per byte": round(bits.value, 4),
            "tokens": sum(bits.n_tokens),
            "bits": [round(value, 1) for value in bits.bits],
            "bytes": list(bits.n_bytes),
        }
    return found


def untie(source, out):
    """Write the source with a head of its own."""
    from transformers import AutoModelForCausalLM

    from saltlm.files.json_object import read_json
    from saltlm.models.config_json import set_tied

    shutil.copytree(source, out, dirs_exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for file in out.glob("*.safetensors"):
        file.unlink()
    (out / "config.json").write_text(json.dumps(set_tied(read_json(source / "config.json"), False)))
    other = AutoModelForCausalLM.from_config(
        type(model.config).from_pretrained(out), dtype=model.dtype
    )
    other.load_state_dict(state)
    other.save_pretrained(out)


def teacher_of(arm, given, corpus, model):
    """Return a gpt with the model's tokens, trained once, and its processor seconds."""
    is_plain = ARMS[arm.name][0] is None
    out = given.work.parent / "teachers" / f"{arm.language}{'-plain' * is_plain}"
    record = out.with_suffix(".json")
    if not record.is_file():
        words = ["--corpus", corpus, "--tokenizer-of", model, "--out", out]
        words += ["--size", "mini", "--epochs", PASSES[arm.language]]
        record.write_text(json.dumps({"seconds": saltlm("pretrain", *words)}))
    return out, json.loads(record.read_text())["seconds"]


def run(arm, given, results):
    """Return the result of an arm; None if it waits for another."""
    flags, training = ARMS[arm.name]
    tokens, work = arm.tokens, given.work / arm.key.replace(", ", "_").replace(" ", "-")
    work.mkdir(exist_ok=True)
    corpus = given.texts / f"{arm.language}.txt.gz"
    if arm.name == COMPUTE:
        pair = [results.get(arm._replace(name=name).key) for name in ("plain", "best")]
        if None in pair:
            return None
        plain, best = (one["processor seconds"]["all"] for one in pair)
        tokens = round(arm.tokens * best / plain)
    model, seconds = given.source, {}
    if arm.name == "plain, untied":
        model = work / "model"
        untie(given.source, model)
    elif flags is not None:
        model = work / "model"
        words = ["--corpus", corpus, "--seed", arm.seed, "--out", model, "--force", *flags]
        budget = 102_400 if arm.name in TAUGHT else tokens
        words += ["--budget", budget] if "auto" in flags else []
        words += SMALL_FITS if arm.name in TAUGHT and tokens < 102_400 else []
        seconds["transfer"] = saltlm("transfer", given.source, given.plm, *words)
    before = measure(model, given.texts, arm.language)
    words = ["--data", corpus, "--english", given.texts / "en.txt.gz", "--tokens", tokens]
    words += ["--out", work / "adapted", "--set", f"seed={arm.seed}"]
    words += [] if BFLOAT16 in training else ["--set", "dtype=float32"]
    words += ["--set", f"cache={given.work}/packed", "--set", "save_every=40", "--keep", 1]
    for option in training:
        if "{teacher}" in option:
            teacher, seconds["teacher"] = teacher_of(arm, given, corpus, model)
            option = option.format(teacher=teacher)
        words += ["--set", option]
    kept = sorted((work / "adapted/saltlm/checkpoints").glob("step-????????"))
    begun = int(kept[-1].name.removeprefix("step-")) if kept else 0  # else it was killed here
    seconds["training"] = saltlm("adapt", model, *words)
    record = json.loads((work / "adapted" / "saltlm" / "manifest.json").read_text())
    n_steps = record["adaptations"][-1]["steps"]
    seconds["training"] *= n_steps / max(1, n_steps - begun)
    result = {
        "tokens": tokens,
        "processor seconds": {**rounded(seconds), "all": round(sum(seconds.values()))},
        "options": {
            name: value
            for name, value in record["adaptations"][-1]["options"].items()
            if name not in PLACES
        },
        "vocabulary": record.get("vocabulary", {}).get("budget", {}),
        "fits": record.get("fits"),
        "before": before,
        "after": measure(work / "adapted", given.texts, arm.language),
    }
    if given.keep_models:
        shutil.rmtree(work / "adapted" / "saltlm" / "checkpoints", ignore_errors=True)
    else:
        shutil.rmtree(work)
    return result


def rounded(values):
    return {name: round(value) for name, value in values.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--source", "--plm", "--texts", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/win.json"))
    parser.add_argument("--list", action="store_true", help="print what is there and what is not")
    parser.add_argument("--arms", nargs="+", help="only arms with these names")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--keep-models", action="store_true", help="in --work")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}
    chosen = [
        arm
        for arm in arms()
        if arm.language in given.languages and arm.name in (given.arms or ARMS)
    ]
    for arm in chosen:
        if given.list:
            print(arm.key, "done" if arm.key in results else "to do")
        elif arm.key not in results and (result := run(arm, given, results)) is not None:
            results[arm.key] = result
            partial = given.out.with_suffix(".partial")
            partial.write_text(json.dumps(results) + "\n", encoding="utf-8")
            partial.replace(given.out)
            print(arm.key, result["processor seconds"], result["after"]["target"]["bits per byte"])


if __name__ == "__main__":
    main()
