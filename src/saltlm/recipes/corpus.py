"""A corpus looked at and cleaned: duplicates, boilerplate, other scripts, English; held-out text.

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
from pathlib import Path
from typing import TypeVar

from saltlm.errors import DataError
from saltlm.files.atomic import replace_text
from saltlm.files.documents import Text, check_corpus, documents

_Parts = TypeVar("_Parts", str, list[str])

_RUN = 5  # words
_RUN_UNSPACED = 12  # characters
_LONGEST_WORD = 15  # characters on average, beyond which a text has no spaces between words
_WHOLE = 50_000_000  # bytes of a corpus up to which all runs are kept, about a gigabyte
_SAME = 0.5  # share of runs that were seen before, from which a document is a near-duplicate
_LEAK = 0.2  # share of runs that are also in the training text, from which none is held out
_BOILERPLATE = 5  # documents in which a line stands that is said for its own sake
_LONG = 20  # characters, of such a line
_PURE = 0.6  # share of letters that are of the corpus' script
_ENGLISH_SHARE = 0.2  # share of words, from which a document is English
_ENGLISH_WORDS = frozenset(
    ("the", "of", "and", "to", "in", "is", "that", "it", "for", "was", "on", "are", "with", "as")
)
_WITH_KANA = dict.fromkeys(
    ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"), "CJK"
)  # Japanese writes all of them
_MOST_HELD_OUT = 0.1  # share of all documents


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
        dropped = ", ".join(
            f"{count:,} {reason}" for reason, count in self.dropped.items() if count
        )
        return (
            f"{self.n_documents:,} documents, {self.n_bytes / 1e6:.1f} MB; left out: "
            f"{dropped or 'none'}; {self.boilerplate:,} lines of boilerplate;"
            f" {self.script} script, {self.purity:.1%} of the letters;"
            f" {self.n_training:,} documents"
            f" ({self.training_bytes / 1e6:.1f} MB) to train on, {self.n_heldout:,} held out"
        )


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
        corpus: texts; read three times.
        folder: an existing directory.
        n_heldout: documents to hold out, but at most a tenth of all.
        seed: of their choice.
        is_english: whether English is the language itself.
        option: that gave the texts, for messages.

    Raises:
        DataError: a text cannot be read, or too little is left to train on and hold out.
    """
    check_corpus(corpus, option)
    lines, scripts, n_documents, n_bytes = _look(corpus)
    one_of = 1 + n_bytes // _WHOLE
    script = scripts.most_common(1)[0][0] if scripts else "no"
    dropped = dict.fromkeys(("near-duplicates", f"not in {script} script", "English"), 0)
    seen: set[int] = set()
    found: list[tuple[int, int]] = []  # hash for the draw, and number of the document
    letters: Counter[str] = Counter()
    n_lines = 0
    for number, document in enumerate(documents(corpus)):
        text, n_gone = _without_boilerplate(document, lines)
        n_lines += n_gone
        reason = _reason(text, script, is_english) or _seen_before(text, one_of, seen)
        if reason is not None:
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            letters.update(_scripts(text))
            found.append((_hash(f"{seed} {text}"), number))
    n_drawn = min(n_heldout, int(_MOST_HELD_OUT * len(found)))
    held = _hold_out(corpus, lines, found, n_drawn, one_of)
    if not held:
        raise DataError(
            f"of the {n_documents:,} documents of {', '.join(map(str, corpus))} {len(found):,} are"
            " left, too few to hold any out",
            f"give {option} more text: at least some hundred documents, one a line or a paragraph",
        )
    numbers = {number for _, number in found}
    counts = _write(corpus, lines, folder, numbers, held)
    check = CorpusCheck(
        n_documents=n_documents,
        n_bytes=n_bytes,
        n_training=counts["train"],
        training_bytes=counts["bytes"],
        n_heldout=counts["heldout"],
        script=script,
        purity=letters[script] / max(1, letters.total()),
        dropped=dropped | {"leaks": len(numbers) - counts["train"] - counts["heldout"]},
        boilerplate=n_lines,
    )
    replace_text(folder / "corpus.json", json.dumps(asdict(check), indent=2) + "\n")
    return check


def _look(corpus: Sequence[Text]) -> tuple[Counter[int], Counter[str], int, int]:
    """Return how often long lines occur, the letters by script, and the size of a corpus."""
    lines: Counter[int] = Counter()
    scripts: Counter[str] = Counter()
    n_documents = n_bytes = 0
    for document in documents(corpus):
        n_documents, n_bytes = n_documents + 1, n_bytes + len(document.encode())
        if "\n" in document:
            lines.update({_hash(_normal(line)) for line in document.split("\n") if _is_long(line)})
        scripts.update(_scripts(document))
    return lines, scripts, n_documents, n_bytes


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


def _reason(text: str, script: str, is_english: bool) -> str | None:
    """Return why a document is left out by itself."""
    found = _scripts(text)
    if not text or found[script] < _PURE * max(1, found.total()):
        return f"not in {script} script"
    words = text.lower().split()
    n_english = sum(word in _ENGLISH_WORDS for word in words)
    is_other = not is_english and len(words) >= _RUN and n_english >= _ENGLISH_SHARE * len(words)
    return "English" if is_other else None


def _seen_before(text: str, one_of: int, seen: set[int]) -> str | None:
    """Return that a document is a near-duplicate of earlier ones, whose runs it joins if not."""
    runs = _runs(text, one_of)
    if sum(run in seen for run in runs) > _SAME * len(runs):
        return "near-duplicates"
    seen.update(runs)
    return None


def _hold_out(
    corpus: Sequence[Text], lines: Counter[int], found: list[tuple[int, int]], n: int, one_of: int
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
            runs = _runs(_without_boilerplate(document, lines)[0], one_of)
            if number in drawn:
                held[number] = runs
            else:
                training |= runs
    kept = {number: len(runs & training) <= _LEAK * len(runs) for number, runs in held.items()}
    return kept if any(kept.values()) else {}


def _write(
    corpus: Sequence[Text],
    lines: Counter[int],
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
            text = _without_boilerplate(document, lines)[0]
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
