"""What anchors that the new model does not have are worth, on a real pair.

    python benchmarks/anchors.py --source SMOLLM2 --plm E5_SMALL --texts DIR \
        [--languages de vi ar] [--out benchmarks/results/anchors.json]

The yardstick of `saltlm score` asks for the same rows both times: tokens that the pruned vocabulary
has. Each result is written as it comes; a language that is there is not repeated.
"""

import argparse
import json
from pathlib import Path

METHODS = ["global-residual:ridge=1.0", "salt", "focus"]


def measure(source, plm, corpus, size):
    """The score of each method with anchors of the new model only, and with all."""
    from saltlm.comparison.score import score

    found = {}
    for anchors in ("kept", "all"):
        options = {"corpus": str(corpus), "prune_to": size, "anchors": anchors}
        (pair,) = score(source, plm, method=METHODS, **options).pairs
        found[anchors] = {
            "anchors": pair.n_shared,
            "methods": {
                one.method: {
                    "r2": [round(value, 4) for value in one.r2],
                    "tokens": one.n_tokens,
                    "seconds": round(one.seconds, 1),
                }
                for one in pair.scores
            },
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--source", "--plm", "--texts"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["de", "vi", "ar"])
    parser.add_argument("--size", type=int, default=16_000, help="tokens to prune to")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/anchors.json"))
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}
    for language in given.languages:
        if language not in results:
            corpus = given.texts / f"{language}.txt.gz"
            found = measure(given.source, given.plm, corpus, given.size)
            results[language] = {"tokens": given.size, **found}
            given.out.write_text(json.dumps(results, indent=2) + "\n")
            print(language, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
