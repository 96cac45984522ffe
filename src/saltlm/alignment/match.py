"""Which source row each token of the new vocabulary shares, by canonical form."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from saltlm.config.transfer import Match
from saltlm.tokenizer.vocabulary import TEXT, Form, Vocabulary

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


@dataclass(frozen=True)
class FurtherAnchors:
    """Tokens that the whole PLM shares with the source and that the new model does not have.

    Attributes:
        plm_ids: their rows in the PLM.
        source_ids: their rows in the source, none of which the new model copies.
        names: as the source writes them.
    """

    plm_ids: Int64[Tensor, " further"]
    source_ids: Int64[Tensor, " further"]
    names: tuple[str, ...]


def no_further_anchors() -> FurtherAnchors:
    """Return none."""
    none = torch.zeros(0, dtype=torch.int64)
    return FurtherAnchors(none, none, ())


def further_anchors(
    match: VocabularyMatch,
    plm: Vocabulary,
    source: Vocabulary,
    *,
    n_rows: int,
    mode: Match = "exact",
) -> FurtherAnchors:
    """Return the tokens that two vocabularies share beyond those of the new model.

    Of several with one row of the source, the first in the PLM counts, one of text before a byte.

    Args:
        match: where the new model's rows come from.
        plm: the whole PLM's vocabulary.
        source: the source LLM's vocabulary.
        n_rows: rows of the source's tables.
        mode: what counts as the same token; see `match_vocabularies`.
    """
    ids = torch.arange(len(plm))
    ids[match.plm_ids[(match.plm_ids >= 0) & (match.plm_ids < len(plm))]] = -1
    found = same_tokens(plm, source, ids=ids, n_rows=n_rows, mode=mode)
    matches = [(plm.kinds[id] != TEXT, id) for id in (found >= 0).nonzero().squeeze(1).tolist()]
    pairs: dict[int, int] = {}
    for _, plm_id in sorted(matches):
        pairs.setdefault(int(found[plm_id]), plm_id)
    for source_id in match.source_ids.tolist():
        pairs.pop(source_id, None)
    return FurtherAnchors(
        torch.tensor(list(pairs.values()), dtype=torch.int64),
        torch.tensor(list(pairs), dtype=torch.int64),
        tuple(source.strings[source_id] for source_id in pairs),
    )


def match_vocabularies(
    plm: Vocabulary,
    source: Vocabulary,
    *,
    plm_ids: Int64[Tensor, " v"],
    source_special_ids: Int64[Tensor, " v"],
    source_text_ids: Int64[Tensor, " v"] | None = None,
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
        source_text_ids: the source id of each token of text that the PLM lacks, likewise.
        n_rows: rows of the source's tables; tokens beyond them have nothing to copy.
        mode: "exact"; "symbols" also matches digits and punctuation whether or not they begin a
            word; "casefold" also matches regardless of case. An exact match always goes first.
    """
    ids = torch.where(source_special_ids >= 0, -1, plm_ids)
    found = same_tokens(plm, source, ids=ids, n_rows=n_rows, mode=mode)
    if source_text_ids is not None:
        comes_along = (source_text_ids >= 0) & (source_text_ids < n_rows)
        found = torch.where(comes_along, source_text_ids, found)
    is_special = source_special_ids >= 0
    return VocabularyMatch(
        plm_ids=plm_ids,
        source_ids=torch.where(is_special, source_special_ids, found),
        is_special=is_special,
    )


def match_extension(
    extended: Vocabulary,
    source: Vocabulary,
    plm: Vocabulary,
    *,
    source_special_ids: Int64[Tensor, " v"],
    n_rows: int,
    mode: Match = "exact",
) -> VocabularyMatch:
    """Find both rows of every token where the PLM's tokens were put behind the source's.

    A token of the source keeps its own row. Those that have a PLM row are the ones that would be
    shared if the PLM's vocabulary took the source's place, so of two with one form only one has.
    Padding rows that the new tokens do not fill are kept, as if they were tokens.

    Args:
        extended: the source's vocabulary with the new tokens behind it.
        source: the source LLM's vocabulary.
        plm: the PLM's vocabulary.
        source_special_ids: the id of each special token of the source, -1 for all others.
        n_rows: rows of the source's tables.
        mode: what the new tokens share; see `match_vocabularies`.
    """
    size, everything = len(source), torch.arange(len(extended))
    own, new = everything.tensor_split([size])
    plm_ids = same_tokens(extended, plm, ids=everything)
    chosen = same_tokens(plm, source, ids=torch.arange(len(plm)))[plm_ids[:size].clamp_min(0)]
    plm_ids[:size] = torch.where(chosen == own, plm_ids[:size], -1)
    padding = torch.arange(len(extended), max(len(extended), n_rows))
    none = torch.full_like(padding, -1)
    return VocabularyMatch(
        plm_ids=torch.cat([plm_ids, none]),
        source_ids=torch.cat([own, same_tokens(extended, source, ids=new, mode=mode), padding]),
        is_special=torch.cat([source_special_ids, none]) >= 0,
    )


def selected(match: VocabularyMatch, ids: Int64[Tensor, " v"]) -> VocabularyMatch:
    """Return what a match says of some tokens, in the order given."""
    return VocabularyMatch(match.plm_ids[ids], match.source_ids[ids], match.is_special[ids])


def same_tokens(
    vocabulary: Vocabulary,
    other: Vocabulary,
    *,
    ids: Int64[Tensor, " n"],
    n_rows: int | None = None,
    mode: Match = "exact",
) -> Int64[Tensor, " n"]:
    """Return what stands for each of some tokens in another vocabulary, -1 where nothing does.

    Args:
        vocabulary: of the tokens.
        other: the vocabulary to look in.
        ids: the tokens; -1 for none.
        n_rows: look no further than this in the other vocabulary.
        mode: see `match_vocabularies`.
    """
    loosen = {"exact": None, "symbols": _without_place, "casefold": _without_case}[mode]
    n_rows = len(other) if n_rows is None else n_rows
    loose = _index_forms(other, n_rows, loosen) if loosen else {}
    found, first = [-1] * len(ids), other.first_ids
    for place, id in enumerate(ids.tolist()):
        form = vocabulary.forms[id] if id >= 0 else None
        if form is None or (loosen is None and form not in first):
            continue
        candidates: Sequence[int] = [same for same in other.ids_of(form) if same < n_rows]
        if not candidates and loosen and (loosened := loosen(form)):
            candidates = loose.get(loosened, ())
        if candidates:
            found[place] = _closest(candidates, vocabulary, id, other)
    return torch.tensor(found, dtype=torch.int64)


def _index_forms(other: Vocabulary, n_rows: int, key_of: Callable[[Form], Form | None]) -> _Index:
    index: _Index = {}
    for id, form in enumerate(other.forms[:n_rows]):
        if form is not None and (key := key_of(form)) is not None:
            index.setdefault(key, []).append(id)
    return index


def _closest(candidates: Sequence[int], vocabulary: Vocabulary, id: int, other: Vocabulary) -> int:
    if len(candidates) == 1:
        return candidates[0]
    kind, string = vocabulary.kinds[id], vocabulary.strings[id]
    return min(
        candidates, key=lambda it: (other.kinds[it] != kind, other.strings[it] != string, it)
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
