"""A model that spells its pieces in the byte alphabet: the same cuts of words, and of any text.

What the pieces of a Unigram, WordPiece or SentencePiece BPE model cannot spell, single bytes do:

- A Unigram byte costs what an unknown character costs, so that no path over pieces is left for it.
- In a BPE the merges that make characters of bytes go before all others.
- WordPiece takes the longest match as before. Its ``##`` goes, since words begin with a space.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from saltlm.tokenizer.carried import Carried
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import BYTE, Form, Vocabulary, byte_letters

_SPACE = byte_letters(Form(b"", True))
_INSIDE = frozenset(byte_letters(Form(bytes([byte]), False)) for byte in range(0x80, 0xC0))
_UNKNOWN_COSTS = 10.0  # below the lowest score, as Unigram models have it
_RUN_SCORE = -1.0  # runs compete among themselves only: the fewest tokens win
_LONGEST = 1000  # bytes of a word; `Spacing` cuts words before that

_Merge = tuple[str, str]


class Spelled(NamedTuple):
    """A definition whose model spells text in the byte alphabet.

    Attributes:
        definition: with a new model; its other parts are as they were.
        pieces: the model's pieces by id.
        plm_ids: the PLM's id of each, -1 for those that it lacks.
        source_ids: the source's id of each that the PLM lacks, -1 for all others.
    """

    definition: Definition
    pieces: list[str]
    plm_ids: list[int]
    source_ids: list[int]


def spell_in_bytes(
    definition: Definition, plm_ids: Sequence[int], plm: Vocabulary, carried: Carried
) -> Spelled:
    """Return a definition that spells the same pieces, and what comes along, in the byte alphabet.

    Args:
        definition: of a Unigram, WordPiece or SentencePiece BPE model, ids without gaps.
        plm_ids: the PLM's id of each of its pieces.
        plm: what the PLM's ids stand for.
        carried: the source's tokens that come along.
    """
    spelled = _spellings(definition, plm_ids, plm)
    chosen = _without_twins(definition, plm_ids, plm, spelled)
    pieces = [spelled[definition.pieces[id]] for id in chosen]
    known = frozenset(pieces)
    symbols = [s for s in carried.symbols if _is_wanted(s, known, definition)]
    if definition.kind == "BPE":
        characters = _characters(spelled) | {s: s for s in symbols if not s.startswith(_SPACE)}
        merges = [
            *_character_merges(characters.values()),
            *((spelled[a], spelled[b]) for a, b in definition.model["merges"]),
            *carried.merges,
        ]
        wanted = [part for a, b in merges for part in (a, b, a + b)]
    else:
        merges, wanted = [], [*carried.runs, *symbols]
    new = [s for s in dict.fromkeys([*sorted(carried.letters), *wanted]) if s not in known]
    return Spelled(
        _with_vocabulary(definition, chosen, pieces, new, merges, carried),
        [*pieces, *new],
        [*(plm_ids[id] for id in chosen), *([-1] * len(new))],
        [*([-1] * len(pieces)), *(carried.source_ids.get(s, -1) for s in new)],
    )


def _spellings(definition: Definition, plm_ids: Sequence[int], plm: Vocabulary) -> dict[str, str]:
    """Return how the byte alphabet spells each piece; special tokens stay as they are."""
    forms = {piece: plm.forms[plm_ids[id]] for id, piece in definition.pieces.items()}
    unknown = definition.unknown  # may be called like a piece of text
    return {
        piece: piece if form is None or piece == unknown else byte_letters(form)
        for piece, form in forms.items()
    }


def _without_twins(
    definition: Definition, plm_ids: Sequence[int], plm: Vocabulary, spelled: Mapping[str, str]
) -> list[int]:
    """Return the ids of the pieces, of two that are spelled alike the one that text is cut into."""

    def speaks_against(id: int) -> tuple[bool, bool]:
        prefix = definition.prefix
        is_inside = bool(prefix) and definition.pieces[id].startswith(prefix)
        return plm.kinds[plm_ids[id]] == BYTE, is_inside

    chosen: dict[str, int] = {}
    for id in sorted(definition.pieces, key=speaks_against):
        chosen.setdefault(spelled[definition.pieces[id]], id)
    return sorted(chosen.values())


def _is_wanted(symbol: str, known: Collection[str], definition: Definition) -> bool:
    """Tell whether a symbol comes along: the model lacks it, or cannot put a space before it."""
    if definition.is_byte_level:
        return False
    return definition.kind == "WordPiece" or symbol.removeprefix(_SPACE) not in known


def _characters(spelled: Mapping[str, str]) -> dict[str, str]:
    return {piece: letters for piece, letters in spelled.items() if len(piece) == 1}


def _character_merges(characters: Iterable[str]) -> Iterator[_Merge]:
    """Yield the merges that make characters of their bytes, from the left."""
    for letters in characters:
        for end in range(1, len(letters)):
            yield letters[:end], letters[end]


def _with_vocabulary(
    definition: Definition,
    chosen: Sequence[int],
    pieces: Sequence[str],
    new: Sequence[str],
    merges: Iterable[_Merge],
    carried: Carried,
) -> Definition:
    ids = {piece: id for id, piece in enumerate([*pieces, *new])}
    if definition.kind == "Unigram":
        scores = [definition.model["vocab"][id][1] for id in chosen]
        lowest = min(scores, default=0.0)
        runs = frozenset(carried.runs)
        scores += (_score(spelling, lowest, is_run=spelling in runs) for spelling in new)
        return definition.with_model(
            vocab=[[piece, score] for piece, score in zip(ids, scores, strict=True)],
            unk_id=ids.get(definition.unknown or ""),
            byte_fallback=False,
        )
    if definition.kind == "BPE":
        pairs = [list(merge) for merge in dict.fromkeys(merges)]
        return definition.with_model(vocab=ids, merges=pairs, byte_fallback=False)
    return definition.with_model(
        vocab=ids, continuing_subword_prefix="", max_input_chars_per_word=_LONGEST
    )


def _score(spelling: str, lowest: float, *, is_run: bool) -> float:
    """Return what a new Unigram piece scores: an unknown character costs the same in bytes."""
    if is_run:
        return _RUN_SCORE
    if len(spelling) > 1:
        return lowest
    return 0.0 if spelling in _INSIDE else lowest - _UNKNOWN_COSTS
