"""Bytes as lines of characters: encodings told apart, named, and broken lines marked."""

import codecs
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

from saltlm.errors import DataError
from saltlm.files.binary import refuse_bytes
from saltlm.files.compression import HEAD, Unpacked
from saltlm.files.source import Source

LONGEST = 1 << 26  # characters of a document: more than this is no text with line ends
_MARKS = {  # the longer first: UTF-32's begins as UTF-16's
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_SAMPLE = 1 << 14  # bytes that an old encoding is guessed from
_ALPHABETS = (  # beyond ASCII, in languages that are written in Latin-1
    *("äöüß", "àâçéèêëîïôöûùüÿœæ", "áàéèíïóòúüçñ", "àèéìíòóùú", "áâãàçéêíóôõúü", "åäöé"),
    *("æøåéòô", "áðéíóúýþæö", "äëïéèöüáóíúàê", "õäöüšž"),
)
_SIGNS = "\xa0ªº«»‹›„“”‚‘’–—…•·°§€£©®™¿¡²³½¼"
_LATIN = range(0x20, 0x100)


class Characters(NamedTuple):
    """A file as characters.

    Attributes:
        path: of the file.
        stream: its bytes, behind the mark of their encoding.
        encoding: Python's name of it.
        head: its first characters, up to a line's end where there is more; bytes that are none
            are surrogates.
        end: what ends a line.
    """

    path: Path
    stream: io.BufferedIOBase
    encoding: str
    head: str
    end: str

    def lines(self) -> Iterator[str]:
        """Yield the lines without their ends; see `is_broken`.

        Raises:
            DataError: a line is longer than any text, or UTF-16 is broken.
        """
        with self.text() as text:
            while line := text.readline(LONGEST):
                if len(line) == LONGEST:
                    raise too_long(self.path, "a line")
                yield line.rstrip("\r\n")

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """Open the characters; bytes that are none are surrogates.

        Raises:
            DataError: UTF-16 is broken; also while it is read.
        """
        errors = "surrogateescape" if _is_bytewise(self.encoding) else "strict"
        text = io.TextIOWrapper(cast(Any, self.stream), self.encoding, errors, newline=self.end)
        try:
            yield text
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path} is not {self.encoding}: {error.reason}",
                f"name its encoding: {self.path}#encoding:NAME",
            ) from error
        finally:
            if not self.stream.closed:  # else a reader that was left goes after its file
                text.detach()


def too_long(path: Path, what: str) -> DataError:
    """Return the error for a document that is longer than any text."""
    return DataError(
        f"{path} has {what} of more than {LONGEST:,} characters",
        "split it into documents, one a line",
    )


def characters(path: Path, opened: Unpacked, source: Source) -> Characters:
    """Find the encoding of a file of text.

    Args:
        path: of the file, for messages.
        opened: its bytes.
        source: may name the encoding.

    Raises:
        DataError: the encoding is none that can be told.
    """
    head = opened.head
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or source.encoding or _encoding_of(path, head, source)
    opened.stream.seek(len(mark))
    errors = "surrogateescape" if _is_bytewise(encoding) else "ignore"
    text = head[len(mark) :].decode(encoding, errors)
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    if len(head) == HEAD and end in text:
        text = text[: text.rindex(end) + 1]
    return Characters(path, opened.stream, encoding, text, end)


def is_broken(text: str) -> bool:
    """Whether some of a text's bytes were no characters of its encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_bytewise(encoding: str) -> bool:
    """Whether a broken character does not take the next line with it."""
    return not encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))


def _encoding_of(path: Path, head: bytes, source: Source) -> str:
    if 0 in head:
        for encoding in ("utf-16-le", "utf-16-be"):
            if _explains_zeros(head, encoding):
                return encoding
    refuse_bytes(path, head)
    lines = head.split(b"\n")
    if len(head) == HEAD:
        lines.pop()
    foreign = [line for line in lines if not line.isascii()]
    n_broken = sum(not _is_utf8(line) for line in foreign)
    if n_broken <= max(len(foreign) / 2, source.bad * len(lines)):
        return "utf-8"
    return _old_encoding(path, b"\n".join(foreign)[:_SAMPLE], source)


def _explains_zeros(head: bytes, encoding: str) -> bool:
    """Whether zero bytes are halves of Latin letters and of spaces: UTF-16 without its mark."""
    text = head.decode(encoding, "ignore")
    n_latin = sum(ord(character) in _LATIN or character.isspace() for character in text)
    return n_latin > 0.9 * head.count(0) and any(character in " \n" for character in text)


def _old_encoding(path: Path, sample: bytes, source: Source) -> str:
    """Return Western Europe's encoding if the text can be that; any other is to be named."""
    if _is_western(sample):
        return "cp1252"
    guess = _guess(sample)
    raise DataError(
        f"{path} is not UTF-8" + (f"; it may be {guess}" if guess else ""),
        f"name its encoding: {source.with_options(encoding=guess or 'NAME')}",
    )


def _is_western(sample: bytes) -> bool:
    """Whether nearly all letters beyond ASCII are those of one language of Western Europe.

    Another old encoding gives letters that no one language has beside each other: Turkish in
    cp1254 has the thorn of Icelandic and the c with cedilla of French.
    """
    try:
        text = sample.decode("cp1252").lower()
    except UnicodeDecodeError:
        return False
    foreign = Counter(character for character in text if not character.isascii())
    return any(
        sum(foreign[character] for character in alphabet + _SIGNS) >= 0.95 * foreign.total()
        for alphabet in _ALPHABETS
    )


def _guess(sample: bytes) -> str | None:
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return None
    best = from_bytes(sample).best()
    return None if best is None else str(best.encoding)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
