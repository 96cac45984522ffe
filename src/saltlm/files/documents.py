"""Text files: documents, one a line, plain or gzipped; and files that are replaced at once."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

from saltlm.errors import ConfigError


def documents(files: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of the files that are not blank, without white space around them.

    Raises:
        ConfigError: a file that cannot be read or is not UTF-8.
    """
    for file in files:
        for line in lines(file):
            if text := line.strip():
                yield text


def lines(file: Path) -> Iterator[str]:
    """Yield the lines of a file without their ends.

    Raises:
        ConfigError: the file cannot be read or is not UTF-8.
    """
    try:
        opener = gzip.open if _is_gzip(file) else open
        with opener(file, "rt", encoding="utf-8", newline="\n") as opened:
            for line in opened:
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file} is not UTF-8: {error.reason} at byte {error.start}",
            f"convert it: iconv -t UTF-8 {file} > {file}.utf8",
        ) from error
    except (OSError, EOFError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def check_corpus(files: Sequence[Path]) -> None:
    """Make sure that there is text to read.

    Raises:
        ConfigError: there is no file, one cannot be read, or no line holds text.
    """
    if next(documents(files), None) is None:
        names = ", ".join(map(str, files)) or "none was given"
        raise ConfigError(
            f"the corpus has no text ({names})", "give --corpus a file with one document a line"
        )


def _is_gzip(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"
