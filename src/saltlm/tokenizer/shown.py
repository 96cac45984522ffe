"""Tokens as people can see them: spaces, halves of characters and invisible characters named."""

import unicodedata

from saltlm.tokenizer.vocabulary import Form, Vocabulary, spoken_text

SPACE = "␣"
_JOINERS = "\u200c\u200d"  # part of the spelling of words, where they stand among letters


def visible(text: str) -> str:
    """Return text in which every character can be seen, and none can act on what stands around.

    A space is ``␣``, a control character its picture (``␊``), and what is invisible (marks of
    direction, other spaces) is ``⟨U+202E⟩``. A combining mark at the beginning stands on ``◌``.
    """
    if text.isprintable():
        shown = text.replace(" ", SPACE)
    else:
        has_letter = any(character.isalpha() for character in text)
        shown = "".join(_visible(character, has_letter) for character in text)
    is_mark = bool(text) and unicodedata.category(text[0]).startswith("M")
    return "◌" * is_mark + shown


def _visible(character: str, in_word: bool) -> str:
    if character == " ":
        return SPACE
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if character in _JOINERS and in_word:
        return character
    if unicodedata.category(character)[0] in "CZ":
        return f"⟨U+{ord(character):04X}⟩"
    return character


def shown_form(form: Form) -> str:
    """Return a token's form as people can see it; the bytes of half a character in hexadecimal."""
    text = spoken_text(form)
    if text is not None:
        return visible(text)
    return SPACE * form.begins_word + "⟨" + form.text.hex(" ").upper() + "⟩"


def shown_token(vocabulary: Vocabulary, id: int) -> str:
    """Return a token as people can see it; a special token as it is written."""
    form = vocabulary.forms[id]
    return visible(vocabulary.strings[id]) if form is None else shown_form(form)


def shown_tokens(vocabulary: Vocabulary) -> list[str]:
    """Return every token as people can see it, by id."""
    return [shown_token(vocabulary, id) for id in range(len(vocabulary))]
