"""What sort of token it is, and of which script."""

import unicodedata

from saltlm.tokenizer.vocabulary import BYTE, Form


def token_kind(form: Form | None, kind: int) -> str:
    """Return what sort of token it is: word start, inside a word, digits, symbols or bytes."""
    text = _text(form)
    if kind == BYTE or text is None:
        return "bytes"
    if text and all(character.isdigit() for character in text):
        return "digits"
    if not any(character.isalnum() for character in text):
        return "symbols"
    return "word start" if form is not None and form.begins_word else "inside a word"


def script_of(form: Form | None) -> str:
    """Return the script of a token's first letter, as Unicode names it, or "no letters"."""
    letter = next((c for c in _text(form) or "" if c.isalpha()), None)
    if letter is None:
        return "no letters"
    return unicodedata.name(letter, "UNNAMED").split()[0].capitalize()


def _text(form: Form | None) -> str | None:
    try:
        return form.text.decode() if form is not None else None
    except UnicodeDecodeError:
        return None
