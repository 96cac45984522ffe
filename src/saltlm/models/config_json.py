"""Token ids in ``config.json`` and ``generation_config.json``, renumbered for a new vocabulary."""

import copy
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tokenizers import Tokenizer

_ID_KEY = re.compile(
    r".*_token_(id|ids|index|indices|indexes)|(im|image|img|video|audio|vision)_(\w+_)?ids?"
)
_OTHER_VOCABULARIES = re.compile(r"code(c|book)_|t2u_|tts_codec_|audio_stream_")
_MAY_BE_ID = re.compile(r".*(_ids?|_token|_tokens|_index)")
_NO_ID = re.compile(r"(n|num)_.*|.*(layer|block|head|expert|ignore|prompt|lang|hook|_per_).*")
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "forced_decoder_ids")
_TEXT_SECTIONS = ("text_config", "language_config", "llm_config", "thinker_config")
_PAST_IDS = 2**32  # the first number that is no id of a tokenizer
_ROLE_KEYS = {f"{role}_token_id": role for role in ("bos", "eos", "pad", "unk", "sep", "cls")}


def renumber(
    values: dict[str, Any],
    source: Tokenizer,
    target: Tokenizer,
    roles: dict[str, int],
    *,
    overridden: frozenset[str] = frozenset(),
    keeps_ids: bool = False,
    surplus: tuple[int, int] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration whose token ids are those of the new tokenizer, and notes.

    They are followed in every part of it, in lists and in maps from tokens to ids, but for parts
    with a vocabulary of their own. An id becomes the new id of the same token. One whose token the
    new vocabulary does not have becomes null; lists of ids to suppress, which speak of ordinary
    tokens, are dropped. The notes say so, and name what may be an id of a special token under a
    name that is not known.

    Args:
        values: of ``config.json`` or ``generation_config.json``.
        source: the tokenizer that the ids are of.
        target: the new one.
        roles: role -> new id.
        overridden: roles that the user has given to another token.
        keeps_ids: the source's ids stand for the same tokens as before.
        surplus: first row of the source that no token has, and where it is in the new model.
    """
    new_id = partial(_new_id, source, target, keeps_ids, surplus)
    special = {id for id, token in source.get_added_tokens_decoder().items() if token.special}
    changed, notes = copy.deepcopy(values), list[str]()
    for section, limit in _with_source_ids(changed):
        for key, old in list(section.items()):
            role = _ROLE_KEYS.get(key)
            if key in _ID_LISTS and old:
                if not keeps_ids:
                    notes.append(f"{key} is dropped: it lists ids of the old vocabulary")
                    del section[key]
            elif not _is_followed(key, old, limit):
                if limit == 0 and not keeps_ids and _may_be_id(key) and _ids_of(old) & special:
                    notes.append(f"{key} {old} may be a token id of the old vocabulary")
            elif isinstance(old, dict):
                section[key] = {token: new_id(id) for token, id in old.items()}
                section[key] = {token: id for token, id in section[key].items() if id is not None}
                notes += _lost_in_map(key, old, section[key])
            elif role in overridden:
                section[key] = roles[role]
            else:
                new = _renumber_one(old, new_id)
                section[key] = roles.get(role or "") if new is None and old is not None else new
    return changed, notes


def _new_id(
    source: Tokenizer,
    target: Tokenizer,
    keeps_ids: bool,
    surplus: tuple[int, int] | None,
    old: Any,
) -> int | None:
    if not isinstance(old, int):
        return None
    token = source.id_to_token(old) if 0 <= old < _PAST_IDS else None
    if token is None and surplus is not None and old >= surplus[0]:
        return old - surplus[0] + surplus[1]
    if old < 0 or keeps_ids:
        return old
    found: int | None = target.token_to_id(token) if token is not None else None
    return found


def _may_be_id(key: str) -> bool:
    return bool(_MAY_BE_ID.fullmatch(key)) and not _NO_ID.fullmatch(key)


def _with_source_ids(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield every part of a configuration, and from where on its ids are the source's.

    A part beside the text model with a vocabulary of its own has ids of that, up to its size.
    """
    texts = [id(section) for section in sections(values)]
    sizes = {section["vocab_size"] for section in sections(values) if "vocab_size" in section}
    left = [values]
    while left:
        section = left.pop(0)
        own = section.get("vocab_size")
        is_own = isinstance(own, int) and id(section) not in texts and own not in sizes
        yield section, own if is_own and isinstance(own, int) else 0
        left += [
            part for key, part in section.items() if isinstance(part, dict) and "map" not in key
        ]


def _is_followed(key: str, value: Any, limit: int) -> bool:
    if isinstance(value, dict):
        return key.endswith("vocabulary_map") or key.endswith("token_map")
    if not _ID_KEY.fullmatch(key) or _OTHER_VOCABULARIES.match(key):
        return False
    return limit == 0 or all(id >= limit for id in _ids_of(value))


def _ids_of(value: Any) -> set[int]:
    values = value if isinstance(value, list) else [value]
    return {id for id in values if isinstance(id, int) and not isinstance(id, bool)}


def _lost_in_map(key: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return a note on the tokens that a map had and has no more."""
    lost = [token for token in old if token not in new]
    if not lost:
        return []
    return [
        f"{key}: {len(lost)} of {len(old)} tokens are not in the new vocabulary, such as"
        f" {lost[0]!r}: what reads images by them does not work any more"
    ]


def sections(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a configuration and that of its text model, where it is a part of a larger one."""
    inner = [part for name in _TEXT_SECTIONS if isinstance(part := values.get(name), dict)]
    return [values, *(section for part in inner for section in sections(part))]


def with_default_ids(values: dict[str, Any], loaded: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` with the ids that it leaves to the defaults of its class.

    They mean tokens of the source as those that are written do.

    Args:
        values: of the file.
        loaded: of the configuration as transformers loads it.
    """
    complete = copy.deepcopy(values)
    for key, default in loaded.items():
        if isinstance(default, dict) and isinstance(complete.get(key), dict):
            if "map" not in key and all(isinstance(name, str) for name in default):  # no labels
                complete[key] = with_default_ids(complete[key], default)
        elif _ID_KEY.fullmatch(key) and _ids_of(default):
            complete.setdefault(key, default)
    return complete


def _renumber_one(value: Any, new_id: Callable[[Any], int | None]) -> Any:
    if not isinstance(value, list):
        return new_id(value)
    return [id for old in value if (id := new_id(old)) is not None] or None


def set_vocabulary_size(values: dict[str, Any], size: int) -> dict[str, Any]:
    """Return ``config.json`` with the new number of rows, wherever the old one is said."""
    changed = copy.deepcopy(values)
    texts = sections(changed)
    holders = [part for part in texts if "vocab_size" in part]
    old = {part["vocab_size"] for part in holders}
    for section in holders or texts[-1:]:
        section["vocab_size"] = size
    offsets = []
    for section, _ in list(_with_source_ids(changed)):
        if section.get("vocab_size") in old:
            section["vocab_size"] = size
        for key in ("vocab_size_per_layer_input", "unpadded_vocab_size"):
            if key in section:
                section[key] = size
        if isinstance(section.get("vocab_offset"), int):
            offsets.append(section)
    first = min((section["vocab_offset"] for section in offsets), default=0)
    for section in offsets:  # ids from there on are read by another part of the model: none is
        section["vocab_offset"] += size - first
    return changed


def set_dtype(values: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return ``config.json`` with another dtype of the weights, under the key that it uses."""
    changed = copy.deepcopy(values)
    for section in [changed, *(part for part in changed.values() if isinstance(part, dict))]:
        keys = [key for key in ("dtype", "torch_dtype") if key in section]
        section.update(dict.fromkeys(keys, dtype))
    return {"dtype": dtype, **changed} if "torch_dtype" not in changed else changed


def set_tied(values: dict[str, Any], is_tied: bool) -> dict[str, Any]:
    """Return ``config.json`` that says whether the head is the embedding, wherever it says so."""
    changed = copy.deepcopy(values)
    for section in sections(changed):
        if section is changed or not is_tied or "tie_word_embeddings" in section:
            section["tie_word_embeddings"] = is_tied
    return changed


def says_tied(values: dict[str, Any]) -> set[bool]:
    """Return what the parts of ``config.json`` say of the head being the embedding."""
    flags = (section.get("tie_word_embeddings") for section in sections(values))
    return {bool(flag) for flag in flags if flag is not None}
