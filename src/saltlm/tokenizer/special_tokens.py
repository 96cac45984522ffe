"""Special tokens by the role they play, and what a tokenizer puts around a text.

A string says little: bos may be ``<s>``, ``<|im_start|>`` or ``[CLS]``. The roles are read from the
files of a model directory, or from a tokenizer in memory; several roles may share one token.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tokenizers import Tokenizer

from saltlm.errors import CheckpointError
from saltlm.files.damage import reading
from saltlm.files.json_object import read_json
from saltlm.tokenizer.declared import token_string
from saltlm.tokenizer.definition import Definition

ROLES = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
SEQUENCE_A, SEQUENCE_B = "$A", "$B"

# What of tokenizer_config.json belongs to the model rather than to the tokenizer's spelling.
_MODEL_SETTINGS = ("model_max_length", "padding_side", "truncation_side")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpecialTokens:
    """The special and control tokens of a model.

    Attributes:
        roles: role ("bos", "eos", "pad", "unk", "sep", "cls", "mask") -> token or None.
        tokens: every special or control token in the order of the ids: those the tokenizer marks
            as special or puts around texts, those with a role, and added tokens that a chat
            template mentions.
        chat_templates: name -> Jinja template; the main one is called "default".
        config_roles: role -> tokens that config.json and generation_config.json name by id; a
            model may stop at several eos tokens.
        settings: model_max_length and the sides of padding and truncation, where they are given.
    """

    roles: dict[str, str | None]
    tokens: tuple[str, ...]
    chat_templates: dict[str, str] = field(default_factory=dict)
    config_roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class LoadedTokenizer(Protocol):
    """What this module needs of a fast tokenizer of transformers."""

    backend_tokenizer: Tokenizer
    chat_template: Any
    all_special_tokens: list[str]


def read_special_tokens(directory: Path, tokenizer: Tokenizer) -> SpecialTokens:
    """Read the special tokens of a model directory.

    The tokenizer's files name the roles. If they name none, config.json and generation_config.json
    do; what else these name by id counts as special if the tokenizer added it as a token of its own
    (a pad id that points at an ordinary piece does not make that piece special).

    Args:
        directory: a model in the Hugging Face layout; every file is optional.
        tokenizer: the directory's tokenizer, which knows the ids and the added tokens.

    Raises:
        CheckpointError: one of the files is not a JSON object, or has other values than it may.
    """
    with reading(f"what {directory} says of its tokens", CheckpointError, "fetch it again"):
        return _read(directory, tokenizer)


def _read(directory: Path, tokenizer: Tokenizer) -> SpecialTokens:
    settings = read_json(directory / "tokenizer_config.json")
    named = read_json(directory / "special_tokens_map.json") | settings
    by_id = read_json(directory / "config.json")
    by_id = (
        (by_id.get("text_config") or {}) | by_id | read_json(directory / "generation_config.json")
    )
    config_roles = _tokens_by_config(by_id, tokenizer)
    roles = {role: token_string(named.get(f"{role}_token")) for role in ROLES}
    if not any(roles.values()):
        roles = {role: next(iter(config_roles.get(role, ())), None) for role in ROLES}
    return _assemble(
        tokenizer,
        roles,
        [*_extra_tokens(named), *(token for tokens in config_roles.values() for token in tokens)],
        _read_chat_templates(directory, settings),
        config_roles,
        {key: settings[key] for key in _MODEL_SETTINGS if settings.get(key) is not None},
    )


def special_tokens_of(tokenizer: Tokenizer | LoadedTokenizer) -> SpecialTokens:
    """Return the special tokens of a tokenizer in memory.

    Args:
        tokenizer: a fast tokenizer of transformers, or a plain one, which knows only its unk.
    """
    if isinstance(tokenizer, Tokenizer):
        roles: dict[str, str | None] = dict.fromkeys(ROLES)
        roles["unk"] = Definition.of(tokenizer).unknown
        return _assemble(tokenizer, roles)
    templates = tokenizer.chat_template or {}
    return _assemble(
        tokenizer.backend_tokenizer,
        {role: token_string(getattr(tokenizer, f"{role}_token", None)) for role in ROLES},
        tokenizer.all_special_tokens,
        templates if isinstance(templates, dict) else {"default": templates},
        settings={
            key: value for key in _MODEL_SETTINGS if (value := getattr(tokenizer, key, None))
        },
    )


def _assemble(
    tokenizer: Tokenizer,
    roles: Mapping[str, str | None],
    others: Iterable[str] = (),
    chat_templates: Mapping[str, str] | None = None,
    config_roles: Mapping[str, tuple[str, ...]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> SpecialTokens:
    """Gather the tokens in the order of their ids; what the tokenizer does not know is left out."""
    for role, token in roles.items():
        if token is not None and tokenizer.token_to_id(token) is None:
            logger.warning("the %s token %r is not in the vocabulary and is ignored", role, token)
    framing = read_framing(tokenizer)
    frame = {token for token, _ in framing.single + framing.pair} - {SEQUENCE_A, SEQUENCE_B}
    named = (*roles.values(), *others, *frame)
    ids = {token: tokenizer.token_to_id(token) for token in named if token}
    text = "".join((chat_templates or {}).values())
    for id, added in tokenizer.get_added_tokens_decoder().items():
        if added.special or (added.content.strip() and added.content in text):
            ids[added.content] = id
    known = {token: id for token, id in ids.items() if id is not None}
    return SpecialTokens(
        roles={role: token if token in known else None for role, token in roles.items()},
        tokens=tuple(sorted(known, key=known.__getitem__)),
        chat_templates=dict(chat_templates or {}),
        config_roles=dict(config_roles or {}),
        settings=dict(settings or {}),
    )


def _extra_tokens(named: Mapping[str, Any]) -> list[str]:
    """Return the special tokens without a standard role, under the keys of transformers 4 and 5."""
    found: list[Any] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        extra = named.get(key) or ()
        found += extra.values() if isinstance(extra, dict) else extra
    found += (value for key, value in named.items() if key.endswith("_token"))
    return [token for item in found if (token := token_string(item)) and not isinstance(item, bool)]


def _tokens_by_config(
    config: Mapping[str, Any], tokenizer: Tokenizer
) -> dict[str, tuple[str, ...]]:
    """Return role -> added tokens, for the ``*_token_id`` of a configuration."""
    added = tokenizer.get_added_tokens_decoder()
    found = {}
    for key, value in config.items():
        if key.endswith("_token_id"):
            ids = value if isinstance(value, list) else [value]
            tokens = tuple(added[id].content for id in ids if id in added)
            if tokens:
                found[key.removesuffix("_token_id")] = tokens
    return found


def _read_chat_templates(directory: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the chat templates by name: from files of their own, else from the settings."""
    files = {file.stem: file for file in directory.glob("additional_chat_templates/*.jinja")}
    if (main := directory / "chat_template.jinja").is_file():
        files["default"] = main
    if files:
        return {name: file.read_text(encoding="utf-8") for name, file in sorted(files.items())}
    templates = settings.get("chat_template") or {}
    if isinstance(templates, str):
        return {"default": templates}
    if isinstance(templates, list):
        return {item["name"]: item["template"] for item in templates}
    return dict(templates)


@dataclass(frozen=True)
class Framing:
    """What a tokenizer puts around one text and around a pair, as (piece, type id).

    A piece is a special token, or ``$A`` or ``$B`` for the texts.
    """

    single: tuple[tuple[str, int], ...]
    pair: tuple[tuple[str, int], ...]


def read_framing(tokenizer: Tokenizer) -> Framing:
    """Find the special tokens that a tokenizer adds, by encoding a probe.

    Asking the tokenizer as transformers has loaded it also covers what transformers changes, such
    as ``add_bos_token``.
    """
    text = "a"
    if not tokenizer.encode(text, add_special_tokens=False).ids:  # a vocabulary without this letter
        tokens = tokenizer.get_vocab()
        text = next(t for t in tokens if tokenizer.encode(t, add_special_tokens=False).ids)
    return Framing(_frame(tokenizer, text), _frame(tokenizer, text, text))


def _frame(
    tokenizer: Tokenizer, text: str, second: str | None = None
) -> tuple[tuple[str, int], ...]:
    encoding = tokenizer.encode(text, second)
    frame: list[tuple[str, int]] = []
    for token, type_id, sequence, is_attended in zip(
        encoding.tokens,
        encoding.type_ids,
        encoding.sequence_ids,
        encoding.attention_mask,
        strict=True,
    ):
        piece = token if sequence is None else (SEQUENCE_A, SEQUENCE_B)[sequence]
        continues = sequence is not None and frame and frame[-1][0] == piece
        if is_attended and not continues:  # padding is not attended to
            frame.append((piece, type_id))
    return tuple(frame)
