"""How often each token occurs in text."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.files.progress import progress

# What is encoded together: a few documents, and no more text than this, so that memory does not
# grow with the corpus, nor with the length of a document's lines.
_DOCUMENTS = 512
_CHARACTERS = 1 << 20


def count_tokens(
    tokenizer: Tokenizer, texts: Iterable[str], *, n_rows: int | None = None
) -> Int64[Tensor, " rows"]:
    """Return how often each id occurs in the texts, special tokens around them aside.

    Holds one batch of texts at a time.

    Args:
        tokenizer: cuts the texts.
        texts: a document each.
        n_rows: length of the result, for tables with more rows than tokens; by default the tokens.
    """
    size = 1 + max(tokenizer.get_vocab().values(), default=-1) if n_rows is None else n_rows
    counts = torch.zeros(size, dtype=torch.int64)
    for batch in batches(texts, "count tokens"):
        ids = [id for document in encode_texts(tokenizer, batch) for id in document]
        counts += torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=size)
    return counts


def batches(texts: Iterable[str], what: str) -> Iterator[list[str]]:
    """Yield the texts in lists to be encoded together, with a bar named ``what``."""
    batch, n_characters = [], 0
    for text in progress(texts, desc=what, unit=" lines"):
        batch.append(text)
        n_characters += len(text)
        if len(batch) == _DOCUMENTS or n_characters >= _CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text, special tokens around it aside."""
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]
