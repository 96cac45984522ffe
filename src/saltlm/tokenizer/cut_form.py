"""The pieces of a token's text, as it stands at a word's start or inside a word."""

from collections.abc import Callable

from tokenizers import Tokenizer

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form, cut_words


def form_cutter(definition: Definition) -> Callable[[Form], list[int]]:
    """Return the function that cuts a form into token ids, the unknown one among them.

    The form's text runs through the tokenizer's normalizer and pre-tokenizer. Its first word gets
    the mark of a word's begin if the form has it, whatever the tokenizer puts before a text.
    """
    tokenizer, mark, prefix = definition.tokenizer, definition.mark, definition.prefix
    unknown_id = definition.unknown_id

    def cut(form: Form) -> list[int]:
        # WordPiece splits punctuation off a word, which shows only where a word goes before.
        continues = bool(prefix) and not form.begins_word
        try:
            text = ("a" if continues else " ") + form.text.decode()
        except UnicodeDecodeError:
            return []
        first, *words = cut_words(tokenizer, text) or [""]
        ids: list[int] = []
        if continues:
            ids += _inside_word(tokenizer, prefix, first[1:], unknown_id)
        else:
            words.insert(0, (mark if form.begins_word else "") + first.lstrip(mark))
        ids += (token.id for word in words if word for token in tokenizer.model.tokenize(word))
        return ids

    return cut


def _inside_word(tokenizer: Tokenizer, prefix: str, text: str, unknown: int) -> list[int]:
    """Return WordPiece's longest matches for text inside a word; unk if a part has none."""
    ids: list[int] = []
    while text:
        ends = range(len(text), 0, -1)
        matches = ((end, tokenizer.token_to_id(prefix + text[:end])) for end in ends)
        end, id = next(((end, id) for end, id in matches if id is not None), (len(text), None))
        ids.append(unknown if id is None else id)
        text = text[end:]
    return ids
