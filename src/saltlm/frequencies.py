"""How often each token occurs in a corpus."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.text import documents


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
