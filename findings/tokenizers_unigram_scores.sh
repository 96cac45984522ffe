#!/usr/bin/env bash
# tokenizers 0.23.3: a Unigram's scores are not the numbers that stand in tokenizer.json.
#
# Behaviour: scores are written to tokenizer.json as decimal fractions of 64 bits. Reading them back gives,
#   for one score in seven, the neighbouring floating-point number; saving then writes that one. Saving what
#   was saved changes nothing more.
# Why it surprises: both Python and Rust's standard library read such a fraction as the nearest number, so
#   that reading and writing is exact; and a file that was only opened and saved has another hash, so that
#   whoever tells tokenizers apart by their bytes takes it for another one.
# Seen, for 2,000 random scores between -20 and 0: 278 differ after one round, each by 1 unit in the
#   last place, and none differs after a second round.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONNOUSERSITE=1
python3 -m pip install -qq --target "$work/packages" tokenizers==0.23.3
cd "$work"

PYTHONPATH="$work/packages" python3 - <<'PYTHON'
import json
import math
import random

from tokenizers import Tokenizer, models

random.seed(0)
pieces = [["<unk>", 0.0]] + [[f"t{number}", -20 * random.random()] for number in range(2000)]
definition = json.loads(Tokenizer(models.Unigram([("<unk>", 0.0)], 0)).to_str())
definition["model"]["vocab"] = pieces
assert json.loads(json.dumps(definition)) == definition, "Python reads what it writes"


def again(text):
    return Tokenizer.from_str(text).to_str()


once = again(json.dumps(definition))
scores = [score for _, score in json.loads(once)["model"]["vocab"]]
changed = [(old, new) for (_, old), new in zip(pieces, scores, strict=True) if old != new]
units = max(abs(old - new) / math.ulp(old) for old, new in changed)
print(f"{len(changed)} of {len(pieces)} scores changed, by at most {units:.0f} unit in the last place")
assert len(changed) > 100 and units == 1
assert again(once) == once
PYTHON
