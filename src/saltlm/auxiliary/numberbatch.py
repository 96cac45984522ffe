"""ConceptNet Numberbatch: words as `/c/de/neues_haus`, in lower case, digits as `#`."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from saltlm.auxiliary.containers import to_stdout
from saltlm.errors import AuxiliaryVectorsError

_KEY = re.compile(rb"/c/([a-z]{2,3}(?:[-_][a-z]+)?)/(.+)", re.DOTALL)
_TWO_DIGITS = re.compile("[0-9][0-9]")
_DIGIT = re.compile("[0-9]")


def are_concepts(words: Sequence[bytes]) -> bool:
    """Tell whether words are written as Numberbatch writes them."""
    return bool(words) and all(map(_KEY.fullmatch, words))


def spellings(string: str) -> tuple[str, ...]:
    """Return how Numberbatch would write a text, likelier ways first.

    Source: `text_to_uri.py` of Numberbatch, which folds the case; its files also hold words that
    were only put into lower case.
    """
    if _TWO_DIGITS.search(string):
        string = _DIGIT.sub("#", string)
    string = string.strip().replace(" ", "_")
    return tuple(dict.fromkeys((string.lower(), string.casefold())))


def terms(path: Path, entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Take the prefix off the words of a file of one language.

    Raises:
        AuxiliaryVectorsError: the file has a second language.
    """
    language = None
    for word, numbers in entries:
        match = _KEY.fullmatch(word)
        if match is None:
            continue
        language = language or match[1]
        if match[1] != language:
            raise _several(path, language.decode(), match[1].decode())
        yield match[2], numbers


def _several(path: Path, first: str, second: str) -> AuxiliaryVectorsError:
    name = shlex.quote(str(path.with_name(f"{path.name.partition('.')[0]}-{second}.txt")))
    return AuxiliaryVectorsError(
        f"{path} is ConceptNet Numberbatch in several languages ({first}, {second}, ...)",
        "take one language out, and give that file; with its code in both places: "
        f"{to_stdout(path)} | grep -a '^/c/{second}/' > {name}",
    )
