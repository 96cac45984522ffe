"""Word vectors in word2vec's formats, text and binary, packed or not: only wanted rows are kept."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary import numberbatch
from saltlm.auxiliary.containers import opened_vectors, to_stdout
from saltlm.auxiliary.word2vec_binary import BinaryLayout, binary_layout
from saltlm.auxiliary.word2vec_text import (
    TextLayout,
    is_utf8,
    not_utf8,
    text_layout,
    too_many_broken,
)
from saltlm.errors import AuxiliaryVectorsError

_WORD_START = "\u2581"
_PROBED = 200  # words that are looked at before the whole file is


@dataclass(frozen=True)
class WordVectors:
    """The vectors of the words that were asked for.

    Attributes:
        rows: word -> its vector; words that the file does not have are missing.
        dimension: the width of the vectors.
        n_words: how many words the file has.
        first_words: a few of them, for messages.
        notes: what is odd about the file, and how it was taken.
    """

    rows: dict[str, Float[np.ndarray, " d"]]
    dimension: int
    n_words: int
    first_words: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_vectors_file(path: Path) -> None:
    """Look at the first lines, and at the languages of Numberbatch.

    Raises:
        AuxiliaryVectorsError: the file cannot be read, or does not begin with words and numbers.
    """
    layout = word_layout(path)
    if numberbatch.are_concepts(_first_words(layout)):
        with opened_vectors(path) as file:
            for _ in numberbatch.terms(path, layout.entries(file)):
                pass


def word_layout(path: Path) -> TextLayout | BinaryLayout:
    """Find out by its content how a file holds its words.

    Raises:
        AuxiliaryVectorsError: the file cannot be read, or does not begin with words and numbers.
    """
    return binary_layout(path) or text_layout(path)


def read_word_vectors(path: Path, wanted: Collection[str] | None) -> WordVectors:
    """Read the vectors of some words; a word that stands twice keeps its first vector.

    Every line is checked for its length, the numbers are read only where they are wanted. Rows that
    are not finite numbers are left out, with a note.

    Args:
        path: word2vec's text or binary format, GloVe's, fastText's ``.vec`` or Numberbatch, plain
            or in gzip, bzip2, xz or zip.
        wanted: the words to look for; None for all, in the order of the file.

    Raises:
        AuxiliaryVectorsError: the file cannot be read, is truncated, or has a malformed line.
    """
    layout = word_layout(path)
    probed = _first_words(layout)
    concepts, pieces = numberbatch.are_concepts(probed), _are_pieces(probed)
    spell = numberbatch.spellings if concepts else _piece_spellings if pieces else _as_it_is
    keys = None
    if wanted is not None:
        keys = frozenset(key.encode() for word in wanted for key in spell(word))
    with opened_vectors(path) as file:
        entries: Iterable[tuple[bytes, bytes]] = layout.entries(file)
        if concepts:
            entries = numberbatch.terms(path, entries)
        found = _Reading(layout)
        for word, numbers in entries:
            found.take(word, numbers, is_wanted=keys is None or word in keys)
    found.check_end()
    if wanted is None:
        rows = {key.decode(errors="replace"): row for key, row in found.rows.items()}
    else:
        rows = dict(_chosen(wanted, spell, found.rows))
    notes = found.notes()
    if pieces and wanted is not None:
        notes += (
            f"its words are SentencePiece's pieces ({_WORD_START}): a token is looked up as the "
            "beginning of a word, then as a piece within one",
        )
    return WordVectors(rows, layout.dimension, found.n_words, tuple(found.first_words), notes)


def _chosen(
    wanted: Collection[str],
    spell: Callable[[str], tuple[str, ...]],
    rows: dict[bytes, Float[np.ndarray, " d"]],
) -> Iterable[tuple[str, Float[np.ndarray, " d"]]]:
    for word in wanted:
        key = next((key for key in map(str.encode, spell(word)) if key in rows), None)
        if key is not None:
            yield word, rows[key]


def _first_words(layout: TextLayout | BinaryLayout) -> list[bytes]:
    with opened_vectors(layout.path) as file:
        return [word for word, _ in islice(layout.entries(file), _PROBED)]


def _are_pieces(words: list[bytes]) -> bool:
    """Tell whether words are a SentencePiece vocabulary's, as BPEmb's are."""
    return 5 * sum(word.startswith(_WORD_START.encode()) for word in words) > len(words)


def _piece_spellings(word: str) -> tuple[str, ...]:
    return _WORD_START + word, word


def _as_it_is(word: str) -> tuple[str, ...]:
    return (word,)


@dataclass
class _Reading:
    """What one pass over a file has found so far."""

    layout: TextLayout | BinaryLayout
    rows: dict[bytes, Float[np.ndarray, " d"]] = field(default_factory=dict)
    n_words: int = 0
    first_words: list[str] = field(default_factory=list)
    n_broken: int = 0
    first_broken: bytes = b""
    not_finite: set[bytes] = field(default_factory=set)
    twice: set[bytes] = field(default_factory=set)

    def take(self, word: bytes, numbers: bytes, *, is_wanted: bool) -> None:
        self.n_words += 1
        if len(self.first_words) < 3:
            self.first_words.append(word.decode(errors="replace"))
        if not is_utf8(word):
            self.n_broken += 1
            self.first_broken = self.first_broken or word
        if not is_wanted:
            return
        if word in self.rows:
            self.twice.add(word)
            return
        row = self.layout.numbers(numbers)
        if np.isfinite(row).all():
            self.rows[word] = row
        else:
            self.not_finite.add(word)

    def check_end(self) -> None:
        """Refuse a file whose last number may be cut, or whose words are in another encoding."""
        layout = self.layout
        if too_many_broken(self.n_broken, self.n_words):
            raise not_utf8(
                layout.path,
                self.n_broken,
                self.n_words,
                self.first_broken,
                is_binary=isinstance(layout, BinaryLayout),
            )
        if layout.header and self.n_words < layout.header[0] and not _ends_a_line(layout.path):
            raise AuxiliaryVectorsError(
                f"{layout.path} is truncated: its header promises {layout.header[0]:,} words, it "
                f"has {self.n_words:,} and ends within a line",
                "get the file again, or leave the last line out: "
                f"{to_stdout(layout.path)} | sed '$d' > {layout.path}.whole",
            )

    def notes(self) -> tuple[str, ...]:
        header, notes = self.layout.header, []
        if header and header[0] != self.n_words:
            notes.append(f"its header says {header[0]:,} words, it has {self.n_words:,}: all taken")
        if header and header[1] != self.layout.dimension:
            notes.append(
                f"its header says {header[1]:,} numbers a word, its lines have "
                f"{self.layout.dimension:,}: read as they are"
            )
        if self.twice:
            notes.append(f"{_named(self.twice)} stand twice: the first vector of each is taken")
        if self.not_finite:
            notes.append(f"{_named(self.not_finite)} have NaN, infinite or no numbers: left out")
        if self.n_broken:
            notes.append(f"{self.n_broken:,} of its words are not UTF-8: never found")
        return tuple(notes)


def _named(words: Collection[bytes]) -> str:
    shown = ", ".join(repr(word.decode(errors="replace")) for word in sorted(words)[:3])
    return f"{len(words):,} of the words that are used ({shown})"


def _ends_a_line(path: Path) -> bool:
    last = b""
    with opened_vectors(path) as file:
        while block := file.read(2**20):
            last = block[-1:]
    return last == b"\n"
