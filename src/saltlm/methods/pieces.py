"""Rows of a new token's pieces in the source's tokenizer: their mean (FVT), or the first one's."""

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from saltlm.methods.inputs import Fitted, MethodInputs, Rows, Texts, bag_rows
from saltlm.methods.linear_algebra import column_mean
from saltlm.tokenizer.cut_form import form_cutter
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form


def fvt(
    inputs: MethodInputs,
    *,
    word_start: Annotated[
        bool, Field(description="cut ' Haus' and 'Haus' apart, where the tokenizer tells them")
    ] = False,
    weights: Annotated[
        Literal["equal", "length"], Field(description="of the pieces; length in bytes")
    ] = "equal",
) -> Fitted:
    """Return the mean of the pieces' rows (FVT, Gee et al. 2022).

    The original drops the mark of a word's start before it cuts a token. A token whose text is not
    valid UTF-8 is made of the source's rows of single bytes, and one without any piece is the
    mean source row.

    Raises:
        ConfigError: the inputs have no texts.
    """
    texts = inputs.read_texts("fvt")
    pieces = source_pieces(texts, set(inputs.held_out_ids.tolist()), word_start=word_start)
    sizes = [[_length(texts.source_forms[id]) for id in ids] for ids in pieces]
    shares = [
        [size / sum(row) if weights == "length" else 1 / len(row) for size in row] for row in sizes
    ]
    # One more row than the source has, which stands for the mean.
    nothing = inputs.n_source_tokens
    filled = [ids or [nothing] for ids in pieces]
    flat = torch.tensor([id for ids in filled for id in ids], dtype=torch.int64)
    coefficients = torch.tensor([share for row in shares for share in (row or [1.0])])
    offsets = torch.tensor([0, *map(len, filled)]).cumsum(0)
    used, indices = flat.unique(return_inverse=True)

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        rows = table[used.clamp_max(len(table) - 1)].float()
        rows[used == nothing] = column_mean(table, inputs.source_ids).float()
        return bag_rows(rows, offsets, indices, coefficients)

    return Fitted(fill)


def first_piece(
    inputs: MethodInputs,
    other: Fitted,
    *,
    share: Annotated[
        float, Field(ge=0, le=1, description="of the first piece's row; the rest is the method's")
    ] = 0.5,
) -> Fitted:
    """Return rows of the head: half that of the token's first piece, half another method's.

    Where the source would have begun to write the token, it gave its first piece; so that piece's
    row knows when the token is due. A token without any piece gets the other method's row.

    Raises:
        ConfigError: the inputs have no texts.
    """
    texts = inputs.read_texts("first-piece")
    pieces = source_pieces(texts, set(inputs.held_out_ids.tolist()), word_start=True)
    first = torch.tensor([ids[0] if ids else 0 for ids in pieces], dtype=torch.int64)
    shares = torch.tensor([share if ids else 0.0 for ids in pieces]).unsqueeze(1)

    def fill(table: Float[Tensor, "v_s h"]) -> Rows:
        rows = other.fill(table)
        return lambda part: torch.lerp(rows(part), table[first[part]].float(), shares[part])

    return Fitted(fill, other.neighbours, other.fit)


def source_pieces(texts: Texts, held_out: Collection[int], *, word_start: bool) -> list[list[int]]:
    """Return the source's ids of each new token's text, none of them held out."""
    definition = without(texts.source, held_out)
    tokenizer = definition.tokenizer
    allowed = {
        id for id, form in enumerate(texts.source_forms) if form is not None and id not in held_out
    }
    of_byte = {
        form.text: id
        for id, form in reversed(list(enumerate(texts.source_forms)))
        if id in allowed and form is not None and len(form.text) == 1 and not form.begins_word
    }
    adds_space = _adds_space(tokenizer, texts.source_forms)
    strings = [_string(form, word_start and not adds_space) for form in texts.new_forms]
    encodings = tokenizer.encode_batch([s or "" for s in strings], add_special_tokens=False)
    cut_inside = form_cutter(definition) if word_start and adds_space else None

    def pieces_of(form: Form | None, string: str | None, encoding: Encoding) -> Iterable[int]:
        if form is None or string is None:
            return [of_byte[byte] for byte in _bytes(form) if byte in of_byte]
        return encoding.ids if form.begins_word or cut_inside is None else cut_inside(form)

    return [
        [id for id in pieces_of(form, string, encoding) if id in allowed]
        for form, string, encoding in zip(texts.new_forms, strings, encodings, strict=True)
    ]


def without(definition: Definition, held_out: Collection[int]) -> Definition:
    """Return a definition with the same ids that cuts text as if some tokens did not exist.

    A single character of BPE has no other spelling, so it may come out all the same.
    """
    if not held_out:
        return definition
    gone = {piece for id, piece in definition.pieces.items() if id in held_out}
    model, prefix = definition.model, definition.prefix
    if definition.kind == "BPE":
        merges = [[a, b] for a, b in model["merges"] if a + b.removeprefix(prefix) not in gone]
        definition = definition.with_model(merges=merges, ignore_merges=False)
    elif definition.kind == "Unigram":
        definition = definition.with_model(
            vocab=[[piece, -1e4 if piece in gone else score] for piece, score in model["vocab"]]
        )
    else:
        vocab = model["vocab"].items()
        definition = definition.with_model(
            vocab={f"\0{id}" if piece in gone else piece: id for piece, id in vocab}
        )
    added = [token for token in definition.added if token["id"] not in held_out]
    return definition.replace(added_tokens=added).unbounded()


def _adds_space(tokenizer: Tokenizer, forms: Sequence[Form | None]) -> bool:
    """Tell whether the tokenizer itself makes a word's start of where a text starts."""
    ids = tokenizer.encode("a", add_special_tokens=False).ids
    first = forms[ids[0]] if ids and ids[0] < len(forms) else None
    return first is not None and first.begins_word


def _string(form: Form | None, with_space: bool) -> str | None:
    if form is None:
        return None
    try:
        return " " * (with_space and form.begins_word) + form.text.decode()
    except UnicodeDecodeError:
        return None


def _bytes(form: Form | None) -> Iterable[bytes]:
    return () if form is None else (bytes([byte]) for byte in form.text)


def _length(form: Form | None) -> int:
    return 1 if form is None else max(1, len(form.text) + form.begins_word)
