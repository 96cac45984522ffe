"""The source's tokens for what no language has of its own: bytes, white space, digits, symbols.

They come along with their rows, so that the new model writes every text that the source could.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.spacing import ESCAPE
from saltlm.tokenizer.vocabulary import BYTE, TEXT, Form, Vocabulary, byte_letters, spoken_text

UTF8_LETTERS = {
    byte_letters(Form(bytes([byte]), False)) for byte in range(0xF5) if byte not in (0xC0, 0xC1)
}
"""How the byte alphabet spells the bytes that occur in UTF-8."""

_SPACING = {byte_letters(Form(char.encode(), False)) for char in (" ", ESCAPE)}
_DIGITS = "1234567890" * 2
_MOST_DIGITS = 3


@dataclass(frozen=True)
class Carried:
    """Tokens of the source, spelled in the byte alphabet.

    Attributes:
        spells_bytes: whether the source spells any text in bytes.
        letters: single bytes; if it does, all that occur in UTF-8, although a source may lack a
            few control characters. Those that `Spacing` writes are always there.
        runs: white space of several characters, and the numbers that the source takes at once.
        symbols: one character that is no letter or digit, with a space before it or not; letters
            as well if the source cannot spell them in bytes.
        merges: the source's merges that lead to the runs, if it is a BPE.
        source_ids: the source's id of each of its tokens, as the byte alphabet spells them.
    """

    spells_bytes: bool
    letters: frozenset[str]
    runs: tuple[str, ...]
    symbols: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    source_ids: Mapping[str, int]


def carried_tokens(source: Definition, vocabulary: Vocabulary, digits: int | None) -> Carried:
    """Return the tokens of a source that a new vocabulary needs beside the PLM's.

    Args:
        source: the source's tokenizer.
        vocabulary: what its ids stand for.
        digits: how many the new tokenizer takes at once; None if that is left to the PLM.
    """
    source_ids: dict[str, int] = {}
    runs: list[str] = []
    symbols: list[str] = []
    spells_bytes = source.is_byte_level or source.has_byte_fallback
    ids = range(len(vocabulary))
    for id in sorted(ids, key=lambda id: vocabulary.kinds[id] == BYTE):  # bytes last
        form = vocabulary.forms[id]
        if form is None or vocabulary.kinds[id] not in (TEXT, BYTE):
            continue
        spelling, text = byte_letters(form), spoken_text(form)
        if source_ids.setdefault(spelling, id) != id or len(spelling) == 1 or text is None:
            continue
        if text.isspace() or (digits and text.isdecimal() and len(text) <= digits):
            runs.append(spelling)
        elif len(char := text.removeprefix(" ")) == 1 and not (spells_bytes and char.isalnum()):
            symbols.append(spelling)
    merges = tuple(_merges(source, vocabulary, source_ids, {*runs}))
    letters = (
        UTF8_LETTERS if spells_bytes else {letter for letter in source_ids if len(letter) == 1}
    )
    return Carried(
        spells_bytes, frozenset(letters | _SPACING), tuple(runs), tuple(symbols), merges, source_ids
    )


def _merges(
    source: Definition, vocabulary: Vocabulary, source_ids: Mapping[str, int], runs: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield the merges that lead to the runs, in their order."""
    spelled = {vocabulary.strings[id]: spelling for spelling, id in source_ids.items()}
    for a, b in source.model.get("merges", ()):
        pair = spelled.get(a, ""), spelled.get(b, "")
        if "".join(pair) in runs and all(len(part) == 1 or part in runs for part in pair):
            yield pair


def digits_at_once(source: Definition) -> int | None:
    """Return how many digits a source takes at once, if that is a rule: one each, or by threes.

    None if it has learnt numbers as it has learnt words.
    """
    found = source.tokenizer.encode(_DIGITS, add_special_tokens=False).tokens
    sizes = [n for token in found if (n := sum(char.isdigit() for char in token))]
    at_once = sizes[0] if sizes else 0
    is_rule = sum(sizes) == len(_DIGITS) and all(size == at_once for size in sizes[:-1])
    numbers = (token for token in source.ids if token.isdigit() and token.isascii())
    longest = max(map(len, numbers), default=0)
    return at_once if is_rule and longest <= at_once <= _MOST_DIGITS else None


def joins_line_breaks(source: Definition) -> bool:
    """Tell whether a source takes two line breaks before a word as one token."""
    one, two = (source.tokenizer.encode(f"a{breaks}b") for breaks in ("\n", "\n\n"))
    return len(one) == len(two)
