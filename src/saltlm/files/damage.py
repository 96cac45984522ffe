"""What others wrote may be damaged in any way; the reader names the file, and what to do."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saltlm.errors import SaltlmError

_POINTER = b"version https://git-lfs.github.com/spec/"


def check_fetched(file: Path, kind: type[SaltlmError]) -> None:
    """Refuse what Git LFS leaves in the place of a file that it has not fetched.

    Args:
        file: where it is.
        kind: of the error.

    Raises:
        SaltlmError: of this kind.
        OSError: the file cannot be read.
    """
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise kind(
                f"{file} is a Git LFS pointer, not the file itself",
                f"fetch the file itself: git -C {shlex.quote(str(file.parent))} lfs pull",
            )


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust gave up: no `Exception`, though it stops nothing but a call."""
    return type(error).__name__ == "PanicException"


@contextmanager
def reading(what: object, kind: type[SaltlmError], hint: str) -> Iterator[None]:
    """Turn whatever breaks while others' data is read into an error of saltlm.

    Libraries raise errors of their own on what they did not expect, and none of them lists which.

    Args:
        what: the file or directory.
        kind: of the error.
        hint: what to do about it.

    Raises:
        SaltlmError: of this kind; one that says more passes as it is.
    """
    try:
        yield
    except (SaltlmError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise kind(f"{what} is damaged: {type(error).__name__}: {reason}", hint) from error
