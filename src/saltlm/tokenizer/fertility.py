"""How finely a tokenizer cuts a text, and what of the text it does not keep."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from saltlm.errors import VocabularyError
from saltlm.files.damage import reading
from saltlm.tokenizer.counts import encode_texts


@dataclass(frozen=True)
class Fertility:
    """Sizes of one text in three units. A word is what stands between white space.

    Attributes:
        n_tokens: tokens, without bos, eos and the like.
        n_words: words of the raw text.
        n_bytes: UTF-8 bytes of the raw text.
    """

    n_tokens: int
    n_words: int
    n_bytes: int

    @property
    def tokens_per_word(self) -> float:
        """Tokens per word: the usual fertility; lower is shorter."""
        return self.n_tokens / max(1, self.n_words)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per token: comparable where words are not set apart by spaces."""
        return self.n_bytes / max(1, self.n_tokens)


def encode_documents(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]
) -> list[list[int]]:
    """Return the token ids of each document, without special tokens around it.

    Raises:
        VocabularyError: the tokenizer gives up, as one does that needs an unknown token it lacks.
    """
    if not documents:
        return []
    hint = "give a copy of the model whose tokenizer.json is whole"
    with (
        whole_texts(tokenizer) as backend,
        reading(f"the tokenizer of {tokenizer.name_or_path}", VocabularyError, hint),
    ):
        backend.encode_special_tokens = tokenizer.split_special_tokens
        return encode_texts(backend, documents)


@contextmanager
def whole_texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[Tokenizer]:
    """Yield what cuts a tokenizer's texts; meanwhile it neither shortens nor fills them up."""
    backend: Tokenizer = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield backend
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def fertility(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> Fertility:
    """Return the sizes of the documents in tokens, words and bytes."""
    return Fertility(
        n_tokens=sum(map(len, encode_documents(tokenizer, documents))),
        n_words=sum(len(document.split()) for document in documents),
        n_bytes=sum(len(document.encode()) for document in documents),
    )


def lost_bytes(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], ids: Sequence[list[int]]
) -> list[int]:
    """Return per document how many of its bytes do not come back when its ids are decoded.

    Counts characters in their number, not their order: a letter that was lower-cased, composed
    or turned into the unknown token is lost with its UTF-8 bytes, a space that was merged is lost
    with one.
    """
    lost = []
    for document, document_ids in zip(documents, ids, strict=True):
        decoded = tokenizer.decode(
            document_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        missing = Counter(document) - Counter(decoded)
        lost.append(sum(len(char.encode()) * count for char, count in missing.items()))
    return lost
