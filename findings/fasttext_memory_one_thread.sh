#!/usr/bin/env bash
# fastText (package fasttext-modern 0.10.0): one thread, one seed, one text, and the vectors depend on
#   what the process did before.
#
# Behaviour: training on one thread fills one tenth of the matrix with random numbers; the rest is
#   what the allocator hands out. Fresh memory from the system is zero. Memory that the process has used
#   before is not: the same text and seed then give other vectors, or training stops with
#   "Encountered NaN".
# Why it surprises: one thread and a seed are the known way to repeat a fastText run, and on a fresh
#   process it works each time. The same call in a longer program (a model was loaded before) fails
#   or differs now and then. floret 0.10.5 in its mode "fasttext" holds the matrix in memory that is zero:
#   it gives the same bytes always, and the same ones as fastText in a fresh process.
# Seen: vectors of two fresh processes: equal, and equal to floret's; with glibc filling new blocks
#   with a byte (MALLOC_PERTURB_=90): other vectors; floret's stay.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
python3 -m pip install -qq --target "$work/packages" \
    fasttext-modern==0.10.0 floret==0.10.5 numpy==2.4.6
cd "$work"

cat > train.py <<'PYTHON'
import hashlib
import sys

import numpy as np

binding = __import__(sys.argv[1])
arguments = binding.args()
arguments.input, arguments.model = "text.txt", binding.model_name.skipgram
arguments.dim, arguments.epoch, arguments.bucket, arguments.thread = 16, 2, 4096, 1
arguments.minCount, arguments.minn, arguments.maxn = 1, 3, 6
arguments.verbose, arguments.seed = 0, 7
if sys.argv[1] == "floret_pybind":
    arguments.mode = binding.mode_name.fasttext
model = binding.fasttext()
try:
    binding.train(model, arguments)
except RuntimeError as error:
    print(error)
else:
    print(hashlib.sha256(np.asarray(model.getInputMatrix()).tobytes()).hexdigest()[:16])
PYTHON
python3 -c "print('der Hund schläft, die Katze läuft\n' * 50)" > text.txt

first=$(python3 train.py fasttext_pybind)
second=$(python3 train.py fasttext_pybind)
used=$(MALLOC_PERTURB_=90 python3 train.py fasttext_pybind)
floret=$(python3 train.py floret_pybind)
floret_used=$(MALLOC_PERTURB_=90 python3 train.py floret_pybind)
echo "fastText: $first, again $second; in used memory: $used"
echo "floret:   $floret; in used memory: $floret_used"
[ "$first" = "$second" ]
[ "$first" != "$used" ]
[ "$floret" = "$first" ]
[ "$floret_used" = "$floret" ]
