#!/usr/bin/env bash
# gensim 4.4.0: reads another vector for `</s>` from a fastText .bin than fastText does, alone of all words.
#
# Behaviour: fastText gives the end of line, `</s>`, no character n-grams: its vector is its own row. gensim
#   counts the n-grams of the string "<</s>>" too, as for every other word, and takes the mean of all rows,
#   in load_facebook_vectors as in load_facebook_model. Ten n-grams (3 to 6 letters, the default) that no
#   word shares have rows near zero: the vector is an eleventh of fastText's, in the same direction.
# Why it surprises: every other word, in the vocabulary or not, has the same vector in both to 1e-7, so that
#   no check by ordinary words shows it. But `</s>` is the most frequent word of a file with a line for each
#   sentence, and the end token of XLM-R, T5 and Llama, which is looked up like any other token.
# Seen, lengths in fastText and gensim: `</s>` 1.541 and 0.140, cosine 1.0000; largest difference of the other
#   words, 27 known and unknown: 6e-08.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 OMP_NUM_THREADS=1
python3 -m pip install -qq --target "$work/packages" gensim==4.4.0 fasttext-wheel==0.9.2 numpy==2.4.6
cd "$work"

python3 - <<'PYTHON'
import random

import fasttext
import numpy as np
from gensim.models.fasttext import load_facebook_model, load_facebook_vectors

STEMS, ENDS = ("haus", "baum", "berg", "hof", "holz", "wasser"), ("", "tor", "lauf", "s")
KNOWN = [stem + end for stem in STEMS for end in ENDS]
random.seed(0)
with open("text.txt", "w") as file:
    file.writelines(" ".join(random.choices(KNOWN, k=8)) + "\n" for _ in range(3000))

trained = fasttext.train_unsupervised("text.txt", dim=16, bucket=100_000, thread=1, verbose=0)
trained.save_model("model.bin")
assert trained.words[0] == "</s>" and trained.get_subwords("</s>")[0] == ["</s>"]
vectors = load_facebook_vectors("model.bin")

others = max(
    float(np.abs(vectors[word] - trained.get_word_vector(word)).max())
    for word in [*KNOWN, "hausbaumes", "</t>", "<s>"]
)
own, read = trained.get_word_vector("</s>"), vectors["</s>"]
lengths = np.linalg.norm(own), np.linalg.norm(read)
cosine = float(own @ read / np.prod(lengths))
print(f"</s>: {lengths[0]:.3f} and {lengths[1]:.3f}, cosine {cosine:.4f}; other words differ by {others:.0e}")
assert others < 1e-5
assert 8 < lengths[0] / lengths[1] < 14
assert np.array_equal(read, load_facebook_model("model.bin").wv["</s>"])
PYTHON
