"""Plain text: a document is a line, or what stands between blank lines, as in CC-100."""

from collections.abc import Iterator

from saltlm.files.bad_rows import BadRow, checked
from saltlm.files.characters import LONGEST, Characters, too_long

_FEW_LINES = 32  # of a document, in the mean; with more, blank lines are accidents
_DOCUMENTS = 3  # before blank lines are taken to mean something


def has_paragraphs(characters: Characters) -> bool:
    """Whether blank lines end documents, by the beginning of the file.

    They do if they stand between groups of lines, at least three of them, and the groups are short.
    """
    n_lines = n_groups = 0
    is_inside = False
    for line in characters.head.split(characters.end):
        is_text = bool(line.strip())
        n_lines += is_text
        n_groups += is_text and not is_inside
        is_inside = is_text
    return n_groups >= _DOCUMENTS and n_groups < n_lines <= _FEW_LINES * n_groups


def line_texts(characters: Characters) -> Iterator[str | BadRow]:
    """Yield each line that is not blank."""
    for number, line in enumerate(characters.lines(), 1):
        if line and not line.isspace():
            yield checked(f"line {number}", line)


def paragraph_texts(characters: Characters) -> Iterator[str | BadRow]:
    """Yield what stands between blank lines, with the line breaks inside."""
    lines: list[str] = []
    size = 0
    for number, line in enumerate(characters.lines(), 1):
        if line and not line.isspace():
            lines.append(line)
            size += len(line)
            if size > LONGEST:
                raise too_long(characters.path, "a paragraph")
        elif lines:
            yield checked(f"line {number - len(lines)}", "\n".join(lines))
            lines, size = [], 0
    if lines:
        yield checked("the last lines", "\n".join(lines))
