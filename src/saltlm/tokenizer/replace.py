"""The tokenizer of the new model: the PLM's text pieces with the source's special tokens.

It is made of the PLM's own definition, so that words are cut exactly as the PLM cuts them, and
writes every text that the source could (see `saltlm.tokenizer.lossless`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.config.transfer import Digits, SpecialTokensConfig
from saltlm.errors import VocabularyError
from saltlm.tokenizer.carried import carried_tokens, digits_at_once
from saltlm.tokenizer.cut import keep_tokens, settle_unknown, without_merges
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.lossless import (
    Lossless,
    as_it_is,
    cannot_be_lossless,
    check_lossless,
    does_as_it_is,
    lossy_notes,
    make_lossless,
    out_of_reach,
)
from saltlm.tokenizer.special_tokens import (
    ROLES,
    SEQUENCE_A,
    SEQUENCE_B,
    Framing,
    read_framing,
)
from saltlm.tokenizer.target import TargetTokenizer, check_names
from saltlm.tokenizer.tokens import Tokens


def replace_vocabulary(
    plm: Tokens,
    source: Tokens,
    config: SpecialTokensConfig,
    *,
    lossy: bool = False,
    digits: Digits = "source",
) -> TargetTokenizer:
    """Put the source's special tokens, white space and bytes into the PLM's tokenizer.

    The PLM's pieces keep their order, without its own special tokens; what the source's text needs
    beside them follows, and the source's special tokens in its order, except that one whose string
    is already a piece takes its id. A text gets the special tokens around it that the source puts
    there.

    Args:
        plm: gives the pieces, and what cuts words into them. Its special tokens go unless
            ``config.carry_plm`` names them.
        source: gives its special tokens unless ``config.drop`` names them.
        config: the user's changes.
        lossy: whether a PLM will do that cannot write all text.
        digits: whose cut of numbers is taken.

    Raises:
        VocabularyError: if ``config`` names tokens or roles that do not exist, or text would be
            lost.
    """
    at_once = digits_at_once(source.definition) if digits == "source" else None
    carried = _carried_specials(plm, source, config)
    leaving = {*_plm_specials(plm)} - {*config.carry_plm}
    unknown = _own_unknown(source, carried)
    is_kept = does_as_it_is(plm, source, at_once)
    reasons = [] if is_kept else check_lossless(plm.definition, lossy=lossy)
    if is_kept or cannot_be_lossless(reasons):
        definition, going = settle_unknown(plm.definition, leaving, unknown)
        spelled = as_it_is(*keep_tokens(definition, going, definition.unknown))
    else:
        spelled = _spelled(plm, source, leaving, unknown, at_once)
    target = _composed(spelled, source, config, carried)
    if is_kept:
        return target
    notes = lossy_notes(target.definition, source.definition, reasons)
    return replace(target, notes=(*target.notes, *notes))


def _spelled(
    plm: Tokens, source: Tokens, leaving: Set[str], unknown: str | None, digits: int | None
) -> Lossless:
    """Return the PLM's tokens without those that go, spelled so that no text is lost."""
    text = carried_tokens(source.definition, source.vocabulary, digits)
    definition, going = settle_unknown(
        plm.definition, leaving, unknown, spells_everything=text.spells_bytes
    )
    dead = out_of_reach(definition, plm.vocabulary, digits)
    definition, tokens = keep_tokens(
        without_merges(definition, dead), going | dead, definition.unknown
    )
    spelled = make_lossless(definition, tokens, plm.vocabulary, source.definition, text, digits)
    note = (
        f"{len(dead):,} of the PLM's numbers go: the source takes digits in groups of {digits}; "
        "--set digits=plm keeps them"
    )
    return replace(spelled, notes=(note,) if dead else ())


def _composed(
    spelled: Lossless, source: Tokens, config: SpecialTokensConfig, carried: Mapping[str, int]
) -> TargetTokenizer:
    """Put the source's special tokens behind the others, and around texts."""
    unknown, present = spelled.definition.unknown, {*spelled.strings}
    strings = [*spelled.strings, *(token for token in carried if token not in present)]
    ids = {token: id for id, token in enumerate(strings)}
    roles = {
        role: token for role, token in source.special.roles.items() if token and token in carried
    }
    roles |= {"unk": unknown} if unknown is not None else {}
    roles |= config.roles
    check_names("roles", config.roles.values(), ids)

    framing = read_framing(source.definition.tokenizer)
    framed = _framed(spelled.definition, framing, {token: ids[token] for token in carried})
    added = _added_tokens(framed, source.definition, carried, roles.values(), ids)
    # Written and read again, so that it says what the file will say.
    definition = Definition.of(framed.replace(added_tokens=added).unbounded().build())
    _check_ids(definition, strings)
    special_ids = [carried.get(token, -1) for token in strings]
    templates = source.special.chat_templates
    return TargetTokenizer(
        definition=definition,
        plm_ids=_padded(spelled.plm_ids, len(strings)),
        source_special_ids=torch.tensor(special_ids, dtype=torch.int64),
        source_text_ids=_padded(spelled.source_ids, len(strings)),
        roles={role: ids[token] for role, token in roles.items()},
        chat_templates=templates,
        settings=source.special.settings,
        notes=(*spelled.notes, *_notes(unknown, carried, framing, templates, config.drop)),
    )


def _carried_specials(plm: Tokens, source: Tokens, config: SpecialTokensConfig) -> dict[str, int]:
    """Return the source's special tokens that stay, with their ids.

    Raises:
        VocabularyError: ``config`` names tokens or roles that do not exist.
    """
    check_names("carry_plm", config.carry_plm, _plm_specials(plm))
    check_names("drop", config.drop, source.special.tokens)
    check_names("roles", config.roles, ROLES)
    known = source.definition.ids
    staying = (token for token in source.special.tokens if token not in config.drop)
    return {token: known[token] for token in staying if token in known}


def _plm_specials(plm: Tokens) -> list[str]:
    unknown = plm.definition.unknown
    return list(dict.fromkeys([*plm.special.tokens, *([] if unknown is None else [unknown])]))


def _own_unknown(source: Tokens, carried: Collection[str]) -> str | None:
    """Return the source's unk piece, unless it is named for want of a real one, as in GPT-2."""
    unknown = source.definition.unknown
    ends = {source.special.roles.get(role) for role in ("bos", "eos", "pad")}
    return unknown if unknown in carried and unknown not in ends else None


def _padded(ids: Sequence[int], size: int) -> Int64[Tensor, " v"]:
    return torch.tensor([*ids, *[-1] * (size - len(ids))], dtype=torch.int64)


def _added_tokens(
    definition: Definition,
    source: Definition,
    carried: Iterable[str],
    players: Iterable[str],
    ids: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Return the added tokens with those that are carried, or have a role, among them."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "special": True}
    # One that strips the spaces around it would lose them; one that is a piece now needs no entry.
    added = {
        token["content"]: {**token, "lstrip": False, "rstrip": False}
        for token in definition.added
        if token["content"] in ids
    }
    for token in players:
        added.setdefault(token, special)
    in_source = {token["content"]: token for token in source.added}
    for token in carried:
        # Found before normalization: the PLM's normalizer may lower-case or rewrite the string.
        added[token] = {**in_source.get(token, special), "normalized": False}
    return sorted(
        (
            {"normalized": False, **entry, "id": ids[token], "content": token}
            for token, entry in added.items()
        ),
        key=lambda entry: entry["id"],
    )


def _framed(definition: Definition, framing: Framing, special_ids: Mapping[str, int]) -> Definition:
    """Return a definition that puts the source's special tokens around texts."""

    def template(frame: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
        sequences = {SEQUENCE_A: "A", SEQUENCE_B: "B"}
        return [
            {"Sequence": {"id": sequences[piece], "type_id": type_id}}
            if piece in sequences
            else {"SpecialToken": {"id": piece, "type_id": type_id}}
            for piece, type_id in frame
            if piece in sequences or piece in special_ids
        ]

    used = {piece for piece, _ in framing.single + framing.pair if piece in special_ids}
    processors: list[dict[str, Any]] = [
        {
            "type": "TemplateProcessing",
            "single": template(framing.single),
            "pair": template(framing.pair),
            "special_tokens": {
                token: {"id": token, "ids": [special_ids[token]], "tokens": [token]}
                for token in sorted(used)
            },
        }
    ]
    byte_level = [step for step in definition.post_processor_steps if step["type"] == "ByteLevel"]
    return definition.replace(
        post_processor={"type": "Sequence", "processors": [*byte_level, *processors]}
        if byte_level
        else processors[0]
    )


def _check_ids(definition: Definition, strings: Sequence[str]) -> None:
    tokenizer = definition.tokenizer
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    for id, string in enumerate(strings):
        if (found := tokenizer.id_to_token(id)) != string:
            raise VocabularyError(
                f"the composed tokenizer has {found!r} at id {id}, not {string!r}",
                "report this with the names of both models",
            )
    if size != len(strings):
        raise VocabularyError(
            f"the composed tokenizer has {size} tokens, not {len(strings)}",
            "report this with the names of both models",
        )


def _notes(
    unknown: str | None,
    carried: Collection[str],
    framing: Framing,
    chat_templates: Mapping[str, str],
    dropped: Iterable[str],
) -> Iterable[str]:
    if unknown is not None and unknown not in carried:
        yield (
            f"the PLM's {unknown!r} stays: its tokenizer cannot do without an unk piece, and the "
            "source has none of its own; its row is made like any new token's"
        )
    for token in dropped:
        if any(token in template for template in chat_templates.values()):
            yield f"{token!r} is dropped, but the chat template writes it; text now spells it"
        if any(token == piece for piece, _ in framing.single + framing.pair):
            yield f"{token!r} is dropped, so it is no longer put around texts"
