"""Exact match and F1 of extracted answers, as the official evaluation of MLQA defines them.

Lewis et al. 2020, "MLQA: Evaluating Cross-lingual Extractive Question Answering". Answers are
lower-cased, freed of punctuation and of the articles of their language, and cut into words; in
Chinese every character is a word, and runs of other scripts are cut at white space.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

# The Arabic pattern is the official one: it takes the letters alif and lam from inside words too.
_ARTICLES = {
    "ar": re.compile("\\sال^|ال"),
    "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
}
LANGUAGES = frozenset(_ARTICLES) | {"hi", "zh"}  # of MLQA; these two have no articles
_CHINESE_WORD = re.compile(r"[\u4e00-\u9fa5]|[^\s\u4e00-\u9fa5]+")


def answer_words(answer: str, language: str) -> list[str]:
    """Return what is compared of an answer.

    Args:
        answer: any text.
        language: its code; one that MLQA does not have is treated as Hindi is: without articles.
    """
    text = "".join(char for char in answer.lower() if not _is_punctuation(char))
    if language in _ARTICLES:
        text = _ARTICLES[language].sub(" ", text)
    return _CHINESE_WORD.findall(text) if language == "zh" else text.split()


def exact_match(prediction: str, answers: Sequence[str], language: str) -> float:
    """Return 1 if the prediction's words are those of one of the answers, else 0."""
    words = answer_words(prediction, language)
    return float(any(words == answer_words(answer, language) for answer in answers))


def f1(prediction: str, answers: Sequence[str], language: str) -> float:
    """Return the F1 of the prediction's words and those of the answer that it is highest with."""
    words = Counter(answer_words(prediction, language))
    return max(_overlap(words, Counter(answer_words(answer, language))) for answer in answers)


def _overlap(ours: Counter[str], theirs: Counter[str]) -> float:
    n_same = (ours & theirs).total()
    return 2 * n_same / (ours.total() + theirs.total()) if n_same else 0.0


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")
