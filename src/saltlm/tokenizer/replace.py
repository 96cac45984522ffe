"""The tokenizer of the new model: the PLM's text pieces with the source's special tokens.

It is made by editing the PLM's own definition, so that text is cut exactly as the PLM cuts it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.errors import VocabularyError
from saltlm.tokenizer.cut import keep_tokens, settle_unknown
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.special_tokens import (
    ROLES,
    SEQUENCE_A,
    SEQUENCE_B,
    Framing,
    SpecialTokens,
    read_framing,
)
from saltlm.tokenizer.target import TargetTokenizer, check_names


def replace_vocabulary(
    plm: Definition,
    plm_special: SpecialTokens,
    source: Definition,
    source_special: SpecialTokens,
    config: SpecialTokensConfig,
) -> TargetTokenizer:
    """Put the source's special tokens into the PLM's tokenizer.

    The PLM's pieces keep their order, without its own special tokens; the source's special tokens
    follow in the source's order, except that one whose string is already a piece takes its id. A
    text gets the special tokens around it that the source puts there.

    Args:
        plm: gives the pieces, and everything that cuts text into them.
        plm_special: the PLM's special tokens, which go unless ``config.carry_plm`` names them.
        source: the source's tokenizer, as transformers loads it.
        source_special: the source's special tokens, which stay unless ``config.drop`` names them.
        config: the user's changes.

    Raises:
        VocabularyError: if ``config`` names tokens or roles that do not exist.
    """
    plm_specials = [*plm_special.tokens, *([plm.unknown] if plm.unknown else [])]
    check_names("carry_plm", config.carry_plm, plm_specials)
    check_names("drop", config.drop, source_special.tokens)
    check_names("roles", config.roles, ROLES)
    carried = {
        token: source.ids[token]
        for token in source_special.tokens
        if token not in config.drop and token in source.ids
    }

    own_unknown = source.unknown
    if own_unknown not in carried or own_unknown in _ends(source_special):
        own_unknown = None  # named for want of a real one, as GPT-2 names its end of text
    definition, leaving = settle_unknown(plm, {*plm_specials} - {*config.carry_plm}, own_unknown)
    unknown = definition.unknown
    definition, plm_tokens = keep_tokens(definition, leaving, unknown)
    present = {token for token, _ in plm_tokens}
    strings = [token for token, _ in plm_tokens]
    strings += [token for token in carried if token not in present]
    ids = {token: id for id, token in enumerate(strings)}
    roles = {role: token for role, token in source_special.roles.items() if token in carried}
    roles |= {"unk": unknown} if unknown is not None else {}
    roles |= config.roles
    check_names("roles", config.roles.values(), ids)

    framing = read_framing(source.tokenizer)
    framed = _framed(definition, framing, {token: ids[token] for token in carried})
    added = _added_tokens(definition, source, carried, roles.values(), ids)
    # Written and read again, so that it says what the file will say.
    definition = Definition.of(framed.replace(added_tokens=added).unbounded().build())
    _check_ids(definition, strings)

    plm_ids, source_ids = (torch.full((len(strings),), -1, dtype=torch.int64) for _ in range(2))
    plm_ids[: len(plm_tokens)] = torch.tensor([id for _, id in plm_tokens], dtype=torch.int64)
    for token, source_id in carried.items():
        source_ids[ids[token]] = source_id
    return TargetTokenizer(
        definition=definition,
        plm_ids=plm_ids,
        source_special_ids=source_ids,
        roles={role: ids[token] for role, token in roles.items()},
        chat_templates=source_special.chat_templates,
        settings=source_special.settings,
        notes=tuple(_notes(unknown, carried, framing, source_special.chat_templates, config.drop)),
    )


def _ends(special: SpecialTokens) -> set[str | None]:
    return {special.roles.get(role) for role in ("bos", "eos", "pad")}


def _added_tokens(
    definition: Definition,
    source: Definition,
    carried: Iterable[str],
    players: Iterable[str],
    ids: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Return the added tokens with those that are carried, or have a role, among them."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "special": True}
    added = {token["content"]: token for token in definition.added}
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
