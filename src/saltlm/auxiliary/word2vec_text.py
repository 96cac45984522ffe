"""Word vectors as text: how a file's lines are cut, found from its first lines."""

import io
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary.containers import beginning, to_stdout
from saltlm.errors import AuxiliaryVectorsError, python_command

MAX_LINE = 2**20  # bytes: 50,000 numbers; a longer line is no line of text vectors
_SAMPLE = 200  # lines
_SEPARATORS = (b" ", b"\t")
_BLANKS = re.compile(rb"[ \t]+")
_BOM = b"\xef\xbb\xbf"
_NOT_UTF8 = 0.01  # share of the words from which the file is in another encoding


@dataclass(frozen=True)
class TextLayout:
    """How lines are cut.

    Attributes:
        path: the file.
        dimension: numbers on a line.
        separator: what stands between fields; None: runs of white space.
        header: the words and the numbers a line that the header promises; None without a header.
    """

    path: Path
    dimension: int
    separator: bytes | None
    header: tuple[int, int] | None

    def entries(self, file: io.BufferedIOBase) -> Iterator[tuple[bytes, bytes]]:
        """Yield each line's word and its numbers, as they stand in the file.

        A word may hold separators itself: its numbers are the last fields.

        Raises:
            AuxiliaryVectorsError: a line has too few fields, or does not end.
        """
        for number, line in enumerate(_lines(self.path, file), start=1):
            if not line or (number == 1 and self.header is not None):
                continue
            word = self._word(line)
            if word is None:
                raise self._short(number, line)
            yield word, line[len(word) + 1 :]

    def _word(self, line: bytes) -> bytes | None:
        """Return what stands before the numbers; None if there are too few fields."""
        if self.separator is not None:
            count = line.count(self.separator)
            if count == self.dimension:
                return line[: line.index(self.separator)]
            if count < self.dimension:
                return None
        fields = line.rsplit(self.separator, self.dimension)
        if len(fields) > self.dimension:
            return fields[0]
        return b"" if len(fields) == self.dimension and line[:1].isspace() else None

    def numbers(self, text: bytes) -> Float[np.ndarray, " d"]:
        """Read numbers; what no float32 holds becomes infinite, what is no number NaN."""
        try:
            with np.errstate(over="ignore"):
                return np.array([float(field) for field in text.split()], dtype=np.float32)
        except ValueError:
            return np.full(self.dimension, np.nan, dtype=np.float32)

    def _short(self, number: int, line: bytes) -> AuxiliaryVectorsError:
        fields = max(len(line.split(self.separator)) - 1, 0)
        return AuxiliaryVectorsError(
            f"{self.path}, line {number}: {fields} numbers where {self.dimension} belong: "
            f"{excerpt(line)}",
            "get the file again, or leave such lines out: "
            f"{to_stdout(self.path)} | awk 'NF>{self.dimension}' > "
            f"{shlex.quote(f'{self.path}.whole')}",
        )


def text_layout(path: Path) -> TextLayout:
    """Find how the lines of a file are cut.

    Raises:
        AuxiliaryVectorsError: it is not readable, or its first lines are not words with numbers.
    """
    start = beginning(path, MAX_LINE)
    lines = start.removeprefix(_BOM).split(b"\n")
    if len(start) == MAX_LINE:
        lines.pop()  # it is cut
    lines = [line for line in (line.rstrip(b" \t\r") for line in lines[: _SAMPLE + 1]) if line]
    if not lines:
        raise _no_vectors(path, start[:80])
    header = read_header(lines[0])
    rows = lines if header is None else lines[1:]
    if not rows:
        raise AuxiliaryVectorsError(
            f"{path} is truncated: it has a header and no words", "get the file again"
        )
    counts = Counter(_n_numbers(fields_of(row)) for row in rows)
    dimension = counts.most_common(1)[0][0]
    if header is not None and header[1] in counts:
        dimension = header[1]
    if dimension < 1:
        raise _no_vectors(path, rows[0])
    check_encoding(path, [b" ".join(fields_of(row)[:-dimension]) for row in rows])
    fitting = [row for row in rows if _n_numbers(fields_of(row)) >= dimension]
    exact = [sign for sign in _SEPARATORS if all(_cut_at(sign, row, dimension) for row in fitting)]
    return TextLayout(path, dimension, exact[0] if exact else None, header)


def fields_of(line: bytes) -> list[bytes]:
    """Cut a line at blanks and tabs; words may hold any other white space."""
    return _BLANKS.split(line)


def read_header(line: bytes) -> tuple[int, int] | None:
    """Return the number of words and of dimensions if that is what the line says."""
    fields = fields_of(line)
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 16 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def check_encoding(path: Path, words: list[bytes]) -> None:
    """Make sure that words are UTF-8, but for a few that were cut or broken.

    Raises:
        AuxiliaryVectorsError: they are in another encoding.
    """
    broken = [word for word in words if not is_utf8(word)]
    if too_many_broken(len(broken), len(words)):
        raise not_utf8(path, len(broken), len(words), broken[0])


def not_utf8(
    path: Path, n_broken: int, n_words: int, word: bytes, *, is_binary: bool = False
) -> AuxiliaryVectorsError:
    """Return the refusal of a file in another encoding."""
    way = (
        f"convert it: {to_stdout(path)} | iconv -f LATIN1 -t UTF-8 > {shlex.quote(f'{path}.utf8')}"
    )
    if is_binary:  # its numbers are no text
        way = "let gensim write it as text: " + python_command(
            "from gensim.models import KeyedVectors; KeyedVectors.load_word2vec_format("
            f"{str(path)!r}, binary=True, encoding='latin-1')"
            f".save_word2vec_format({str(path.with_suffix('.vec'))!r})"
        )
    return AuxiliaryVectorsError(
        f"{path} is not UTF-8: {n_broken:,} of {n_words:,} words are not, such as {excerpt(word)}",
        f"if it is Latin-1, {way}",
    )


def too_many_broken(n_broken: int, n_words: int) -> bool:
    """Tell whether so many words that are not UTF-8 mean another encoding."""
    return n_broken > max(1, _NOT_UTF8 * n_words)


def is_utf8(word: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    if word.isascii():
        return True
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def excerpt(line: bytes) -> str:
    """Show the beginning of a line in quotes."""
    text = line.decode(errors="replace")
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _lines(path: Path, file: io.BufferedIOBase) -> Iterator[bytes]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b"")):
        if len(line) > MAX_LINE:
            raise AuxiliaryVectorsError(
                f"{path}, line {number + 1} is longer than {MAX_LINE:,} bytes: "
                f"{excerpt(line[:80])}",
                f"look at it: {to_stdout(path)} | tail -n +{number + 1} | head -c 200",
            )
        yield (line.removeprefix(_BOM) if number == 0 else line).rstrip(b" \t\r\n")


def _n_numbers(fields: list[bytes]) -> int:
    """Count the numbers at the end of a line, whose first field is its word."""
    for count, field in enumerate(reversed(fields[1:])):
        if not is_number(field):
            return count
    return max(len(fields) - 1, 0)


def is_number(field: bytes) -> bool:
    """Tell whether a field is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _cut_at(separator: bytes, row: bytes, dimension: int) -> bool:
    fields = row.rsplit(separator, dimension)
    return len(fields) == dimension + 1 and all(map(is_number, fields[1:]))


def _no_vectors(path: Path, line: bytes) -> AuxiliaryVectorsError:
    name, out = shlex.quote(str(path)), shlex.quote(f"{path}.vec")
    fields = line.split()
    what = f"{path} holds no word vectors that saltlm knows: it begins with {excerpt(line)}"
    if line.count(b",") > 1 and len(fields) == 1:
        return AuxiliaryVectorsError(
            f"{path} is a table with commas (CSV): {excerpt(line)}",
            "write it with blanks: "
            + python_command(
                "import csv; [print(*row) for row in "
                f"csv.reader(open({str(path)!r}, encoding='utf-8'))]"
            )
            + f" > {out}",
        )
    if len(fields) > 2 and all(is_number(f.replace(b",", b".")) for f in fields[1:]):
        return AuxiliaryVectorsError(
            f"{path} has decimal commas: {excerpt(line)}",
            f"write points: sed -E 's/([0-9]),([0-9])/\\1.\\2/g' {name} > {out}",
        )
    return AuxiliaryVectorsError(
        what, "a line is a word and its numbers; docs/vectors.md lists every format that is read"
    )
