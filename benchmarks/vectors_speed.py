"""`saltlm vectors train` beside fastText itself on the same words: processor seconds, file sizes.

    python benchmarks/vectors_speed.py --texts DIR [--out benchmarks/results/vectors_speed.json]

DIR holds de.txt.gz, of which the first megabyte is read. The two take turns; what fastText is given
is a file of words that is written beforehand, which saltlm's time includes.
"""

import argparse
import json
import resource
import tempfile
from importlib.metadata import version
from pathlib import Path

import fasttext

from saltlm import FasttextConfig, vectors
from saltlm.auxiliary import fasttext_training
from saltlm.files.documents import documents

ROUNDS = 3
BYTES = 1_000_000


def seconds():
    """Return the processor time of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def main():
    """Train in turns and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/vectors_speed.json"))
    args = parser.parse_args()
    settings = FasttextConfig(dimension=100)
    options = {
        "dim": settings.dimension,
        "epoch": settings.epochs,
        "model": settings.model,
        "minCount": settings.min_count,
        "minn": settings.minn,
        "maxn": settings.maxn,
        "bucket": settings.bucket,
        "neg": settings.negatives,
        "lr": settings.learning_rate,
        "label": " ",
        "thread": 1,
        "verbose": 0,
    }
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        text, words, plain, own = (Path(folder) / name for name in ("t.txt", "w", "p.bin", "o.bin"))
        n_bytes = 0
        with text.open("w", encoding="utf-8") as file:
            for document in documents([args.texts / "de.txt.gz"]):
                n_bytes += file.write(" ".join(document.split()) + "\n")
                if n_bytes >= BYTES:
                    break
        fasttext_training._write_words([text], words, fasttext_training.words_of)
        for _ in range(ROUNDS):
            began = seconds()
            model = fasttext.train_unsupervised(str(words), **options)
            model.save_model(str(plain))
            between = seconds()
            vectors("train", corpus=text, out=own, config=settings, force=True)
            rounds.append({"fastText": between - began, "saltlm": seconds() - between})
        sizes = {"fastText": plain.stat().st_size, "saltlm": own.stat().st_size}
    ratios = sorted(one["saltlm"] / one["fastText"] for one in rounds)
    found = {
        "fastText": f"fasttext-modern {version('fasttext-modern')}",
        "saltlm": fasttext_training.binding_version(),
        "settings": settings.model_dump(),
        "rounds": rounds,
        "ratio": ratios[ROUNDS // 2],
        "bytes": sizes,
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
