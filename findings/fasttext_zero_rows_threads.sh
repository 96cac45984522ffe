#!/usr/bin/env bash
# fastText 0.9.2 (package fasttext-wheel): the number of threads decides which unseen words have a zero vector.
#
# Behaviour: each thread initialises one tenth of the matrix, however many threads there are. With one
#   thread nine tenths of the rows stay zero unless training reaches them; with ten threads none do.
# Why it surprises: threads look like a matter of speed. Methods that give a language model new words take
#   "the vector is zero" for "fastText cannot represent this word", and so the set of words that they
#   leave out changes with the machine's number of cores; rows that are not zero may be untrained noise.
# Seen: rows that are all zero, of 5065, with 1, 2, 5 and 10 threads: 90 %, 80 %, 50 %, 0 %; zero vectors
#   among 500 unseen one-character words: 455, 404, 253, 0.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
python3 -m pip install -qq --target "$work/packages" fasttext-wheel==0.9.2 numpy==2.4.6
cd "$work"

python3 - <<'PYTHON'
from itertools import product

import fasttext
import numpy as np

words = ["".join(letters) for letters in product("abcd", "efgh", "ijkl")]
with open("corpus.txt", "w") as file:
    for line in range(300):
        file.write(" ".join(words[(line * 7 + place * 3) % 64] for place in range(12)) + "\n")
unseen = [chr(0x4E00 + number) for number in range(500)]

for threads, expected in ((1, 0.9), (2, 0.8), (5, 0.5), (10, 0.0)):
    model = fasttext.train_unsupervised(
        "corpus.txt", model="skipgram", minn=1, maxn=1, bucket=5000, dim=16,
        minCount=1, epoch=1, thread=threads, verbose=0,
    )
    rows = np.asarray(model.get_input_matrix())
    zero_rows = float((rows == 0).all(axis=1).mean())
    zero_words = sum(not np.any(model.get_word_vector(word)) for word in unseen)
    print(f"{threads} threads: {zero_rows:.0%} of the rows zero, {zero_words} of 500 unseen words")
    assert abs(zero_rows - expected) < 0.03
    assert abs(zero_words / 500 - expected) < 0.06
PYTHON
