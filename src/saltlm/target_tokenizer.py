"""The tokenizer of the new model: the PLM's text pieces with the source's special tokens.

It is made by editing the PLM's own definition, so that text is cut exactly as the PLM cuts it.
"""

import difflib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from jaxtyping import Int64
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer, PreTrainedConfig

from saltlm.config import SpecialTokensConfig
from saltlm.definition import Definition, keep_tokens, settle_unknown, unknown_piece
from saltlm.errors import VocabularyError
from saltlm.roles import ROLES, SEQUENCE_A, SEQUENCE_B, Framing, SpecialTokens, read_framing


@dataclass(frozen=True)
class TargetTokenizer:
    """A tokenizer for the new model, and where each of its tokens comes from.

    Attributes:
        tokenizer: the new tokenizer.
        plm_ids: the PLM's id of each token, -1 for those that only the source has.
        source_special_ids: the source's id of each carried special token, -1 for all others.
        roles: role -> new id, for the roles that are filled.
        chat_templates: name -> template, as in the source.
        settings: what of the source's tokenizer_config.json the new one repeats.
        notes: what was decided that a user may not expect, a sentence each.
    """

    tokenizer: Tokenizer
    plm_ids: Int64[Tensor, " v"]
    source_special_ids: Int64[Tensor, " v"]
    roles: dict[str, int]
    chat_templates: dict[str, str]
    settings: dict[str, Any]
    notes: tuple[str, ...]


class RoleRow(NamedTuple):
    """A line of the role table; ``role`` is empty for control tokens without one."""

    role: str
    token: str
    new_id: int
    source_id: int | None
    note: str


def compose_tokenizer(
    plm_tokenizer: Tokenizer,
    plm_special: SpecialTokens,
    source_tokenizer: Tokenizer,
    source_special: SpecialTokens,
    config: SpecialTokensConfig,
) -> TargetTokenizer:
    """Put the source's special tokens into the PLM's tokenizer.

    The PLM's pieces keep their order, without its own special tokens; the source's special tokens
    follow in the source's order, except that one whose string is already a piece takes its id. A
    text gets the special tokens around it that the source puts there.

    Args:
        plm_tokenizer: gives the pieces, and everything that cuts text into them.
        plm_special: the PLM's special tokens, which go unless ``config.carry_plm`` names them.
        source_tokenizer: the source's, as transformers loads it.
        source_special: the source's special tokens, which stay unless ``config.drop`` names them.
        config: the user's changes.

    Raises:
        VocabularyError: if ``config`` names tokens or roles that do not exist.
    """
    definition = json.loads(plm_tokenizer.to_str())
    source = json.loads(source_tokenizer.to_str())
    plm_unknown = unknown_piece(definition["model"])
    plm_specials = [*plm_special.tokens, *([plm_unknown] if plm_unknown else [])]
    check_names("carry_plm", config.carry_plm, plm_specials)
    check_names("drop", config.drop, source_special.tokens)
    check_names("roles", config.roles, ROLES)
    carried = {
        token: id
        for token in source_special.tokens
        if token not in config.drop and (id := source_tokenizer.token_to_id(token)) is not None
    }

    own_unknown = unknown_piece(source["model"])
    if own_unknown not in carried or own_unknown in _ends(source_special):
        own_unknown = None  # named for want of a real one, as GPT-2 names its end of text
    unknown, leaving = settle_unknown(
        definition, {*plm_specials} - {*config.carry_plm}, own_unknown
    )
    plm_tokens = keep_tokens(definition, leaving, unknown)
    present = {token for token, _ in plm_tokens}
    strings = [token for token, _ in plm_tokens]
    strings += [token for token in carried if token not in present]
    ids = {token: id for id, token in enumerate(strings)}
    roles = {role: token for role, token in source_special.roles.items() if token in carried}
    roles |= {"unk": unknown} if unknown is not None else {}
    roles |= config.roles
    check_names("roles", config.roles.values(), ids)

    framing = read_framing(source_tokenizer)
    _add_tokens(definition, source["added_tokens"], carried, roles.values(), ids)
    _replace_post_processor(definition, framing, {token: ids[token] for token in carried})
    definition["truncation"] = definition["padding"] = None
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    _check_ids(tokenizer, strings)

    plm_ids, source_ids = (torch.full((len(strings),), -1, dtype=torch.int64) for _ in range(2))
    plm_ids[: len(plm_tokens)] = torch.tensor([id for _, id in plm_tokens], dtype=torch.int64)
    for token, source_id in carried.items():
        source_ids[ids[token]] = source_id
    return TargetTokenizer(
        tokenizer=tokenizer,
        plm_ids=plm_ids,
        source_special_ids=source_ids,
        roles={role: ids[token] for role, token in roles.items()},
        chat_templates=source_special.chat_templates,
        settings=source_special.settings,
        notes=tuple(_notes(unknown, carried, framing, source_special.chat_templates, config.drop)),
    )


def own_tokenizer(tokenizer: Tokenizer, special: SpecialTokens) -> TargetTokenizer:
    """Return a tokenizer with its own special tokens, as `save_tokenizer` takes it.

    Args:
        tokenizer: any; its ids stay.
        special: its special tokens; roles whose token it does not have stay empty.
    """
    ids = tokenizer.get_vocab()
    everything = torch.arange(1 + max(ids.values(), default=-1))
    return TargetTokenizer(
        tokenizer=tokenizer,
        plm_ids=everything,
        source_special_ids=torch.full_like(everything, -1),
        roles={role: ids[token] for role, token in special.roles.items() if token and token in ids},
        chat_templates=special.chat_templates,
        settings=special.settings,
        notes=(),
    )


def role_table(target: TargetTokenizer) -> list[RoleRow]:
    """Return the roles and the control tokens of the new model, to be printed or reviewed."""
    played = [(role, target.roles[role]) for role in ROLES if role in target.roles]
    special = torch.nonzero(target.source_special_ids >= 0).flatten().tolist()
    others = [("", id) for id in special if id not in target.roles.values()]
    rows = []
    for role, id in played + others:
        source_id = int(target.source_special_ids[id])
        if source_id < 0:
            note = "the PLM's; its row is made like any new token's"
        elif target.plm_ids[id] >= 0:
            note = "the source's row, in the place of a piece of the PLM"
        else:
            note = "the source's row"
        token = str(target.tokenizer.id_to_token(id))
        rows.append(RoleRow(role, token, id, source_id if source_id >= 0 else None, note))
    return rows


def save_tokenizer(
    target: TargetTokenizer, directory: Path, *, model_type: str | None = None
) -> tuple[str, ...]:
    """Write the tokenizer's files so that ``AutoTokenizer`` loads exactly this tokenizer.

    Args:
        target: the tokenizer.
        directory: an existing one; the files go beside what is there.
        model_type: of the model the tokenizer is for, as in its config.json.

    Returns:
        What the manifest should say about the files, a sentence each.

    Raises:
        VocabularyError: if transformers does not load what was written.
    """
    target.tokenizer.save(str(directory / "tokenizer.json"))
    for name, template in target.chat_templates.items():
        file = directory / "additional_chat_templates" / f"{Path(name).name}.jinja"
        if name == "default":
            file = directory / "chat_template.jinja"
        file.parent.mkdir(exist_ok=True)
        file.write_text(template, encoding="utf-8")
    for settings, notes in ((_settings(target), ()), (_settings(target) | _KEEP_OUT, (_KEPT_OUT,))):
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
        if _loads_as(target.tokenizer, directory, model_type):
            return tuple(note.format(model_type=model_type) for note in notes)
    raise VocabularyError(
        f"transformers {transformers.__version__} does not load the tokenizer in {directory} as it "
        f"was written, for a model of type {model_type!r}",
        "pip install --upgrade transformers",
    )


# For a few model types (qwen2, qwen3_5, ...) transformers takes the class it knows, whatever
# tokenizer_class says, and that class rebuilds the tokenizer as the original model has it. Of what
# a directory can say only auto_map keeps it out (transformers 5.23, models/auto): an entry makes
# AutoTokenizer pass by that class, and then, unless the caller trusts remote code, drop the entry.
# It survives save_pretrained, unlike "trust_remote_code": true in this file, which works as well.
# There is no such module; its name is the advice that the error of a caller who trusts code gives.
_KEEP_OUT = {
    "auto_map": {"AutoTokenizer": [None, "load_without_trust_remote_code.PreTrainedTokenizerFast"]}
}
_KEPT_OUT = (
    "transformers would replace the tokenizer of a {model_type} model by the original one: an "
    "auto_map entry in tokenizer_config.json prevents it, and it names no code that exists; load "
    "the tokenizer without trust_remote_code=True"
)


def _settings(target: TargetTokenizer) -> dict[str, Any]:
    """Return the content of tokenizer_config.json."""
    # Roles without a token are written too: a rebuilt class would fill them with its defaults.
    tokens = {role: target.tokenizer.id_to_token(id) for role, id in target.roles.items()}
    added = json.loads(target.tokenizer.to_str())["added_tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        # Without token_type_ids, which this class would add and decoder models refuse.
        "model_input_names": ["input_ids", "attention_mask"],
        **target.settings,
        **{f"{role}_token": tokens.get(role) for role in ROLES},
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in added
        },
    }


def _loads_as(tokenizer: Tokenizer, directory: Path, model_type: str | None) -> bool:
    config = (
        AutoConfig.for_model(model_type) if model_type in CONFIG_MAPPING else PreTrainedConfig()
    )
    loaded = AutoTokenizer.from_pretrained(directory, config=config, local_files_only=True)
    return _behaviour(loaded.backend_tokenizer) == _behaviour(tokenizer)


def _behaviour(tokenizer: Tokenizer) -> Definition:
    """Return the definition without the flags of special tokens, which some classes reset."""
    definition: Definition = json.loads(tokenizer.to_str())
    added = {token["content"]: token["id"] for token in definition["added_tokens"]}
    return {**definition, "added_tokens": added}


def check_names(option: str, names: Iterable[str], known: Collection[str]) -> None:
    """Make sure that what an option of ``special_tokens`` names exists.

    Raises:
        VocabularyError: it does not.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
            if not near and len(known) <= 40:
                hint = "there are: " + ", ".join(map(repr, dict.fromkeys(known)))
            raise VocabularyError(f"special_tokens.{option}: there is no {name!r}", hint)


def _ends(special: SpecialTokens) -> set[str | None]:
    return {special.roles.get(role) for role in ("bos", "eos", "pad")}


def _add_tokens(
    definition: Definition,
    source_added: Sequence[Mapping[str, Any]],
    carried: Iterable[str],
    players: Iterable[str],
    ids: Mapping[str, int],
) -> None:
    """List carried tokens, and those with a role, among the added tokens; edits the definition."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "special": True}
    added = {token["content"]: token for token in definition["added_tokens"]}
    for token in players:
        added.setdefault(token, special)
    in_source = {token["content"]: token for token in source_added}
    for token in carried:
        # Found before normalization: the PLM's normalizer may lower-case or rewrite the string.
        added[token] = {**in_source.get(token, special), "normalized": False}
    definition["added_tokens"] = sorted(
        (
            {"normalized": False, **entry, "id": ids[token], "content": token}
            for token, entry in added.items()
        ),
        key=lambda entry: entry["id"],
    )


def _replace_post_processor(
    definition: Definition, framing: Framing, special_ids: Mapping[str, int]
) -> None:
    """Make a definition put the source's special tokens around texts; edits it."""

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
    old = definition["post_processor"] or {}
    byte_level = [step for step in old.get("processors", [old]) if step.get("type") == "ByteLevel"]
    definition["post_processor"] = (
        {"type": "Sequence", "processors": byte_level + processors} if byte_level else processors[0]
    )


def _check_ids(tokenizer: Tokenizer, strings: Sequence[str]) -> None:
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
