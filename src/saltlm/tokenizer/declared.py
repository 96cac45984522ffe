"""What a model directory says of its tokenizer beside the vocabulary: class, settings, tokens."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from saltlm.errors import VocabularyError
from saltlm.files.damage import reading
from saltlm.files.json_object import read_json, read_text

_ROLE_KEYS = tuple(f"{role}_token" for role in ("bos", "eos", "pad", "unk", "sep", "cls", "mask"))
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_GENERIC = ("pretrained", "tokenizersbackend", "pythonbackend", "")


@dataclass(frozen=True)
class Declared:
    """What the JSON files of a directory say.

    Attributes:
        directory: where they are.
        class_name: the class of transformers they name; "" if they name none.
        model_type: of config.json; "" if it says none.
        kind: that class, in lower case and without "Tokenizer": "bert", "xlmroberta"; where it says
            nothing, the type of the model.
        settings: of tokenizer_config.json.
        roles: "unk_token" and the like -> token, where one is named.
        added: id -> content and flags of tokens that the files list with their ids.
    """

    directory: Path
    class_name: str
    model_type: str
    kind: str
    settings: dict[str, Any]
    roles: dict[str, str]
    added: dict[int, dict[str, Any]]

    def token(self, role: str, default: str) -> str:
        """Return the token of a role, such as "unk"; the default if none is named."""
        return self.roles.get(f"{role}_token", default)

    def text(self, name: str) -> str:
        """Return what a file of the directory holds, without a byte order mark.

        Raises:
            VocabularyError: it is not UTF-8.
        """
        hint = f"fetch {name} anew, or give a copy of the model that has a tokenizer.json"
        with reading(self.directory / name, VocabularyError, hint):
            return read_text(self.directory / name).removeprefix("\ufeff")


def token_string(token: Any) -> str | None:
    """Return a token's string: it may be written as one, or as an AddedToken's fields."""
    if isinstance(token, dict):
        token = token.get("content")
    return None if token is None else str(token)


def read_declared(directory: Path) -> Declared:
    """Read what a directory says of its tokenizer.

    Raises:
        CheckpointError: one of its files is not a JSON object.
        VocabularyError: one of them says what none can.
    """
    hint = "fetch tokenizer_config.json and config.json anew"
    with reading(f"the tokenizer of {directory}", VocabularyError, hint):
        return _declared(directory)


def _declared(directory: Path) -> Declared:
    settings = read_json(directory / "tokenizer_config.json")
    config = read_json(directory / "config.json")
    named = read_json(directory / "special_tokens_map.json") | settings
    class_name = settings.get("tokenizer_class") or config.get("tokenizer_class") or ""
    model_type = str(config.get("model_type", ""))
    kind = _plain(class_name.removesuffix("Fast").removesuffix("Tokenizer"))
    if kind in _GENERIC:
        kind = _plain(model_type)
    roles = {key: token for key in _ROLE_KEYS if (token := token_string(named.get(key)))}
    added = {
        int(id): dict(token)
        for id, token in settings.get("added_tokens_decoder", {}).items()
        if isinstance(token, Mapping)
    }
    for token, id in read_json(directory / "added_tokens.json").items():
        added.setdefault(id, {"content": token})
    return Declared(directory, class_name, model_type, kind, settings, roles, added)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def add_declared(tokenizer: Tokenizer, declared: Declared) -> None:
    """List the tokens among a tokenizer's added ones that its directory declares; edits it.

    Those that are not in its vocabulary are added only where they get the id they are listed with.
    """
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for id, token in sorted(declared.added.items()):
        content = str(token["content"])
        place = tokenizer.token_to_id(content)
        if content in known or id != (tokenizer.get_vocab_size() if place is None else place):
            continue
        flags = {flag: bool(token[flag]) for flag in FLAGS if flag in token}
        tokenizer.add_tokens([AddedToken(content, **flags)])
        known.add(content)
    for content in declared.roles.values():
        if content not in known and tokenizer.token_to_id(content) is not None:
            tokenizer.add_special_tokens([AddedToken(content, normalized=False, special=True)])
