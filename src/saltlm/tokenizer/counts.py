"""How often each token occurs in text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.files.documents import documents
from saltlm.progress import progress

_BATCH = 512  # documents that are encoded together


def count_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> Int64[Tensor, " v"]:
    """Return how often each id occurs in the texts, special tokens around them aside."""
    counts = torch.zeros(1 + max(tokenizer.get_vocab().values()), dtype=torch.int64)
    for batch in batches(texts, "count tokens"):
        ids = [id for document in encode_texts(tokenizer, batch) for id in document]
        counts += torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=len(counts))
    return counts


def batches(texts: Iterable[str], what: str) -> Iterator[list[str]]:
    """Yield the texts in lists to be encoded together, with a bar named ``what``."""
    remaining = iter(progress(texts, desc=what, unit=" lines"))
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text, special tokens around it aside."""
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def count_tokens_in(
    corpus: Sequence[Path], tokenizer: Tokenizer, n_rows: int
) -> Int64[Tensor, " rows"]:
    """Return the occurrences of each id of a tokenizer, zero for rows without a token."""
    used: Counter[int] = Counter()
    texts = list(documents(corpus))
    for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        used.update(encoding.ids)
    counts = torch.zeros(n_rows, dtype=torch.int64)
    counts[list(used)] = torch.tensor(list(used.values()), dtype=torch.int64)
    return counts
