"""What models write after beginnings of a text that they have not seen, for the README.

    python benchmarks/samples.py SOURCE TRANSFERRED ADAPTED --heldout FILE --language Vietnamese \
        --work DIR [--out benchmarks/results/samples.json]

`saltlm evaluate` lets them write; the record of the adapted model says how many tokens it has seen.
What is in DIR already is not done again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

NAMES = ("untouched", "new tokens", "adapted")


def outputs(work):
    """The outputs of `saltlm evaluate` in a folder, by the model's name as it was typed."""
    found = {}
    for file in sorted(work.glob("*/generation-*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        found[result["model"]["name"]] = {
            "sha256": result["model"]["sha256"],
            "outputs": [
                {key: one[key] for key in ("prompt", "output", "problem")}
                for one in result["details"]["outputs"]
            ],
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs=3, metavar="MODEL")
    for name in ("--heldout", "--language"):
        parser.add_argument(name, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/samples.json"))
    given = parser.parse_args()
    words = ["--tasks", "generation", "--heldout", given.heldout, "--out", str(given.work)]
    command = [sys.executable, "-m", "saltlm", "evaluate", *given.models, *words]
    subprocess.run(command, check=True)
    record = json.loads((Path(given.models[2]) / "saltlm/manifest.json").read_text())
    found = outputs(given.work)
    written = {
        "language": given.language,
        "tokens": record["adaptations"][-1]["tokens"],
        "models": {name: found[model] for name, model in zip(NAMES, given.models, strict=True)},
    }
    text = json.dumps(written, indent=1, ensure_ascii=False) + "\n"
    given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
