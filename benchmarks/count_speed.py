r"""Counting the tokens of a corpus: each different word once, beside every text whole.

    python benchmarks/count_speed.py TOKENIZER.json TEXT.gz ... \
        [--out benchmarks/results/count_speed.json]

One thread, processor seconds, medians of three rounds in turns; the counts must be equal.
"""

import argparse
import gzip
import json
import os
import statistics
import time
from pathlib import Path
from unittest.mock import patch

os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

from tokenizers import Tokenizer

from saltlm.tokenizer import counts


def seconds(tokenizer, texts, *, by_words):
    with patch.object(counts, "cuts_at_blanks", lambda _: by_words):
        begun = time.process_time()
        found = counts.count_tokens(tokenizer, texts)
        return time.process_time() - begun, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/count_speed.json"))
    given = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(given.tokenizer))
    assert counts.cuts_at_blanks(tokenizer)
    results = {}
    for file in given.texts:
        texts = gzip.decompress(file.read_bytes()).decode().split("\n")
        taken = {True: [], False: []}
        for _ in range(3):
            (first, whole), (second, words) = (
                seconds(tokenizer, texts, by_words=by_words) for by_words in (False, True)
            )
            assert whole.equal(words)
            taken[False].append(first)
            taken[True].append(second)
        whole, words = (round(statistics.median(taken[way]), 2) for way in (False, True))
        results[file.name] = {
            "texts whole": whole,
            "each word once": words,
            "ratio": round(whole / words, 2),
            "characters": sum(map(len, texts)),
            "tokens": int(sum(counts.count_tokens(tokenizer, texts))),
        }
    given.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
