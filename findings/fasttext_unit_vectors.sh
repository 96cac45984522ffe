#!/usr/bin/env bash
# fasttext-community 0.11.9 and fasttext-wheel 0.9.2: one model file, one call, vectors of other lengths.
#
# Behaviour: both packages are imported as `fasttext` and open the same .bin file with the same matrix.
#   get_word_vector of fasttext-wheel is the mean of the word's rows, as in fastText; that of
#   fasttext-community is this mean divided by its length.
# Why it surprises: same import name, same method, same file; cosines agree, so that a test of nearest
#   neighbours passes. Means over words, regressions on the vectors and every use of their length do not.
# Seen, for "house" and the unseen "housebread": length 1.7730 and 1.3484 (wheel), 1.0000 and 1.0000
#   (community); the cosine between both packages' vectors is 1.000000.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONNOUSERSITE=1
python3 -m pip install -qq --target "$work/wheel" fasttext-wheel==0.9.2 numpy==2.4.6
python3 -m pip install -qq --target "$work/community" fasttext-community==0.11.9 numpy==2.4.6
cd "$work"

cat > vectors.py <<'PYTHON'
import sys

import fasttext
import numpy as np

if sys.argv[1] == "wheel":
    with open("corpus.txt", "w") as file:
        file.write("house tree river stone bread\n" * 200)
    fasttext.train_unsupervised(
        "corpus.txt", model="skipgram", minn=2, maxn=3, bucket=500, dim=8,
        minCount=1, epoch=5, t=1.0, thread=1, verbose=0,
    ).save_model("model.bin")
model = fasttext.load_model("model.bin")
rows = np.asarray(model.get_input_matrix(), dtype=np.float64)
result = {}
for word in ("house", "housebread"):
    result[word] = np.asarray(model.get_word_vector(word), dtype=np.float64)
    result[f"{word}, mean"] = rows[model.get_subwords(word)[1]].mean(axis=0)
np.savez(f"{sys.argv[1]}.npz", **result)
PYTHON
PYTHONPATH="$work/wheel" python3 vectors.py wheel
PYTHONPATH="$work/community" python3 vectors.py community

PYTHONPATH="$work/wheel" python3 - <<'PYTHON'
import numpy as np

wheel, community = np.load("wheel.npz"), np.load("community.npz")
for word in ("house", "housebread"):
    mean = wheel[f"{word}, mean"]
    assert np.allclose(mean, community[f"{word}, mean"], atol=1e-9), "both read the same rows"
    ours, theirs = wheel[word], community[word]
    lengths = np.linalg.norm(ours), np.linalg.norm(theirs)
    print(f"{word}: length {lengths[0]:.4f} (wheel), {lengths[1]:.4f} (community), "
          f"cosine {ours @ theirs / lengths[0] / lengths[1]:.6f}")
    assert np.allclose(ours, mean, atol=1e-6) and abs(lengths[0] - 1) > 0.1
    assert np.allclose(theirs, mean / np.linalg.norm(mean), atol=1e-4)
PYTHON
