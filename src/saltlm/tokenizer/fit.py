"""Whether a vocabulary fits the text that it is for: said loudly before anything is spent."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from jaxtyping import Int64
from torch import Tensor

_ENOUGH_TOKENS = 20_000  # of the corpus, to say of a vocabulary that it hardly occurs
_HARDLY = 0.1  # of the vocabulary
_MANY_JOINED = 0.02  # of the pieces; code has a few
_MANY_CUT_OFF = 4  # pieces; nothing else makes any
_AS_IN_CORPUS = 0.01  # of its words: it is prepared alike
_JOINED = re.compile(r"[^\W\d_]_[^\W\d_]")  # PhoBERT's words: sinh_viên
_CUT_OFF = re.compile(r"^\+[\u0621-\u064a]|[\u0621-\u064a]\+$")  # AraBERT's: \u0627\u0644+


def fit_warnings(
    by_source: Int64[Tensor, " v_s"], by_new: Int64[Tensor, " v"], size: int
) -> Iterator[str]:
    """Say where a new model's vocabulary does not fit a corpus.

    Args:
        by_source: how often each token of the LLM occurs in documents of the target language.
        by_new: how often each token occurs there that the new model would have.
        size: tokens that the new model would have.
    """
    n_source, n_new = int(by_source.sum()), int(by_new.sum())
    if n_new > n_source:
        yield (
            f"THE NEW VOCABULARY CUTS THE CORPUS WORSE THAN THE SOURCE'S: {n_new:,} tokens for"
            f" {n_source:,}; take a PLM of the corpus' language, or stay with the source"
        )
    used = int((by_new > 0).sum())
    if n_new >= _ENOUGH_TOKENS and used < _HARDLY * size:
        yield (
            f"THE NEW VOCABULARY HARDLY OCCURS IN THE CORPUS: {used:,} of {size:,} tokens do, in"
            f" {n_new:,}; --prune-to {_round(2 * used)} keeps those that the corpus needs"
        )


def _round(n: int) -> int:
    return max(1000, -(-n // 1000) * 1000)


def _count(pattern: re.Pattern[str], mark: str, strings: Iterable[str]) -> int:
    """Return how many strings hold a pattern, which has a mark in it."""
    return sum(1 for string in strings if mark in string and pattern.search(string))


def preparation_notes(pieces: Collection[str], texts: Sequence[str]) -> Iterator[str]:
    """Say how a PLM's text was prepared before its tokenizer saw it, if its pieces show it.

    Args:
        pieces: of the PLM, added tokens too.
        texts: of the corpus; nothing is said if they are prepared alike.
    """
    for pattern, mark, least, how, example in (
        (
            _JOINED,
            "_",
            _MANY_JOINED * len(pieces),
            "words of several syllables joined by _",
            "VnCoreNLP",
        ),
        (_CUT_OFF, "+", _MANY_CUT_OFF, "clitics cut off with +", "Farasa"),
    ):
        number = _count(pattern, mark, pieces)
        if not number or number < least:
            continue
        words = [word for text in texts for word in text.split()]
        if _count(pattern, mark, words) <= _AS_IN_CORPUS * len(words):
            yield (
                f"THE PLM WAS TRAINED ON PREPARED TEXT: {number:,} of its {len(pieces):,} pieces"
                f" have {how}, as {example} writes; other text is cut into other, rarer pieces, so"
                " prepare the corpus and every prompt, or take another PLM"
            )
