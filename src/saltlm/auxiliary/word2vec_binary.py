"""word2vec's binary format: a header line, then each word, a blank and its float32 numbers."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Float

from saltlm.auxiliary.containers import beginning, read_up_to
from saltlm.auxiliary.word2vec_text import excerpt, fields_of, is_number, read_header
from saltlm.errors import AuxiliaryVectorsError

MAX_DIMENSION = 2**16
_MAX_WORD = 2**14  # bytes
_BLOCK = 2**20
_START = 2**13


@dataclass(frozen=True)
class BinaryLayout:
    """What the header of a binary file says.

    Attributes:
        path: the file.
        dimension: numbers of a word.
        header: the number of words, and of dimensions again.
    """

    path: Path
    dimension: int
    header: tuple[int, int]

    def entries(self, file: io.BufferedIOBase) -> Iterator[tuple[bytes, bytes]]:
        """Yield each word and the bytes of its numbers, also of words that the header leaves out.

        Raises:
            AuxiliaryVectorsError: the file ends too early, or has something else than words.
        """
        file.readline(_START)
        rest, place, size = b"", 0, 4 * self.dimension
        for index in count():
            is_beyond = index >= self.header[0]
            end = rest.find(b" ", place)
            if end < 0 or len(rest) < end + 1 + size:
                rest = rest[place:] + read_up_to(file, max(_BLOCK, size + _MAX_WORD))
                place, end = 0, rest.find(b" ")
                if end < 0 or len(rest) < end + 1 + size:
                    if is_beyond:
                        return
                    raise AuxiliaryVectorsError(
                        f"{self.path} is truncated or damaged: its header promises "
                        f"{self.header[0]:,} words, it ends in word {index + 1:,}",
                        "get the file again",
                    )
            word = rest[place:end].lstrip(b"\n")
            if end - place > _MAX_WORD or b"\0" in word:
                if is_beyond:
                    return
                raise AuxiliaryVectorsError(
                    f"{self.path} is damaged: its word {index + 1:,} is {excerpt(word[:80])}",
                    "get the file again",
                )
            place = end + 1 + size
            yield word, rest[end + 1 : place]

    def numbers(self, data: bytes) -> Float[np.ndarray, " d"]:
        """Read the numbers of a word."""
        return np.frombuffer(data, "<f4").astype(np.float32)


def binary_layout(path: Path) -> BinaryLayout | None:
    """Return what the header says if the file is word2vec's binary format, else None.

    Raises:
        AuxiliaryVectorsError: it cannot be read, or its header cannot be.
    """
    start = beginning(path, _START)
    line, newline, rest = start.partition(b"\n")
    header = read_header(line)
    if header is None or not newline or not _is_binary(rest, header[1]):
        return None
    if not 1 <= header[1] <= MAX_DIMENSION:
        raise AuxiliaryVectorsError(
            f"{path} asks for {header[1]:,} numbers a word, more than {MAX_DIMENSION:,}",
            "get the file again",
        )
    return BinaryLayout(path, header[1], header)


def _is_binary(rest: bytes, dimension: int) -> bool:
    """Tell whether what follows the header is no line of text, and has bytes that text has not.

    A line of fewer numbers than the header says is text under a wrong header, in whatever encoding,
    or the beginning of a row whose bytes happen to be a number and a line's end.
    """
    _, *numbers = fields_of(rest.partition(b"\n")[0].rstrip(b" \t\r"))
    is_line = bool(numbers) and all(map(is_number, numbers[-max(dimension, 1) :]))
    if is_line and len(numbers) >= dimension:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(rest)  # which may end within a character
    except UnicodeDecodeError:
        if not is_line:
            return True
    return any(byte in rest for byte in range(9))
