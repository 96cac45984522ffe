"""Writes fastText .bin files with known rows, so that a test needs no training."""

import struct

import numpy as np

MAGIC = 793712314
SKIPGRAM, SUPERVISED = 2, 3
NEGATIVE_SAMPLING, SOFTMAX = 2, 3


def fasttext_bytes(
    words,
    *,
    bucket=50,
    minn=3,
    maxn=6,
    dimension=4,
    labels=(),
    version=12,
    magic=MAGIC,
    quantised=False,
    matrix=None,
    seed=0,
    floret=None,
):
    """The bytes of a model; `words` are str or bytes, rows are drawn unless `matrix` is given.

    `floret` is its mode (2: whole words are hashed, too) and the number of its hashes.
    """
    if matrix is None:
        shape = (len(words) + bucket, dimension)
        matrix = np.random.default_rng(seed).normal(size=shape).astype("<f4")
    kind, loss = (SUPERVISED, SOFTMAX) if labels else (SKIPGRAM, NEGATIVE_SAMPLING)
    n_outputs = len(labels) if labels else len(words)
    entries = [(word, 0) for word in words] + [(label, 1) for label in labels]
    arguments = (dimension, 5, 5, 1, 5, 1, loss, kind, bucket, minn, maxn, 100, 1e-4)
    return b"".join(
        [
            struct.pack("<ii", magic, version),
            struct.pack("<11i", *arguments[:11]),
            b"" if floret is None else struct.pack("<2i", *floret),
            struct.pack("<id", *arguments[11:]),
            struct.pack("<iiiqq", len(entries), len(words), len(labels), 100, -1),
            *(
                (word if isinstance(word, bytes) else word.encode())
                + b"\0"
                + struct.pack("<qb", 7, entry_kind)
                for word, entry_kind in entries
            ),
            struct.pack("<?qq", quantised, *matrix.shape),
            matrix.tobytes(),
            struct.pack("<?qq", False, n_outputs, dimension),
            np.zeros((n_outputs, dimension), "<f4").tobytes(),
        ]
    )


def write_fasttext(path, words, **options):
    path.write_bytes(fasttext_bytes(words, **options))
    return path
