"""Token identity: one canonical form for the tokens of every tokenizer family.

A token stands for some bytes, and either begins a word or does not. Byte-level BPE writes both in
its byte alphabet (``ĠfÃ¼r`` for " für"), SentencePiece with ``▁`` and ``<0xNN>``, WordPiece with
``##``. How a vocabulary is spelled is read from the tokenizer's own definition, never guessed from
its strings.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from saltlm.errors import VocabularyError
from saltlm.tokenizer.definition import Definition

# The kinds of a token: text, one byte of byte fallback, special or control token, unused id.
TEXT, BYTE, SPECIAL, HOLE = range(4)

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class Form(NamedTuple):
    """The canonical form of a token: its bytes, possibly half a character, and its place."""

    text: bytes
    begins_word: bool


@dataclass(frozen=True)
class Vocabulary:
    """What every id of a tokenizer stands for.

    Attributes:
        strings: the token as the tokenizer writes it, by id; empty for unused ids.
        forms: the canonical form by id; None for special tokens and unused ids.
        kinds: TEXT, BYTE, SPECIAL or HOLE, by id.
        family: how tokens are spelled: "byte-level BPE", "SentencePiece BPE", "Unigram", ...
        duplicates: the forms that several ids share, with those ids in ascending order.
    """

    strings: tuple[str, ...]
    forms: tuple[Form | None, ...]
    kinds: bytes
    family: str
    duplicates: dict[Form, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.strings)

    @cached_property
    def first_ids(self) -> dict[Form | None, int]:
        """The lowest id of each form."""
        ids = range(len(self.forms) - 1, -1, -1)
        return dict(zip(reversed(self.forms), ids, strict=True))

    def ids_of(self, form: Form) -> tuple[int, ...]:
        """Return the ids of a form in ascending order; none if it is not there."""
        several = self.duplicates.get(form)
        if several is not None:
            return several
        id = self.first_ids.get(form)
        return () if id is None else (id,)


def read_vocabulary(definition: Definition, *, special: Collection[str] = ()) -> Vocabulary:
    """Read the canonical form of every token.

    Args:
        definition: of a byte-level or SentencePiece BPE, Unigram, or WordPiece tokenizer.
        special: tokens to treat as special beside those the tokenizer marks itself, such as role
            tokens and the control tokens of a chat template; unknown ones are ignored.

    Raises:
        VocabularyError: if the tokenizer does not mark where words begin.
    """
    family, form_of = _spelling(definition)
    pieces = definition.pieces
    added = {token["id"]: token["content"] for token in definition.added}
    specials = {*special, definition.unknown, *definition.specials}
    spells_bytes = definition.has_byte_fallback

    size = 1 + max((*pieces, *added), default=-1)
    strings, kinds = [""] * size, bytearray([HOLE]) * size
    forms: list[Form | None] = [None] * size
    for id, string in {**added, **pieces}.items():
        strings[id] = string
        if string in specials:
            kinds[id] = SPECIAL
        elif spells_bytes and (byte := _BYTE_FALLBACK.fullmatch(string)):
            kinds[id], forms[id] = BYTE, Form(bytes.fromhex(byte[1]), False)
        else:
            # Added tokens are literal text. SentencePiece models list their runs of ▁ among them,
            # so there the model's spelling goes first.
            is_literal = id in added and (id not in pieces or family.startswith("byte-level"))
            kinds[id], forms[id] = TEXT, _form(string) if is_literal else form_of(string)
    return Vocabulary(tuple(strings), tuple(forms), bytes(kinds), family, _duplicates(forms))


def spelled_vocabulary(definition: Definition, spellings: Iterable[str]) -> Vocabulary:
    """Return tokens of text, as the model of a tokenizer spells them, as a vocabulary.

    Args:
        definition: of the tokenizer, as in `read_vocabulary`.
        spellings: of the tokens; their ids count on from 0.
    """
    family, form_of = _spelling(definition)
    strings = tuple(spellings)
    forms = tuple(map(form_of, strings))
    return Vocabulary(strings, forms, bytes([TEXT]) * len(strings), family, _duplicates(forms))


def form_spelled(piece: str, family: str) -> Form:
    """Return the form of a piece of text that a tokenizer of a family spells.

    Args:
        piece: as the tokenizer writes it; none that goes on with a prefix or ends with a suffix.
        family: as in `Vocabulary`.
    """
    is_byte_level = family.startswith("byte-level")
    return _read_byte_level(piece) if is_byte_level else _form(piece.replace("▁", " "))


def speller(definition: Definition) -> Callable[[Form], str | None]:
    """Return the inverse of reading: how the model of a tokenizer spells a form.

    The function returns None for half a character, which only the byte alphabet can spell.

    Args:
        definition: of a tokenizer that writes spaces in the byte alphabet or with a mark.
    """

    def spell_text(form: Form) -> str | None:
        text = spoken_text(form)
        return None if text is None else text.replace(" ", mark)

    mark = definition.mark
    return byte_letters if definition.is_byte_level else spell_text


def byte_letters(form: Form) -> str:
    """Return how the byte alphabet spells a form."""
    data = b" " + form.text if form.begins_word else form.text
    return data.decode("latin-1").translate(_LETTER_OF_BYTE)


def spoken_text(form: Form) -> str | None:
    """Return the text of a form with the space that begins it; None for half a character."""
    try:
        text = form.text.decode()
    except UnicodeDecodeError:
        return None
    return " " + text if form.begins_word else text


def _spelling(definition: Definition) -> tuple[str, Callable[[str], Form]]:
    """Return the family and the function that turns the spelling of a piece into its form."""
    kind = definition.kind
    if kind not in ("BPE", "Unigram", "WordPiece"):
        raise VocabularyError(
            f"the tokenizer is a {kind} model, whose tokens do not say where words begin",
            "use a model with a BPE, Unigram or WordPiece tokenizer",
        )
    if suffix := definition.suffix:
        return f"{kind} with ends of words", _suffixed(suffix)
    if definition.is_byte_level:
        return f"byte-level {kind}", _read_byte_level
    if prefix := definition.prefix:
        return kind, _prefixed(prefix, _isolated_by(definition.tokenizer))
    if mark := definition.mark:
        family = "SentencePiece BPE" if kind == "BPE" else kind
        return family, lambda piece: _form(piece.replace(mark, " "))
    raise VocabularyError(
        f"the {kind} tokenizer has no mark for where words begin "
        "(no ByteLevel, Metaspace, Replace or continuing prefix in its definition)",
        "use a model with a byte-level, SentencePiece or WordPiece tokenizer",
    )


def _form(text: str | bytes) -> Form:
    """Turn literal text into a form: a leading space says that the token begins a word."""
    data = text if isinstance(text, bytes) else text.encode()
    return Form(data[1:], True) if data.startswith(b" ") else Form(data, False)


def _byte_alphabet() -> dict[int, str]:
    """Map the code points of the byte alphabet to the bytes' Latin-1 characters.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, are the letters
    from U+0100. What is not in the alphabet maps beyond Latin-1.
    """
    letters = sorted(ord(letter) for letter in ByteLevel.alphabet())
    themselves = [letter for letter in letters if letter < 256]
    others = sorted(set(range(256)).difference(themselves))
    table = dict.fromkeys(others, "\uffff")
    table |= {letter: chr(letter) for letter in themselves}
    return table | {
        letter: chr(byte) for letter, byte in zip(letters[len(themselves) :], others, strict=True)
    }


_BYTE_OF_LETTER = _byte_alphabet()
_LETTER_OF_BYTE = {
    ord(byte): chr(letter) for letter, byte in _BYTE_OF_LETTER.items() if ord(byte) < 256
}


def _read_byte_level(piece: str) -> Form:
    try:
        return _form(piece.translate(_BYTE_OF_LETTER).encode("latin-1"))
    except UnicodeEncodeError:  # not spelled in the byte alphabet: the decoder takes it literally
        return _form(piece)


def _prefixed(prefix: str, is_isolated: Callable[[str], bool]) -> Callable[[str], Form]:
    """Return the reader of WordPiece: ``prefix`` continues a word, all else begins one."""

    def read(piece: str) -> Form:
        if piece.startswith(prefix) and piece != prefix:
            return Form(piece.removeprefix(prefix).encode(), False)
        return Form(piece.encode(), not (len(piece) == 1 and is_isolated(piece)))

    return read


def _suffixed(suffix: str) -> Callable[[str], Form]:
    """Return the reader of pieces that say where words end.

    Most pieces that end a word are the whole of it, so they count as beginning one. Pieces that go
    on do not say where they stand; they count as the inside of a word, so that no two are one form.
    """

    def read(piece: str) -> Form:
        is_end = piece.endswith(suffix)
        return Form(piece.removesuffix(suffix).encode(), is_end)

    return read


def _isolated_by(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """Return a test for the characters that are split off a word whether or not a space is there.

    BERT treats punctuation and CJK so. The tokenizer's own normalizer and pre-tokenizer answer.
    """
    return lambda character: cut_words(tokenizer, "a" + character) == ["a", character]


def cut_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return what a tokenizer's normalizer and pre-tokenizer hand to its model."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _duplicates(forms: Iterable[Form | None]) -> dict[Form, tuple[int, ...]]:
    first: dict[Form, int] = {}
    repeated: dict[Form, tuple[int, ...]] = {}
    for id, form in enumerate(forms):
        if form is not None and (other := first.setdefault(form, id)) != id:
            repeated[form] = (*repeated.get(form, (other,)), id)
    return repeated
