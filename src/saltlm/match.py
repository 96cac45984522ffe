"""Which source row each token of the new vocabulary shares, by canonical form."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from saltlm.config import Match
from saltlm.tokens import Form, Vocabulary

_Index = dict[Form, list[int]]


@dataclass(frozen=True)
class VocabularyMatch:
    """Where the rows of the new vocabulary can come from, one entry per new id.

    Attributes:
        plm_ids: the token's row in the PLM; -1 if it has none (carried special tokens).
        source_ids: the source row it copies, shared or special; -1 if the token is new.
        is_special: whether that row is carried by role, as a special token of the source.
    """

    plm_ids: Int64[Tensor, " v"]
    source_ids: Int64[Tensor, " v"]
    is_special: Bool[Tensor, " v"]


def match_vocabularies(
    plm: Vocabulary,
    source: Vocabulary,
    *,
    plm_ids: Int64[Tensor, " v"],
    source_special_ids: Int64[Tensor, " v"],
    n_rows: int,
    mode: Match = "exact",
) -> VocabularyMatch:
    """Find the source row of every token of the new vocabulary.

    Two tokens are the same if their canonical forms are. Of several source tokens with one form
    the token takes the one of its own kind (text, or a byte of byte fallback), then the one that is
    spelled alike, then the lowest id.

    Args:
        plm: the PLM's vocabulary.
        source: the source LLM's vocabulary.
        plm_ids: the PLM id of each new id, -1 for tokens that the PLM lacks.
        source_special_ids: the source id of each carried special token, -1 for all others.
        n_rows: rows of the source's tables; tokens beyond them have nothing to copy.
        mode: "exact"; "symbols" also matches digits and punctuation whether or not they begin a
            word; "casefold" also matches regardless of case. An exact match always goes first.
    """
    loosen = {"exact": None, "symbols": _without_place, "casefold": _without_case}[mode]
    exact = _index_forms(source, n_rows, lambda form: form)
    loose = _index_forms(source, n_rows, loosen) if loosen else {}
    source_ids = []
    for plm_id, special_id in zip(plm_ids.tolist(), source_special_ids.tolist(), strict=True):
        form = plm.forms[plm_id] if plm_id >= 0 else None
        if special_id >= 0 or form is None:
            source_ids.append(special_id)
            continue
        candidates = exact.get(form)
        if candidates is None and loosen and (loosened := loosen(form)):
            candidates = loose.get(loosened)
        source_ids.append(_closest(candidates, plm, plm_id, source) if candidates else -1)
    return VocabularyMatch(
        plm_ids=plm_ids,
        source_ids=torch.tensor(source_ids, dtype=torch.int64),
        is_special=source_special_ids >= 0,
    )


def _index_forms(source: Vocabulary, n_rows: int, key_of: Callable[[Form], Form | None]) -> _Index:
    index: _Index = {}
    for id, form in enumerate(source.forms[:n_rows]):
        if form is not None and (key := key_of(form)) is not None:
            index.setdefault(key, []).append(id)
    return index


def _closest(candidates: list[int], plm: Vocabulary, plm_id: int, source: Vocabulary) -> int:
    if len(candidates) == 1:
        return candidates[0]
    kind, string = plm.kinds[plm_id], plm.strings[plm_id]
    return min(
        candidates, key=lambda id: (source.kinds[id] != kind, source.strings[id] != string, id)
    )


def _without_place(form: Form) -> Form | None:
    """Return digits and punctuation without their place; None for anything else."""
    text = _decode(form.text)
    if text and all(unicodedata.category(character)[0] in "NPS" for character in text):
        return Form(form.text, False)
    return None


def _without_case(form: Form) -> Form | None:
    """Return the form without case; None for half characters, which have none."""
    text = _decode(form.text)
    return None if text is None else Form(text.casefold().encode(), form.begins_word)


def _decode(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
