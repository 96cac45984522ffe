"""A PLM's tokenizer that writes every text which the source could, and cuts words as the PLM does.

It spells text in the byte alphabet, keeps white space, takes digits as the source does, and leaves
no text to a normalizer. What lower-cases or takes accents off cannot be had so, since its pieces
spell words as no text has them: there white space is kept all the same. A BPE that says where words
end has no place for a space before a word, and stays as it is.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from saltlm.errors import VocabularyError
from saltlm.tokenizer.byte_spelling import spell_in_bytes
from saltlm.tokenizer.carried import UTF8_LETTERS, Carried, digits_at_once, joins_line_breaks
from saltlm.tokenizer.definition import Definition, Step
from saltlm.tokenizer.losses import new_losses
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.spacing import Spacing, isolated
from saltlm.tokenizer.tokens import Tokens
from saltlm.tokenizer.vocabulary import Form, Vocabulary, cut_words, spoken_text

_LETTERS: Step = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}
_TEXT: Step = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
_LOWER_CASES, _STRIPS_ACCENTS = "lower-cases text", "strips accents"
_MARKS_ENDS = "says where words end or go on, not where they begin"
_TAKES_APART = "takes letters and their accents apart"
_REWRITTEN: dict[str, list[Step]] = {
    _LOWER_CASES: [{"type": "Lowercase"}],
    _STRIPS_ACCENTS: [{"type": "NFD"}, {"type": "StripAccents"}],
    _TAKES_APART: [{"type": "NFD"}],
}
_MARKS = "a ▁b ##c <0x41> Ġd\x10 e"  # what tokenizers use to mark things
_CONTROLS = 3  # special tokens that are tried between words
_TREATMENT = ("normalizer", "pre_tokenizer", "decoder")
_CUTTING = ("Digits", "Punctuation", "UnicodeScripts")  # what may cut words further


@dataclass(frozen=True)
class Lossless:
    """A definition that loses no text, and where its tokens come from.

    Attributes:
        definition: the new one; its added tokens bear old ids.
        strings: its tokens by id.
        plm_ids: the PLM's id of each, -1 for those that it lacks.
        source_ids: the source's id of each that the PLM lacks, -1 for all others.
        notes: what was decided that a user may not expect.
    """

    definition: Definition
    strings: tuple[str, ...]
    plm_ids: tuple[int, ...]
    source_ids: tuple[int, ...]
    notes: tuple[str, ...] = ()


def check_lossless(definition: Definition, *, lossy: bool) -> list[str]:
    """Say what a PLM's tokenizer does to letters that its pieces cannot undo.

    Raises:
        VocabularyError: it does such a thing, and ``lossy`` does not allow it.
    """
    reasons = _what_is_done_to_letters(definition)
    if reasons and not lossy:
        raise VocabularyError(
            f"the PLM's tokenizer {' and '.join(reasons)}: its pieces cannot spell all "
            "text, and the new model could not write what the source can",
            "take a PLM that keeps them (a cased one), extend the source's vocabulary instead with "
            "--mode extend (without vocabulary=joined and digits=plm), or accept the loss with "
            "--set lossy=true",
        )
    return reasons


def _what_is_done_to_letters(definition: Definition) -> list[str]:
    marks_ends = bool(definition.suffix or (definition.kind == "BPE" and definition.prefix))
    reasons = [_MARKS_ENDS] if marks_ends else []
    normalizer = definition.tokenizer.normalizer
    if normalizer is None:
        return reasons
    capital, accented = (normalizer.normalize_str(f"a{letter}b") for letter in "Bé")
    reasons += [_LOWER_CASES] if "B" not in capital else []
    if "é" not in accented:
        is_whole = "é" in unicodedata.normalize("NFC", accented)
        reasons.append(_TAKES_APART if is_whole else _STRIPS_ACCENTS)
    return reasons


def lossy_notes(new: Definition, source: Definition, reasons: Sequence[str]) -> Iterator[str]:
    """Say in words what a new tokenizer cannot write.

    Raises:
        VocabularyError: something is lost although nothing is done to letters.
    """
    lost = lost_probes(new, source)
    if lost and not reasons:
        raise VocabularyError(
            f"the new tokenizer would not give back {', '.join(lost)}, which the source does",
            "report this with the names of both models, or use --mode extend",
        )
    if reasons:
        yield (
            f"the new model cannot write all text: the PLM's tokenizer {' and '.join(reasons)}; "
            f"what does not come back of the probes: {', '.join(lost)}"
        )


def lost_probes(new: Definition, source: Definition) -> list[str]:
    """Return the names of the probes that come back from a source, and not from a tokenizer."""
    controls = "".join(f"a{token}b {token} c" for token in source.specials[:_CONTROLS])
    probes = {**PROBES, "marks": _MARKS, "control tokens between words": controls}
    return [loss.kind for loss in new_losses(source.tokenizer, new.tokenizer, probes)]


def cannot_be_lossless(reasons: Sequence[str]) -> bool:
    """Tell whether a tokenizer has to stay as it is, its white space included."""
    return _MARKS_ENDS in reasons


def does_as_it_is(plm: Tokens, source: Tokens, digits: int | None) -> bool:
    """Tell whether a PLM's tokenizer keeps what the source does, and takes digits as wanted.

    That is so of a byte-level one that rewrites nothing, and of one that treats text as the source
    does, if it can spell every character that the source can.
    """
    ours, theirs = plm.definition, source.definition
    if digits is not None and digits_at_once(ours) != digits:
        return False
    if ours.is_byte_level:
        adds_space = any(step.get("add_prefix_space") for step in ours.pre_tokenizer_steps)
        rewrites = any(step["type"] != "ByteLevel" for step in ours.normalizer_steps)
        return not (adds_space or rewrites) and ours.ids.keys() >= UTF8_LETTERS
    if any(ours.json[part] != theirs.json[part] for part in _TREATMENT):
        return False
    known = {*plm.vocabulary.forms}
    return all(form in known for form in source.vocabulary.forms if form and _is_single(form))


def _is_single(form: Form) -> bool:
    """Tell whether a form is one byte, or one character."""
    text = spoken_text(form)
    return len(form.text) + form.begins_word == 1 or (text is not None and len(text) == 1)


def as_it_is(definition: Definition, tokens: Sequence[tuple[str, int]]) -> Lossless:
    """Return a definition unchanged, as `make_lossless` returns it.

    Args:
        definition: the PLM's, without the special tokens that go; ids without gaps.
        tokens: its tokens by id, each with its id in the PLM.
    """
    strings, ids = (tuple(column) for column in zip(*tokens, strict=True))
    return Lossless(definition, strings, ids, (-1,) * len(tokens))


def out_of_reach(definition: Definition, plm: Vocabulary, digits: int | None) -> set[str]:
    """Return the pieces that cannot come about any more where few digits are taken at once.

    Args:
        definition: the PLM's.
        plm: what its ids stand for.
        digits: how many are to be taken at once; None if that is left to the PLM.
    """
    if digits is None or digits_at_once(definition) == digits:
        return set()
    texts = {
        piece: text
        for id, piece in definition.pieces.items()
        if (form := plm.forms[id]) is not None and (text := spoken_text(form))
    }
    numbers = {char for char in {*"".join(texts.values())} if unicodedata.category(char)[0] == "N"}
    return {
        piece
        for piece, text in texts.items()
        if not numbers.isdisjoint(text) and not (len(text) <= digits and numbers.issuperset(text))
    }


def make_lossless(
    definition: Definition,
    tokens: Sequence[tuple[str, int]],
    plm: Vocabulary,
    source: Definition,
    carried: Carried,
    digits: int | None,
) -> Lossless:
    """Return a definition that loses no text, or none but what is done to letters.

    Args:
        definition: the PLM's, without the special tokens that go; ids without gaps.
        tokens: its tokens by id, each with its id in the PLM; the model's pieces come first.
        plm: what the PLM's ids stand for.
        source: the source's tokenizer.
        carried: the source's tokens that come along.
        digits: how many are taken at once; None if that is left to the PLM.
    """
    n_pieces = len(definition.pieces)
    spelled = spell_in_bytes(definition, [id for _, id in tokens[:n_pieces]], plm, carried)
    is_byte_level = definition.is_byte_level
    spacing = Spacing(
        begins_with_space=_begins_with_space(definition),
        begins_lines=not is_byte_level,
        splits_words=len(cut_words(definition.tokenizer, "a b")) > 1,
        isolates=definition.kind == "WordPiece" and not is_byte_level,
        digits=digits,
        joins_line_breaks=joins_line_breaks(source),
    )
    rewrite = _rewritten_byte_level if is_byte_level else _rewritten
    letters = [step for done in _what_is_done_to_letters(definition) for step in _REWRITTEN[done]]
    others = tokens[n_pieces:]
    return Lossless(
        rewrite(spelled.definition, spacing, letters),
        (*spelled.pieces, *(token for token, _ in others)),
        (*spelled.plm_ids, *(id for _, id in others)),
        (*spelled.source_ids, *([-1] * len(others))),
    )


def _begins_with_space(definition: Definition) -> bool:
    """Tell whether a tokenizer puts a space before a text that has none."""
    is_bare = definition.kind == "WordPiece" and not definition.is_byte_level
    return is_bare or cut_words(definition.tokenizer, "a")[0] != "a"


def _rewritten(definition: Definition, spacing: Spacing, letters: list[Step]) -> Definition:
    """Return a definition that cuts text by `Spacing` alone, and then as the PLM cuts words."""
    further = [step for step in definition.pre_tokenizer_steps if step["type"] in _CUTTING]
    return definition.replace(
        normalizer=_sequence("normalizers", [*spacing.normalizer(), *letters]),
        pre_tokenizer=_sequence("pretokenizers", [*spacing.pre_tokenizer(), *further, _LETTERS]),
        decoder=_sequence("decoders", [_TEXT, *spacing.decoder()]),
    )


def _rewritten_byte_level(
    definition: Definition, spacing: Spacing, letters: list[Step]
) -> Definition:
    """Return a byte-level definition that rewrites nothing, and adds no space that stays.

    It cuts words as it did; digits are set apart before, if that makes a difference.
    """
    last = [step for step in definition.normalizer_steps if step["type"] == "ByteLevel"]
    cuts = [
        {**step, "add_prefix_space": False} if "add_prefix_space" in step else step
        for step in definition.pre_tokenizer_steps
    ]
    first = spacing.pre_tokenizer()[:-1]
    if spacing.digits and digits_at_once(definition) != spacing.digits:
        first.append(isolated(rf"\p{{N}}{{1,{spacing.digits}}}"))
    if not first and cuts == [*definition.pre_tokenizer_steps]:
        cut = definition.json["pre_tokenizer"]
    else:
        cut = _sequence("pretokenizers", [*first, *cuts])
    return definition.replace(
        normalizer=_sequence("normalizers", [*spacing.normalizer(), *letters, *last]),
        pre_tokenizer=cut,
        decoder=_sequence("decoders", [_TEXT, *spacing.decoder()]),
    )


def _sequence(children: str, steps: list[Step]) -> Step | None:
    return {"type": "Sequence", children: steps} if len(steps) > 1 else next(iter(steps), None)
