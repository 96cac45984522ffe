"""How often each token occurs in text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from jaxtyping import Int32, Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.files.progress import progress
from saltlm.tokenizer.blanks import cuts_at_blanks, cuts_before_blanks, words
from saltlm.tokenizer.definition import highest_id

# What is encoded together: a few documents, and no more text than this, so that memory does not
# grow with the corpus, nor with the length of a document's lines.
_DOCUMENTS = 512
_CHARACTERS = 1 << 20
_WORDS = 1 << 19  # different words that are held at most, give or take a batch


def count_tokens(
    tokenizer: Tokenizer, texts: Iterable[str], *, n_rows: int | None = None
) -> Int64[Tensor, " rows"]:
    """Return how often each id occurs in the texts, special tokens around them aside.

    Holds one batch of texts at a time. A tokenizer that cuts at blanks sees each word once.

    Args:
        tokenizer: cuts the texts.
        texts: a document each.
        n_rows: length of the result, for tables with more rows than tokens; by default the tokens.
    """
    size = 1 + highest_id(tokenizer) if n_rows is None else n_rows
    counts = torch.zeros(size, dtype=torch.int64)
    found: Counter[str] = Counter()
    by_words, before = cuts_at_blanks(tokenizer), " " * cuts_before_blanks(tokenizer)
    for batch in batches(texts, "count tokens"):
        whole = []
        for text in batch:
            if by_words and (parts := words(text)) is not None:
                found.update(parts)
            elif before and (split := text.split(" ")) == text.split():
                whole.append(split[0])
                found.update(split[1:])
            else:
                whole.append(text)
        counts += _count(tokenizer, whole, [1] * len(whole), size)
        if len(found) >= _WORDS:
            counts += _count(tokenizer, *_one_text_a_count(found, before), size)
            found.clear()
    return counts + _count(tokenizer, *_one_text_a_count(found, before), size)


def _one_text_a_count(found: Counter[str], before: str) -> tuple[list[str], list[int]]:
    """Return texts of the words that occur equally often, and how often: fewer texts to cut."""
    alike: dict[int, list[str]] = {}
    for word, times in found.items():
        alike.setdefault(times, []).append(word)
    parts = [
        (before + " ".join(group[first : first + _DOCUMENTS]), times)
        for times, group in alike.items()
        for first in range(0, len(group), _DOCUMENTS)
    ]
    return [text for text, _ in parts], [times for _, times in parts]


def _count(
    tokenizer: Tokenizer, texts: list[str], times: list[int], size: int
) -> Int64[Tensor, " rows"]:
    """Return how often each id occurs in texts that occur so many times."""
    cut = encode_texts(tokenizer, texts)
    lengths = torch.tensor([len(ids) for ids in cut], dtype=torch.int64)
    ids = torch.tensor(list(chain.from_iterable(cut)), dtype=torch.int64)
    weights = torch.tensor(times, dtype=torch.int64).repeat_interleave(lengths)
    return torch.zeros(size, dtype=torch.int64).index_add_(0, ids, weights)


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


class CutTexts(NamedTuple):
    """Texts as a tokenizer cuts them.

    Attributes:
        ids: of all texts, one behind the other.
        lengths: how many are each text's.
    """

    ids: Int32[Tensor, " tokens"]
    lengths: list[int]

    def counts(self, n_rows: int) -> Int64[Tensor, " rows"]:
        """Return how often each id occurs."""
        return torch.bincount(self.ids, minlength=n_rows)

    def documents(self) -> list[list[int]]:
        """Return the ids of each text."""
        return [part.tolist() for part in self.ids.split(self.lengths)]


def cut_texts(tokenizer: Tokenizer, texts: Iterable[str]) -> CutTexts:
    """Return texts as a tokenizer cuts them, special tokens around them aside."""
    parts, lengths = [torch.zeros(0, dtype=torch.int32)], list[int]()
    for batch in batches(texts, "cut texts"):
        cut = encode_texts(tokenizer, batch)
        lengths += map(len, cut)
        parts.append(torch.tensor(list(chain.from_iterable(cut)), dtype=torch.int32))
    return CutTexts(torch.cat(parts), lengths)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text, special tokens around it aside."""
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]
