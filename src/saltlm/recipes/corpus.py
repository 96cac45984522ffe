"""A corpus looked at and cleaned: duplicates, boilerplate, other languages; held-out text.

Documents are compared by their runs of five words, or of twelve characters where there are no
spaces between words: one most of whose runs have been seen is a near-duplicate. What is held out
shares hardly any with what is trained on. The runs are kept in memory as hashes, of a large corpus
only a part of them.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from saltlm.errors import DataError
from saltlm.files.atomic import replace_text
from saltlm.files.documents import Text, check_corpus, documents

_Parts = TypeVar("_Parts", str, list[str])

_RUN = 5  # words
_RUN_UNSPACED = 12  # characters
_LONGEST_WORD = 15  # characters on average, beyond which a text has no spaces between words
KEPT_WHOLE = 50_000_000  # bytes of a corpus up to which all runs are kept, about a gigabyte
_SAME = 0.5  # share of runs that were seen before, from which a document is a near-duplicate
_LEAK = 0.2  # share of runs that are also in the training text, from which none is held out
_BOILERPLATE = 5  # documents in which a line stands that is said for its own sake
_LONG = 20  # characters, of such a line
_PURE = 0.6  # share of letters that are of the corpus' script
_COMMON = 100  # words that stand in most documents, by which another language is told
_TOGETHER = 0.35  # times as often as by chance, that such a word stands with the commonest one
_SAMPLE = 10_000_000  # bytes of a corpus in which they are looked for
_EXPECTED = 8  # of them that a document must let expect, to be judged by how few it has
_FOREIGN = 0.2  # share of those expected, below which it is of another language
_ENGLISH_SHARE = 0.2  # share of words, from which a document is English
_ENGLISH_WORDS = frozenset(
    ("the", "of", "and", "to", "in", "is", "that", "it", "for", "was", "on", "are", "with", "as")
)
_WITH_KANA = dict.fromkeys(
    ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"), "CJK"
)  # Japanese writes all of them
_OTHER = "in another language"
_MOST_HELD_OUT = 0.1  # share of all documents


@dataclass(frozen=True)
class _Whole:
    """What is known of a corpus before a document is judged.

    Attributes:
        lines: how many documents a long line stands in, by its hash.
        script: of most letters.
        common: the commonest words of its language.
        share: of all words that they are.
        n_documents: in the corpus.
        n_bytes: of them.
    """

    lines: Counter[int]
    script: str
    common: frozenset[str]
    share: float
    n_documents: int
    n_bytes: int

    @property
    def one_of(self) -> int:
        """Of how many runs one is kept."""
        return 1 + self.n_bytes // KEPT_WHOLE


@dataclass(frozen=True)
class _Left:
    """What is left of a corpus, and what is not.

    Attributes:
        found: hash for the draw, and number of each document that is left.
        dropped: reason -> documents.
        letters: of those that are left, by script.
        n_lines: of boilerplate that were taken out.
    """

    found: list[tuple[int, int]]
    dropped: dict[str, int]
    letters: Counter[str]
    n_lines: int


@dataclass(frozen=True)
class CorpusCheck:
    """What a corpus holds, and what was left out of it.

    Attributes:
        n_documents: in the corpus.
        n_bytes: of them.
        n_training: documents that are trained on.
        training_bytes: of these.
        n_heldout: documents that are held out.
        script: of most letters, as Unicode names it.
        purity: share of the kept letters that are of it.
        dropped: reason -> documents that were left out.
        boilerplate: lines that were taken out of documents.
    """

    n_documents: int
    n_bytes: int
    n_training: int
    training_bytes: int
    n_heldout: int
    script: str
    purity: float
    dropped: dict[str, int]
    boilerplate: int

    def __str__(self) -> str:
        return (
            f"{self.n_documents:,} documents, {self.n_bytes / 1e6:.1f} MB; left out: "
            f"{_in_words(self.dropped) or 'none'}; {self.boilerplate:,} lines of boilerplate;"
            f" {self.script} script, {self.purity:.1%} of the letters;"
            f" {self.n_training:,} documents"
            f" ({self.training_bytes / 1e6:.1f} MB) to train on, {self.n_heldout:,} held out"
        )


def _in_words(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)


def split_corpus(
    corpus: Sequence[Text],
    folder: Path,
    *,
    n_heldout: int,
    seed: int,
    is_english: bool = False,
    option: str = "--corpus",
) -> CorpusCheck:
    """Write ``train.jsonl`` and ``heldout.jsonl``, and return what the corpus holds.

    Args:
        corpus: texts; read five times.
        folder: an existing directory.
        n_heldout: documents to hold out, but at most a tenth of all.
        seed: of their choice.
        is_english: whether English is the language itself.
        option: that gave the texts, for messages.

    Raises:
        DataError: a text cannot be read, or too little is left to train on and hold out.
    """
    check_corpus(corpus, option)
    whole = _look(corpus)
    left = _sort_out(corpus, whole, seed, is_english)
    n_drawn = min(n_heldout, int(_MOST_HELD_OUT * len(left.found)))
    held = _hold_out(corpus, whole, left.found, n_drawn)
    names = ", ".join(map(str, corpus))
    if left.dropped["English"] > len(left.found):
        raise DataError(
            f"of the {whole.n_documents:,} documents of {names} {left.dropped['English']:,} are"
            " English",
            f"give {option} text of the language, or name the language english",
        )
    if not held:
        gone = _in_words(left.dropped)
        raise DataError(
            f"of the {whole.n_documents:,} documents of {names} {len(left.found):,} are left"
            f"{gone and f' (left out: {gone})'}, too few to hold any out",
            f"give {option} more text: at least some hundred documents, one a line or a paragraph",
        )
    numbers = {number for _, number in left.found}
    counts = _write(corpus, whole, folder, numbers, held)
    n_leaks = len(numbers) - counts["train"] - counts["heldout"]
    check = CorpusCheck(
        n_documents=whole.n_documents,
        n_bytes=whole.n_bytes,
        n_training=counts["train"],
        training_bytes=counts["bytes"],
        n_heldout=counts["heldout"],
        script=whole.script,
        purity=left.letters[whole.script] / max(1, left.letters.total()),
        dropped=left.dropped | {"leaks": n_leaks},
        boilerplate=left.n_lines,
    )
    replace_text(folder / "corpus.json", json.dumps(asdict(check), indent=2) + "\n")
    return check


def _look(corpus: Sequence[Text]) -> _Whole:
    lines: Counter[int] = Counter()
    scripts: Counter[str] = Counter()
    n_documents = n_bytes = 0
    for document in documents(corpus):
        n_documents, n_bytes = n_documents + 1, n_bytes + len(document.encode())
        if "\n" in document:
            lines.update({_hash(_normal(line)) for line in document.split("\n") if _is_long(line)})
        scripts.update(_scripts(document))
    common, share = _common_words(corpus, n_bytes)
    return _Whole(
        lines=lines,
        script=scripts.most_common(1)[0][0] if scripts else "no",
        common=common,
        share=share,
        n_documents=n_documents,
        n_bytes=n_bytes,
    )


def _common_words(corpus: Sequence[Text], n_bytes: int) -> tuple[frozenset[str], float]:
    """Return the commonest words of the language of most documents, and their share of all words.

    Those of another language hardly ever stand in a document with the commonest word of all.
    """
    one_of = 1 + n_bytes // _SAMPLE
    cut = [text.lower().split() for text in documents(corpus) if _hash(text) % one_of == 0]
    standing = Counter(word for words in cut for word in {*words} if word[0].isalpha())
    ranked = sorted(standing, key=lambda word: (-standing[word], word))
    if not ranked:
        return frozenset(), 0.0
    beside = Counter(word for words in cut if ranked[0] in words for word in {*words})
    by_chance = standing[ranked[0]] / len(cut)
    together = (w for w in ranked if beside[w] >= _TOGETHER * by_chance * standing[w])
    common = frozenset(islice(together, _COMMON))
    n_common = sum(word in common for words in cut for word in words)
    return common, n_common / sum(map(len, cut))


def _sort_out(corpus: Sequence[Text], whole: _Whole, seed: int, is_english: bool) -> _Left:
    reasons = ("near-duplicates", f"not in {whole.script} script", "English", _OTHER)
    dropped = dict.fromkeys(reasons, 0)
    seen: set[int] = set()
    found: list[tuple[int, int]] = []
    letters: Counter[str] = Counter()
    n_lines = 0
    for number, document in enumerate(documents(corpus)):
        text, n_gone = _without_boilerplate(document, whole.lines)
        n_lines += n_gone
        reason = _reason(text, whole, is_english) or _seen_before(text, whole.one_of, seen)
        if reason is not None:
            dropped[reason] += 1
        else:
            letters.update(_scripts(text))
            found.append((_hash(f"{seed} {text}"), number))
    return _Left(found, dropped, letters, n_lines)


def _is_long(line: str) -> bool:
    return len(line.strip()) >= _LONG


def _without_boilerplate(document: str, lines: Counter[int]) -> tuple[str, int]:
    if "\n" not in document:
        return document, 0
    kept, n_gone = [], 0
    for line in document.split("\n"):
        if _is_long(line) and lines[_hash(_normal(line))] >= _BOILERPLATE:
            n_gone += 1
        else:
            kept.append(line)
    return "\n".join(kept).strip(), n_gone


def _reason(text: str, whole: _Whole, is_english: bool) -> str | None:
    """Return why a document is left out by itself."""
    found = _scripts(text)
    if not text or found[whole.script] < _PURE * max(1, found.total()):
        return f"not in {whole.script} script"
    words = text.lower().split()
    n_english = sum(word in _ENGLISH_WORDS for word in words)
    is_other = not is_english and len(words) >= _RUN and n_english >= _ENGLISH_SHARE * len(words)
    if is_other:
        return "English"
    expected = whole.share * len(words)
    is_foreign = sum(word in whole.common for word in words) < _FOREIGN * expected
    return _OTHER if is_foreign and expected >= _EXPECTED else None


def _seen_before(text: str, one_of: int, seen: set[int]) -> str | None:
    """Return that a document is a near-duplicate of earlier ones, whose runs it joins if not."""
    runs = _runs(text, one_of)
    if sum(run in seen for run in runs) > _SAME * len(runs):
        return "near-duplicates"
    seen.update(runs)
    return None


def _hold_out(
    corpus: Sequence[Text], whole: _Whole, found: list[tuple[int, int]], n: int
) -> dict[int, bool]:
    """Return which documents are drawn, and of each whether it is kept: a leak is in neither part.

    The runs of all other documents are gathered in one pass over the corpus.
    """
    drawn = {number for _, number in sorted(found)[:n]}
    numbers = {number for _, number in found}
    training: set[int] = set()
    held: dict[int, set[int]] = {}
    for number, document in enumerate(documents(corpus)):
        if number in numbers:
            runs = _runs(_without_boilerplate(document, whole.lines)[0], whole.one_of)
            if number in drawn:
                held[number] = runs
            else:
                training |= runs
    kept = {number: len(runs & training) <= _LEAK * len(runs) for number, runs in held.items()}
    return kept if any(kept.values()) else {}


def _write(
    corpus: Sequence[Text],
    whole: _Whole,
    folder: Path,
    numbers: set[int],
    held: dict[int, bool],
) -> Counter[str]:
    """Write the two files and return how many documents, and bytes to train on, they have."""
    counts: Counter[str] = Counter()
    with (
        (folder / "train.jsonl").open("w", encoding="utf-8") as train,
        (folder / "heldout.jsonl").open("w", encoding="utf-8") as heldout,
    ):
        for number, document in enumerate(documents(corpus)):
            if number not in numbers or not held.get(number, True):
                continue
            text = _without_boilerplate(document, whole.lines)[0]
            row = json.dumps({"text": text}, ensure_ascii=False) + "\n"
            (heldout if number in held else train).write(row)
            counts["heldout" if number in held else "train"] += 1
            counts["bytes"] += 0 if number in held else len(text.encode())
    return counts


def _scripts(text: str) -> Counter[str]:
    counts = Counter(text)
    found: Counter[str] = Counter()
    for char, count in counts.items():
        if char.isalpha():
            word = unicodedata.name(char, "UNNAMED").split()[0]
            found[_WITH_KANA.get(word, word.capitalize())] += count
    return found


def _normal(text: str) -> str:
    return " ".join("0" if word.isdigit() else word for word in text.lower().split())


def _runs(text: str, one_of: int) -> set[int]:
    """Return the hashes of a document's runs of words or characters; of a short one, all of it."""
    normal = _normal(text)
    words = normal.split()
    if len(normal) > _LONGEST_WORD * len(words):
        hashes = {_hash(run) for run in _windows(normal, _RUN_UNSPACED)}
    else:
        hashes = {_hash(" ".join(run)) for run in _windows(words, _RUN)}
    return {value for value in hashes if value % one_of == 0} or hashes


def _windows(parts: _Parts, length: int) -> Iterator[_Parts]:
    for first in range(max(1, len(parts) - length + 1)):
        yield parts[first : first + length]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
