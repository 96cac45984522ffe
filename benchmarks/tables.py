"""The tables of numbers in README.md and docs/, made of benchmarks/results/.

A document has ``<!-- NAME -->`` before a table and ``<!-- /NAME -->`` after it; `filled` puts the
table called NAME between them. tests/test_docs.py fails when a document is stale; `make docs`
writes it anew.
"""

import gzip
import json
import re
import statistics
import textwrap
from functools import partial
from pathlib import Path

import numpy as np

from saltlm.comparison.curves import convergence_rows
from saltlm.comparison.results import Comparison
from saltlm.comparison.show import comparison_rows
from saltlm.config.recommended import in_one_line_each, load_recommended
from saltlm.evaluation.side_by_side import Cell, text_of

RESULTS = Path(__file__).parent / "results"
CHANCE = (0.025, 0.975)  # ends of an interval
SHOWN = (0, 3, 4)  # of the eight beginnings of samples.json
LANGUAGES = {"de": "German", "vi": "Vietnamese", "ar": "Arabic"}


def filled(text):
    """Return a document with each of its marked tables made anew."""
    return re.sub(
        r"<!-- ([\w ]+) -->\n.*?<!-- /\1 -->",
        lambda found: f"<!-- {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- /{found[1]} -->",
        text,
        flags=re.DOTALL,
    )


def read(name):
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def table(heading, rows):
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def bits(seen, digits=2):
    low, high = seen["95 % interval"]
    return f"{seen['bits per byte']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def anchors():
    runs, rows = read("anchors.json"), []
    for code, run in runs.items():
        for name, of in run["all"]["methods"].items():
            before = run["kept"]["methods"][name]
            cells = ["{:.3f} ({:.3f} to {:.3f})".format(*one["r2"]) for one in (before, of)]
            rows.append([LANGUAGES[code], f"`{name}`", f"{of['tokens']:,}", *cells])
    kept, every = ({r[k]["anchors"] for r in runs.values()} for k in ("kept", "all"))
    heading = ["", "method", "rows asked for", f"{span(kept)} anchors: the new model's"]
    return table([*heading, f"{span(every)} anchors: the whole PLM's"], rows)


def win():
    """Every arm beside plain training with as many tokens, paired over paragraphs."""
    rows, results = [], read("win.json")
    for key, run in results.items():
        code, *name, tokens, seed = key.split(", ")
        if {"taught", "bfloat16", "long"} & {*name}:  # tables of their own
            continue
        same_tokens, same_compute = (
            results.get(f"{code}, {rival}, {tokens}, {seed}")
            for rival in ("plain", "plain, compute of best")
        )
        cells = ["", "", ""]
        if same_tokens is not None and name[0] != "plain":
            change = english(run) / english(same_tokens) - 1
            cells[:2] = paired(run, same_tokens), f"{change:+.1%}"
        if same_compute is not None and name[0] != "plain":
            cells[2] = paired(run, same_compute)
        rows.append(
            [
                LANGUAGES[code],
                f"{', '.join(name)}{' (again)' * (seed != 'seed 0')}",
                f"{run['tokens']:,}",
                f"{run['before']['target']['bits per byte']:.3f}",
                f"{run['after']['target']['bits per byte']:.3f}",
                *cells,
                f"{run['processor seconds']['all'] / 60:.0f}",
            ]
        )
    heading = ["", "arm", "tokens", "before training", "after", "difference to plain", "English"]
    return table([*heading, "to plain at equal compute", "processor minutes"], rows)


def taught():
    """The best preset with a teacher, beside plain training that takes as long as each part."""
    rows, results, earlier = [], read("win_taught.json"), read("win.json")
    for key, run in sorted(results.items(), key=lambda pair: pair[1]["tokens"]):
        code, *name, _, seed = key.split(", ")
        if name[0] == "plain":
            continue
        seconds, n = run["processor seconds"], run["tokens"]
        plain = earlier.get(f"{code}, plain, compute of best, {n}, seed 0")  # in float32
        plain = plain or results[f"{code}, plain, bfloat16, 58000, seed 1"]
        longest = [rival for rival in earlier if rival.startswith(f"{code}, plain, long")]
        long = earlier[longest[0]] if longest and n == 102_400 else None
        rivals = [plain, long] if long else [plain]
        beside = [f"{paired(run, one)}, {one['tokens']:,}" for one in rivals]
        minutes = (seconds[part] / 60 for part in SECONDS)
        rows.append(
            [
                LANGUAGES[code] + " (again)" * (seed != "seed 1"),
                f"{n:,}",
                f"{run['options']['english_share']:.0%}",
                f"{run['before']['target']['bits per byte']:.3f}",
                f"{run['after']['target']['bits per byte']:.3f}",
                *[*beside, ""][:2],
                " / ".join(f"{english(one):.3f}" for one in (run, *rivals)),
                " + ".join(f"{part:.1f}" for part in minutes),
            ]
        )
    heading = ["", "tokens", "English", "before", "after", "to plain, teacher not counted"]
    heading += ["to plain, teacher counted", "English: all"]
    return table([*heading, "minutes: transfer + teacher + training"], rows)


SECONDS = ("transfer", "teacher", "training")

SOURCE_TOKENS = 49_152  # of SmolLM2
VOCABULARY_TRIALS = {
    "vi": ("min3", "min0.3"),
    "de": ("min3", "min0.3", "min0.1"),
    "ar": ("default", "min3", "min1", "min0.3"),
}
# Tokens of the arm with n-grams, and of plain training that took as long, transfer included.
AS_LONG = {40_960: 58_000, 102_400: 140_000}
ELSEWHERE = {  # file -> what is another there, and the file of the plain runs
    "win_20_layers.json": ("20 of SmolLM2's layers", "win_20_layers.json"),
    "win_bible.json": ("a Bible", "win_bible.json"),
    "win_own_plm.json": ("a gpt of our own as PLM", "win_ngrams.json"),
}


def plain_runs_of(file):
    """Return the runs of a file; beside n-grams some of plain training are of an earlier file."""
    earlier = read("win_taught.json") if file == "win_ngrams.json" else {}
    return earlier | read(file)


def ngrams():
    """The best preset with the text's n-grams as teacher, beside plain training as long."""
    found, rows = read("win_ngrams.json"), []
    plain_runs = plain_runs_of("win_ngrams.json")
    for key, run in sorted(found.items(), key=lambda pair: (pair[1]["tokens"], pair[0])):
        code, *name, tokens, seed = key.split(", ")
        if name != ["best", "ngrams"]:
            continue
        rival = f"{code}, plain, bfloat16, {AS_LONG[int(tokens)]}, "
        plain = plain_runs.get(rival + seed) or plain_runs[rival + "seed 1"]
        fits = sum(run["fits"][side]["seconds"] for side in ("input", "head"))
        transfer, training = (run["processor seconds"][part] for part in ("transfer", "training"))
        rows.append(
            [
                f"{LANGUAGES[code]}{' (again)' * (seed != 'seed 1')}",
                f"{run['tokens']:,}",
                *beside(run, plain),
                f"{transfer} ({fits:.0f}) + {training} / {plain['processor seconds']['all']}",
            ]
        )
    return table(["", "tokens", *BESIDE, "seconds: transfer (fits) + training / plain"], rows)


BESIDE = ("before (to untouched)", "after", "to plain, and its tokens", "English: own / plain")


def beside(run, plain):
    """A run before and after its training, and beside plain training."""
    before, untouched = (one["before"]["target"]["bits per byte"] for one in (run, plain))
    return [
        f"{before:.3f} ({before / untouched - 1:+.1%})",
        f"{run['after']['target']['bits per byte']:.3f}",
        f"{paired(run, plain)}, {plain['tokens']:,}",
        f"{english(run):.3f} / {english(plain):.3f} ({english(run) / english(plain) - 1:+.1%})",
    ]


def elsewhere():
    """The same with another source, another kind of text, another PLM."""
    rows = []
    for file, (what, plain_file) in ELSEWHERE.items():
        plain_runs = plain_runs_of(plain_file)
        for key, run in sorted(read(file).items()):
            code, *name, tokens, seed = key.split(", ")
            if name in (["best", "ngrams"], ["best", "ngrams", "no pieces"]):
                rival = f"{code}, plain, bfloat16, {AS_LONG[int(tokens)]}, "
                plain = plain_runs.get(rival + seed) or plain_runs[rival + "seed 1"]
                label = what + ", no pieces" * (len(name) > 2)
                language = LANGUAGES[code] + " (again)" * (seed != "seed 1")
                rows.append([label, language, f"{run['tokens']:,}", *beside(run, plain)])
    return table(["", "", "tokens", *BESIDE], rows)


def ngram_parts(file, most=1):
    """The same with a part switched off, with a row for each side, or with few tokens.

    ``most`` parts may be missing at once; of the others docs/log.md tells.
    """
    found, rows = read(file), []
    for key, run in sorted(found.items(), key=lambda pair: (pair[1]["tokens"], pair[0])):
        code, *name, tokens, seed = key.split(", ")
        whole = found.get(f"{code}, best, ngrams, {tokens}, {seed}")
        if name == ["best", "ngrams"] or len(name) > 2 + most or whole is None:
            continue
        rows.append(
            [
                f"{LANGUAGES[code]}{' (again)' * (seed != 'seed 1')}",
                ", ".join(name).removeprefix("best, ngrams, "),
                f"{run['tokens']:,}",
                f"{run['before']['target']['bits per byte']:.3f}",
                f"{run['after']['target']['bits per byte']:.3f}",
                paired(run, whole),
                f"{english(run):.3f} ({english(run) / english(whole) - 1:+.1%})",
                run["processor seconds"]["all"],
            ]
        )
    heading = ["", "arm", "tokens", "before", "after", "to the whole", "English", "seconds"]
    return table(heading, rows)


def one_row():
    """One row for both sides, one for each, and one that no fit has moved."""
    found, rows = read("win_ngrams.json"), []
    arms = {
        "one row": "",
        "one row, no fits": ", no fits",
        "one row, no pieces": ", no pieces",
        "one row, no pieces, no fits": ", no pieces, no fits",
        "two rows, no pieces": ", two sides",
    }
    for code, language in LANGUAGES.items():
        for label, arm in arms.items():
            runs = [found.get(f"{code}, best, ngrams{arm}, {n}, seed 1") for n in AS_LONG]
            before, english_before = (
                f"{runs[0]['before'][text]['bits per byte']:.3f}" for text in ("target", "English")
            )
            after = [
                f"{run['after']['target']['bits per byte']:.3f}" if run else "" for run in runs
            ]
            rows.append([language, label, before, english_before, *after])
    heading = ["", "a new token has", "before", "English", *(f"after {n:,}" for n in AS_LONG)]
    return table(heading, rows)


def fasttext():
    """The paper's methods after a training, with vectors trained on the corpus."""
    found, rows = read("win_fasttext.json"), []
    for key, run in sorted(found.items(), key=lambda pair: (pair[1]["tokens"], pair[0][:2])):
        code, method, _, *when = key.split(", ")
        salt = found[", ".join([code, "salt", "fastText", *when])]
        numbers = [run[which]["target"]["bits per byte"] for which in ("before", "after")]
        rows.append(
            [
                LANGUAGES[code],
                f"`{method}`",
                f"{run['tokens']:,}",
                *(f"{number:.3f}" for number in numbers),
                paired(run, salt) if run is not salt else "",
                f"{english(run):.3f}",
            ]
        )
    heading = ["", "method", "tokens", "before", "after", "to `salt`", "English"]
    return table(heading, rows)


def vocabulary_trials():
    """More and more new tokens beside n-grams that teach, after a training of 40,960 tokens."""
    with gzip.open(RESULTS / "trials_vocabulary.json.gz", "rt", encoding="utf-8") as file:
        trials = json.load(file)
    few = read("win_ngrams.json")
    rows = []
    for code, names in VOCABULARY_TRIALS.items():
        runs = [few[f"{code}, best, ngrams, few tokens, 40960, seed 1"]] if code != "ar" else []
        runs += [trials[f"{code} {name}"] for name in names]
        for run in runs:
            n_new = run["after"]["tokens"] - SOURCE_TOKENS
            bits = [run[when]["target"]["bits per byte"] for when in ("before", "after")]
            numbers = (f"{value:.3f}" for value in (*bits, english(run)))
            rows.append([LANGUAGES[code], f"{n_new:,}", *numbers])
    return table(["", "new tokens", "before", "after", "English"], rows)


def waiting():
    """Seconds of a step by how threads wait, for one process and for two at once."""
    found, rows = read("waiting.json"), []
    for processes, label in (("1 at once", "one process"), ("2 at once", "two at once")):
        of = [statistics.median(found[f"{processes}, {how}"]) for how in ("active", "passive")]
        rows.append([label, *(f"{each:.2f} s" for each in of)])
    return table(["", "waiting busily", "asleep"], rows)


def adapt_memory():
    """What is alive at the peak of a step, and what the process holds in several ways."""
    ways = read("adapt_memory.json")["ways"]
    first = next(iter(ways.values()))
    together = first["alive together, MiB"]
    parts = [[name, f"{size:,}"] for name, size in first["alive, MiB"].items()]
    alive = table(["alive at the peak", "MiB"], [*parts, ["together", f"{together:,}"]])
    rows = [
        [way, f"{one['peak, MiB']:,}", f"{one['peak, MiB'] / together:.2f}"]
        for way, one in ways.items()
    ]
    return f"{alive}\n\n{table(['way', 'peak, MiB', 'of what is alive as it is'], rows)}"


GLOBAL = "global-residual:ridge=1.0"


def plms_by_seed():
    """Return the results of our_plms.json: (language, PLM) -> seed -> result."""
    found = {}
    for name, run in read("our_plms.json").items():
        arm, _, seed = name.partition(", seed ")
        language, _, made = arm.partition(" ")
        found.setdefault((language, made), {})[seed] = run
    return found


def our_plms():
    """The source with the rows of each PLM, before and after a short training."""
    rows, results = [], plms_by_seed()
    for (language, made), seeds in results.items():
        if all("adapted" not in run for run in seeds.values()):
            continue
        runs = list(seeds.values())
        is_untouched = made == "untouched"
        shared = "" if is_untouched else f"{runs[0]['yardstick']['n_shared']:,}"
        r2 = "" if is_untouched else each(yardstick(run)[GLOBAL] for run in runs)
        before = each(
            (run if is_untouched else run["step 0"][GLOBAL])["bits_per_byte"] for run in runs
        )
        after = each(run["adapted"]["bits_per_byte"] for run in runs)
        taught = each(run["taught"]["bits_per_byte"] for run in runs if "taught" in run)
        given = next(of for key, of in results.items() if key[0] == language and "e5" in key[1])
        beside = "" if "e5" in made else between(runs[0]["adapted"], given["0"]["adapted"])
        plain = results[language, "untouched"]["0"]["adapted"]
        ahead = between(runs[0]["taught"], plain) if taught else ""
        minutes = f"{runs[0]['processor seconds'] / 60:.0f}"
        cells = [LANGUAGES[language], made, shared, r2, before, after, beside, taught, ahead]
        rows.append([*cells, minutes])
    heading = ["", "rows from, corpus x passes", "shared", "r2", "before", "after"]
    beside = ["to e5-small after", "taught", "taught, to the untouched source after"]
    return table([*heading, *beside, "processor minutes"], rows)


def plm_sizes():
    """What a bert that is trained on more and more German comes to, before any training."""
    rows = []
    found = {
        float(made.split()[1]): runs["0"]
        for (language, made), runs in plms_by_seed().items()
        if language == "de" and made.startswith("bert")
    }
    for size, run in sorted(found.items()):
        before = run["step 0"][GLOBAL]["bits_per_byte"]
        n_shared = f"{run['yardstick']['n_shared']:,}"
        own = f"{run['own_bits_per_byte']['target']:.3f}"
        minutes = f"{run['processor seconds'] / 60:.0f}"
        cells = [f"{run['read']:,}", own, n_shared, f"{yardstick(run)[GLOBAL]:.3f}"]
        rows.append([f"{size:g} MB", *cells, f"{before:.3f}", minutes])
    heading = ["German", "tokens read", "its own bits a byte", "shared", "r2", "before"]
    return table([*heading, "processor minutes"], rows)


def demo_plms():
    """The demo with a gpt of its own text and with e5-small."""
    rows, results = [], read("demo_plms.json")
    for name, run in results.items():
        language, _, kind = name.partition(", ")
        given = results[f"{language}, e5-small"]
        beside = "" if kind == "e5-small" else between(run["after"], given["after"])
        numbers = [f"{run[when]['bits_per_byte']:.3f}" for when in ("before", "after")]
        minutes = f"{run['processor seconds']['PLM'] / 60:.0f}"
        cells = [f"`{run['method']}`", f"{run['r2']:.2f}", f"{run['tokens']:,}"]
        rows.append([LANGUAGES[language], kind, *cells, *numbers, beside, minutes])
    heading = ["", "PLM", "method", "r2", "tokens", "before", "after", "to e5-small after"]
    return table([*heading, "processor minutes for the PLM"], rows)


def yardstick(run):
    return {score["method"]: score["r2"]["value"] for score in run["yardstick"]["scores"]}


def each(values):
    return " / ".join(f"{value:.3f}" for value in values)


def english(run):
    return run["after"]["English"]["bits per byte"]


def paired(run, rival):
    return between(run["after"]["target"], rival["after"]["target"])


def between(one, other):
    """The difference in bits per byte of paired paragraphs, with its interval."""
    bits = np.array([one["bits"], other["bits"]])
    n_bytes = np.array(one["bytes"], np.float64)
    drawn = np.random.default_rng(0).integers(0, len(n_bytes), (2000, len(n_bytes)))
    many = (bits[0] - bits[1])[drawn].sum(1) / n_bytes[drawn].sum(1)
    value, (low, high) = (
        (bits[0] - bits[1]).sum() / n_bytes.sum(),
        np.quantile(many, (0.025, 0.975)),
    )
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def span(numbers):
    return " to ".join(f"{number:,}" for number in sorted({min(numbers), max(numbers)}))


def real_pairs():
    runs, rows = read("real_run.json"), []
    for code, language in LANGUAGES.items():
        for aux in ("untouched", "aux plm", "aux train"):
            run = runs[f"{code}, {aux}"]
            cells = [""] * 4
            if "counts" in run:
                c = run["counts"]
                cells = [
                    f"{c['shared']:,} / {c['made']:,} / {c['sampled']:,}",
                    f"{c['k']['median']:.0f} ({c['k']['max']:.0f})",
                    f"{run['residual']['0.5']:.2f}",
                    f"{run['norm ratio']['0.5']:.2f}",
                ]
            rows.append(
                [
                    f"{language}, {aux}",
                    f"{run['tokens']:,}",
                    *cells,
                    f"{run['target']['tokens per word']:.2f}",
                    bits(run["target"]),
                    f"{run['English']['bits per byte']:.2f}",
                ]
            )
    heading = ["", "tokens", "shared / made / sampled", "neighbours, median (most)", "residual"]
    heading += ["norm ratio", "tokens a word", "target bits per byte", "English"]
    return table(heading, rows)


def real_costs():
    runs, rows = read("real_run.json"), []
    for code, language in LANGUAGES.items():
        plain, trained = (runs[f"{code}, aux {aux}"] for aux in ("plm", "train"))
        rows.append(
            [
                language,
                f"{plain['seconds']['wall']:.0f} s, {plain['seconds']['rows']:.1f} s",
                f"{trained['seconds']['auxiliary vectors']:.0f} s",
                f"{plain['peak memory, MiB'] / 1024:.2f} GiB",
            ]
        )
    heading = ["", "transfer, of which rows", "fastText training", "peak memory"]
    return table(heading, rows)


def map_speed():
    seen = read("map_speed.json")["median of rounds"]
    plain = seen["cosine product, s"]
    rows = [["the plain cosine product alone", f"{plain:.2f}", "1.0"]]
    for name, label in (
        ("neighbours and sparsemax, s", "neighbours and sparsemax (cosines included)"),
        ("coefficients, s", "coefficients"),
        ("rows, s", "rows"),
    ):
        rows.append([label, f"{seen[name]:.2f}", f"{seen[name] / plain:.1f}"])
    rows.append(["**all of SALT**", "", f"**{seen['all over cosine product']:.1f}**"])
    return table(["", "seconds", "of the cosine product"], rows)


def before_adaptation(code):
    heading, *rows = comparison_rows(Comparison.load(RESULTS / f"convergence_{code}.json"))
    return table(heading, rows)


def convergence(code):
    heading, *rows = convergence_rows(Comparison.load(RESULTS / f"convergence_{code}.json"))
    return table(heading, rows)


def all_methods(code):
    results = read(f"methods_{code}.json")["settings"]["plm"]["results"]
    return method_table(results.items())


def spaces_and_calibrations(code):
    """The same with other auxiliary vectors, and calibrated."""
    settings = read(f"methods_{code}.json")["settings"]
    labels = {"plm": "", "fasttext": "fastText", "norms": "norms", "unigrams": "unigrams"}
    again = {name for key in labels.keys() - {"plm"} for name in settings[key]["results"]}
    return method_table(
        (f"{name}`, `{label}" if label else name, result)
        for key, label in labels.items()
        for name, result in settings[key]["results"].items()
        if name in again - {"untouched"}
    )


def method_table(results):
    rows = []
    for name, result in sorted(results, key=lambda item: item[1]["target"]["bits_per_byte"]):
        score, has_rows = result["yardstick"], "rows" in result
        cells = [""] * 5
        if score:
            r2 = "{value:.3f} ({low:.3f} to {high:.3f})".format(**score["r2"])
            others = (f"{score[key]['value']:.2f}" for key in ("cosine", "norm_ratio", "retrieval"))
            cells = [r2, *others, f"{result['mass']['mass']:.0%}" if has_rows else ""]
        cells += [f"{result[text]['bits_per_byte']:.2f}" for text in ("target", "English")]
        rows.append([f"`{name}`", *cells])
    heading = ["method", "r2 (95 %)", "cosine", "norms", "retrieval", "mass on new rows"]
    return table([*heading, "target bits per byte", "English"], rows)


def peers():
    """The peers' own code beside ours."""
    rows = []
    for name, job in read("peers.json").items():
        if not isinstance(job, dict) or "saltlm" not in job:
            continue
        sides = job["saltlm"], job["peer"]
        difference = job["relative difference of rows"]["99 %"]
        rows.append(
            [
                name,
                *(f"{side['processor seconds']:.2f}" for side in sides),
                f"**{job['times faster']:.1f}**",
                *(f"{side['extra bytes'] / 2**20:,.0f}" for side in sides),
                f"{job['rows within 0.001']:.0%}",
                f"{difference:.0e}",
            ]
        )
    heading = ["method: peer", "saltlm, s", "peer, s", "times faster", "saltlm, MiB", "peer, MiB"]
    return table([*heading, "rows within 0.001", "difference, 99 %"], rows)


def adapt_speed():
    rows = []
    for case in read("adapt_speed.json")["cases"]:
        speed, peak = case["tokens per second"], case["peak memory, MiB"]
        rows.append(
            [
                case["name"],
                *(f"{speed[side]:,.0f}" for side in ("saltlm", "trainer")),
                f"**{case['times as fast']:.2f}**",
                *(f"{peak[side]:,}" for side in ("saltlm", "trainer")),
                f"**{case['share of the memory']:.0%}**",
            ]
        )
    heading = ["", "saltlm, tokens/s", "Trainer", "times as fast", "saltlm, MiB", "Trainer"]
    return table([*heading, "share of the memory"], rows)


def evaluated(name):
    """Models side by side, as `saltlm evaluate` wrote them to evaluation.json."""
    found = read(name)
    models = [model["name"] for model in found["models"]]
    metrics = {
        (result["model"]["name"], result["task"], metric): value
        for result in found["results"]
        for metric, value in result["metrics"].items()
    }
    rows = []
    for row in found["places"]:
        cells = [metrics.get((model, row["task"], row["metric"])) for model in models]
        n = next(cell["n"] for cell in cells if cell)
        texts = (
            text_of(Cell(cell, place), bold="**")
            for cell, place in zip(cells, row["places"], strict=True)
        )
        rows.append([row["task"], row["metric"], n, *texts])
    return table(["task", "metric", "n", *models], rows)


def vocabularies():
    """One pair with its vocabulary replaced, extended and pruned."""
    rows = []
    for name, run in read("vocabularies.json").items():
        if "tokens" not in run:  # only cut text
            continue
        counts = run["counts"] or {}
        rows.append(
            [
                name,
                f"{run['tokens']:,}",
                *(f"{counts[key]:,}" if key in counts else "" for key in ("shared", "made")),
                f"{run['parameters'] / 1e6:.1f} M",
                f"{run['bytes on disk'] / 1e6:.0f} MB",
                f"{run['target']['tokens per word']:.2f}",
                f"{run['English']['tokens per word']:.2f}",
                bits(run["target"]),
                f"{run['English']['bits per byte']:.2f}",
                f"{run['tokens a second']:.1f}",
                f"{run['tokens a second'] * run['bytes a token']:.0f}",
            ]
        )
    heading = ["", "tokens", "shared", "made", "parameters", "on disk", "tokens a word, German"]
    heading += ["English", "bits per byte, German", "English", "tokens a second", "German bytes"]
    return table(heading, rows)


def cuts():
    """How a pair's tokenizers cut held-out text in each language and in English."""
    rows = []
    for name, run in read("vocabularies.json").items():
        if "cut, de" not in run:
            continue
        row = [name]
        for language in LANGUAGES:
            cut = run.get(f"cut, {language}")
            row.append(f"{cut['tokens']:,}" if cut else "")
            for each in (language, "en"):
                row.append(f"{cut[f'{each}, tokens a word']:.3f}" if cut else "")
        rows.append(row)
    heading = [""]
    for language, said in LANGUAGES.items():
        heading += [f"tokens, {language}", f"tokens a word, {said}", "English"]
    return table(heading, rows)


CLIENTS = {
    "transformers4": "transformers",
    "mlx": "mlx-lm",
    "ctranslate2": "CTranslate2",
    "llama.cpp": "llama.cpp",
    "transformers.js": "transformers.js",
    "openvino": "OpenVINO tokenizers",
}
MADE = {
    "replace-unigram": "replace, Unigram",
    "replace-wordpiece": "replace, WordPiece",
    "replace-bpe": "replace, BPE",
    "extend": "extend",
    "swap": "swap",
}


def other_clients():
    """Ids, log probabilities and greedy tokens by client and kind of vocabulary."""
    results, rows = read("other_clients.json"), []
    for client, name in CLIENTS.items():
        for model, said in MADE.items():
            seen = results.get(model, {}).get(client)
            if seen is None:
                continue
            if "failed" in seen:
                rows.append([name, said, seen["failed"].replace("|", "\\|"), "", ""])
                continue
            ids = seen.get("ids")
            other = f": not {', '.join(ids['other'])}" if ids and ids["other"] else ""
            is_run = "largest difference" in seen
            rows.append(
                [
                    f"{name} {seen['version'].removeprefix('xllamacpp ')}",
                    f"{said}{', tiny model' * ('model' in seen)}",
                    f"{ids['same']} of {ids['of']}{other}" if ids else "has no tokenizer",
                    f"{seen['largest difference']:.1g}" if is_run else "",
                    f"{seen['greedy tokens alike']} of {seen['of']}" if is_run else "",
                ]
            )
    heading = ["client", "vocabulary", "ids", "log probabilities within", "greedy tokens alike"]
    return table(heading, rows)


OUTCOMES = ("proved", "not proved", "refused", "not built", "error")


def census():
    """How many classes of transformers came to what, by mode."""
    found, rows = read("census.json"), []
    cases = dict.fromkeys((r["mode"], r["tied"]) for r in found["results"])
    for mode, tied in cases:
        done = [r for r in found["results"] if (r["mode"], r["tied"]) == (mode, tied)]
        counts = [sum(r["outcome"] == outcome for r in done) for outcome in OUTCOMES]
        logits = max((r["logits"] for r in done if r["outcome"] == "proved"), default=0)
        faults = sum(bool(r.get("check")) for r in done)
        name = f"{mode}, {'tied' if tied else 'untied'}"
        rows.append([name, f"{len(done)} of {found['classes']}", *counts, f"{logits:.1g}", faults])
    heading = ["mode, flag", "classes run", *OUTCOMES, "logits within", "`check` fails"]
    return table(heading, rows)


def _cell(text):
    return text.replace("/source ", "SOURCE ").replace("|", "\\|")[:160]


def census_failures():
    """Every class that was not proved, or that `check` found fault with, and why."""
    modes: dict[tuple[str, str, str], list[str]] = {}
    for r in read("census.json")["results"]:
        why = r["why"] if r["outcome"] != "proved" else "; ".join(r["check"])
        if why:
            modes.setdefault((r["class"], r["outcome"], _cell(why)), []).append(r["mode"])
    rows = [[key[0], ", ".join(sorted(set(said))), *key[1:]] for key, said in sorted(modes.items())]
    return table(["class", "modes", "outcome", "why"], rows)


def mergekit():
    """How far a merge is from mergekit's."""
    found = read("mergekit.json")["differences"]
    rows = [[name, f"{value:.1e}"] for name, value in found.items()]
    return table(["method of mergekit", "largest difference"], rows)


def word_lists():
    """Tokens a word of a PLM pruned by a corpus, and by a list of words."""
    found = read("word_lists.json")["tokens per word"]
    kinds = list(next(iter(found.values())))
    rows = [[name, *(f"{values[kind]:.2f}" for kind in kinds)] for name, values in found.items()]
    return table(["pruned", *kinds], rows)


def choices():
    """What a transfer says that it chose, and what its new tokens do to a corpus."""
    budget = read("win_ngrams.json")["vi, best, ngrams, 40960, seed 1"]["vocabulary"]
    chosen = next(one for one in budget["curve"] if one["n_new"] == budget["n_chosen"])
    after = chosen["tokens_per_word"]
    config = load_recommended(corpus="vietnamese.txt", budget=budget["tokens"])
    text = (
        f"In Vietnamese, for {budget['tokens']:,} tokens of training, it takes"
        f" {budget['n_chosen']:,} new tokens, which cut the corpus into {after:.2f} tokens a word;"
        f" the LLM's own make {after / (1 - chosen['saved']):.2f}."
    )
    return "\n".join([textwrap.fill(text, 100), "", "```text", *in_one_line_each(config), "```"])


def samples():
    """What models write after three beginnings, before the transfer, after it, and trained."""
    found = read("samples.json")
    names = {"adapted": f"{found['tokens']:,} tokens later"}
    written = {names.get(name, name): one["outputs"] for name, one in found["models"].items()}
    lines = ["```text"]
    for place in SHOWN:
        lines.append(f"{written['untouched'][place]['prompt']} ...")
        for name, outputs in written.items():
            text = textwrap.shorten(outputs[place]["output"], 75, placeholder=" ...")
            lines.append(f"  {name + ':':21} {text}")
    return "\n".join([*lines, "```"])


WORDS = {
    "small plm": "`transfer`, PLM of 16,000 tokens",
    "prune": "`transfer --prune-to 16000`",
    "extend": "`transfer --mode extend --prune-to 4000`",
    "swap": "`transfer --mode swap`",
    "select": "`score --select`",
    **{verb: f"`{verb}`" for verb in ("inspect", "score", "explain", "check")},
}
SHARES = {"prune": 0.2, "extend": 0.2, "swap": 0.2, "select": 0.25}
OF_FLOOR = 1.6
ROOFS = {"SmolLM2-135M, 21k rows": 0.8, "tiny Llama, 256k rows": 0.75}


def performance():
    """What is measured of speed and memory, its limit, how far it is from there, and the script."""
    rows = []

    def put(what, found, limit, script):
        distance = "holds" if found <= limit else f"{found / limit:.1f} x"
        rows.append([what, f"{found:.2f}", f"{limit:.3g}", distance, f"`{script}`"])

    def tell(what, found, script):
        rows.append([what, f"{found:.2f}", "", "", f"`{script}`"])

    for name, found in read("commands_speed.json").items():
        if found["before"] and found["after"]:
            share = found["after"] / found["before"]
            put(
                f"{WORDS[name]}: of what it took before the rooms",
                share,
                SHARES.get(name, 0.5),
                "commands_speed.py",
            )
        if name == "small plm":
            of_floor = found["after"] / found["floor"]
            put(f"{WORDS[name]}: of the least", of_floor, OF_FLOOR, "commands_speed.py")
        elif found["floor"] and found["before"]:
            share = found["floor"] / found["before"]
            what = f"the least of {WORDS[name]}: of what it took before the rooms"
            tell(what, share, "commands_speed.py")
    maps = read("map_speed.json")["median of rounds"]
    put("all maps: cosine products", maps["all over cosine product"], 2.2, "map_speed.py")
    least = maps["the least over cosine product"]
    tell("the least of all maps: cosine products", least, "map_speed.py")
    for case, limit in zip(read("adapt_speed.json")["cases"], (0.8, 0.4), strict=True):
        share = case["share of the memory"]
        put(f"`adapt`, {case['name']}: of the Trainer's memory", share, limit, "adapt_speed.py")
    for case in read("adapt_speed.json")["roof"]:
        what = f"a step of `adapt`, {case['name']}: of its matrix products alone"
        put(what, 1 / case["share of the roof"], 1 / ROOFS[case["name"]], "adapt_speed.py")
    for run in read("pack_speed.json")["runs"]:
        many = run["processes"] > 1
        who = f"{run['processes']} processes" if many else "one process"
        what = f"cutting {run['megabytes']:,} MB of text, {who}: of `encode_batch` alone"
        put(what, 1 / run["of encode_batch"], 1.25, "pack_speed.py")
    return table(["what", "now", "at most", "distance", "script in `benchmarks/`"], rows)


TRIED = {
    "kills": "SIGKILL before a change of a file, each change once: `transfer`, `transfer --force`,"
    " `adapt`, `compare`, `evaluate`, `check`, `merge --select`, `pretrain`, `recipe`",
    "fuzz": "one input damaged, in its structure or its bytes: models, GGUF, tokenizers, records,"
    " corpora, pairs, vectors, options",
    "kept": "the same to what a run keeps for the next: checkpoints, packed text, results, steps"
    " of a recipe",
    "changed": "an input changed, whole, between two runs",
    "disk": "the largest file that can be written is too small; from one change of a file on the"
    " disk is full, or read-only",
    "memory": "up to 400 MiB of address space beyond the start",
    "writers": "the same command twice at once into one place",
    "determinism": "a process of its own with another hash seed, and for `transfer` other numbers"
    " of threads",
}


def faults():
    """What was tried of each kind, how often, and what was found."""
    found = read("faults.json")["campaigns"]
    rows = []
    for name, what in TRIED.items():
        one = found[name]
        bad = one["cases with a fault"]
        counts = [f"{one['cases']:,}", bad, one["with a fault still"]]
        rows.append([name, what, f"{one['goal']:,}", *counts])
    return table(
        ["campaign", "what is done", "goal", "tried", "had a fault", "have one still"], rows
    )


STAGES = ("read", "auxiliary vectors", "yardstick", "rows", "write")


def scale():
    """Time by stage and peak memory of transfers of large vocabularies."""
    rows = []
    every = [(one, run) for one in read("scale.json") for run in one["runs"]]
    for one, run in every:
        stages = run["stages"]
        in_files = one.get("low memory", False)
        size = f"{one['part']:g}, {one['method']}{', in files' * in_files}"
        seconds = [f"{stages[name]['seconds']:.0f}" for name in STAGES]
        peak = "peak bytes, no view of a file" if in_files else "peak bytes"
        sizes = [f"{run[name] / 2**30:.2f}" for name in ("tables bytes", peak)]
        holds = f"{'yes' if run['holds'] else 'no'}{', half of it' * in_files}"
        rows.append([size, run["mode"], f"{run['new']:,}", *seconds, *sizes, holds])
    heading = ["part, method", "mode", "new", *(f"{name}, s" for name in STAGES)]
    return table([*heading, "tables, GiB", "peak, GiB", "within tables + 1.2 GiB"], rows)


TABLES = {
    "faults": faults,
    "scale": scale,
    "performance": performance,
    "adapt memory": adapt_memory,
    "choices": choices,
    "samples": samples,
    "census": census,
    "census failures": census_failures,
    "mergekit": mergekit,
    "word lists": word_lists,
    "other clients": other_clients,
    "vocabularies": vocabularies,
    "cuts": cuts,
    "anchors": anchors,
    "win": win,
    "taught": taught,
    "ngrams": ngrams,
    "ngram parts": partial(ngram_parts, "win_ngrams.json"),
    "own parts": partial(ngram_parts, "win_own_plm.json", most=2),
    "one row or two": one_row,
    "vocabulary trials": vocabulary_trials,
    "fasttext": fasttext,
    "elsewhere": elsewhere,
    "our plms": our_plms,
    "plm sizes": plm_sizes,
    "demo plms": demo_plms,
    "real pairs": real_pairs,
    "real costs": real_costs,
    "map speed": map_speed,
    "all methods de": partial(all_methods, "de"),
    "all methods vi": partial(all_methods, "vi"),
    "all methods ar": partial(all_methods, "ar"),
    "calibrations ar": partial(spaces_and_calibrations, "ar"),
    "waiting": waiting,
    "quick de": partial(evaluated, "quick_de.json"),
    "kept de": partial(evaluated, "kept_de.json"),
    "kept replay de": partial(evaluated, "kept_replay_de.json"),
    "peers": peers,
    "adapt speed": adapt_speed,
    "before adaptation de": partial(before_adaptation, "de"),
    "convergence de": partial(convergence, "de"),
    "before adaptation vi": partial(before_adaptation, "vi"),
    "convergence vi": partial(convergence, "vi"),
}
