"""Token ids in ``config.json`` and ``generation_config.json``, renumbered for a new vocabulary."""

import copy
import logging
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

_ID_KEYS = ("_token_id", "_token_index")
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "forced_decoder_ids")
_TEXT_SECTIONS = ("text_config", "language_config", "llm_config")
_ROLE_KEYS = {f"{role}_token_id": role for role in ("bos", "eos", "pad", "unk", "sep", "cls")}


def renumber(
    values: dict[str, Any],
    source: Tokenizer,
    target: Tokenizer,
    roles: dict[str, int],
    *,
    overridden: frozenset[str] = frozenset(),
    keeps_ids: bool = False,
) -> dict[str, Any]:
    """Return a configuration whose token ids are those of the new tokenizer.

    An id becomes the new id of the same token. One whose token the new vocabulary does not have
    becomes null; lists of ids to suppress, which speak of ordinary tokens, are dropped.

    Args:
        values: of ``config.json`` or ``generation_config.json``.
        source: the tokenizer that the ids are of.
        target: the new one.
        roles: role -> new id.
        overridden: roles that the user has given to another token.
        keeps_ids: the source's ids stand for the same tokens as before.
    """

    def new_id(old: Any) -> int | None:
        if keeps_ids and isinstance(old, int):
            return old
        token = source.id_to_token(old) if isinstance(old, int) and old >= 0 else None
        return target.token_to_id(token) if token is not None else None

    changed = copy.deepcopy(values)
    for section in sections(changed):
        for key, old in list(section.items()):
            if key in _ID_LISTS and old:
                if not keeps_ids:
                    logger.warning("%s is dropped: it lists ids of the old vocabulary", key)
                    del section[key]
            elif key.endswith(_ID_KEYS):
                section[key] = _renumber_one(old, new_id)
                role = _ROLE_KEYS.get(key)
                if role in overridden:
                    section[key] = roles[role]
                elif section[key] is None and old is not None:
                    section[key] = roles.get(role) if role else None
    return changed


def sections(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a configuration and that of its text model, where it is a part of a larger one."""
    return [values, *(values[name] for name in _TEXT_SECTIONS if name in values)]


def with_default_ids(values: dict[str, Any], loaded: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` with the ids that it leaves to the defaults of its class.

    They mean tokens of the source as those that are written do.

    Args:
        values: of the file.
        loaded: of the configuration as transformers loads it.
    """
    complete = copy.deepcopy(values)
    for section, defaults in [
        (complete, loaded),
        *((complete[name], loaded.get(name, {})) for name in _TEXT_SECTIONS if name in complete),
    ]:
        ids = {key: id for key, id in defaults.items() if key.endswith(_ID_KEYS) and id is not None}
        section.update({key: id for key, id in ids.items() if key not in section})
    return complete


def _renumber_one(value: Any, new_id: Callable[[Any], int | None]) -> Any:
    if not isinstance(value, list):
        return new_id(value)
    return [id for old in value if (id := new_id(old)) is not None] or None


def set_vocabulary_size(values: dict[str, Any], size: int) -> dict[str, Any]:
    """Return ``config.json`` with the new number of rows, where the old one says it."""
    changed = copy.deepcopy(values)
    parts = sections(changed)
    holders = [part for part in parts if "vocab_size" in part]
    for section in holders or parts[1:2] or parts:
        section["vocab_size"] = size
    return changed


def set_dtype(values: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return ``config.json`` with another dtype of the weights, under the key that it uses."""
    changed = copy.deepcopy(values)
    for section in [changed, *(part for part in changed.values() if isinstance(part, dict))]:
        keys = [key for key in ("dtype", "torch_dtype") if key in section]
        section.update(dict.fromkeys(keys, dtype))
    return {"dtype": dtype, **changed} if "torch_dtype" not in changed else changed


def set_untied(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` of a model whose head is a table of its own."""
    changed = copy.deepcopy(values)
    for section in sections(changed):
        section["tie_word_embeddings"] = False
    return changed


def without_pad(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` without a pad id; the tokenizer and ``generation_config`` keep it."""
    changed = copy.deepcopy(values)
    for section in sections(changed):
        if "pad_token_id" in section:
            section["pad_token_id"] = None
    return changed
