"""The tokenizer's files, written so that ``AutoTokenizer`` loads exactly this tokenizer."""

import json
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer, PreTrainedConfig

from saltlm.errors import VocabularyError
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.special_tokens import ROLES
from saltlm.tokenizer.target import TargetTokenizer


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
        if _loads_as(target.definition, directory, model_type):
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
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        # Without token_type_ids, which this class would add and decoder models refuse.
        "model_input_names": ["input_ids", "attention_mask"],
        **target.settings,
        **{f"{role}_token": tokens.get(role) for role in ROLES},
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in target.definition.added
        },
    }


def _loads_as(definition: Definition, directory: Path, model_type: str | None) -> bool:
    config = (
        AutoConfig.for_model(model_type) if model_type in CONFIG_MAPPING else PreTrainedConfig()
    )
    loaded = AutoTokenizer.from_pretrained(directory, config=config, local_files_only=True)
    return _behaviour(Definition.of(loaded.backend_tokenizer)) == _behaviour(definition)


def _behaviour(definition: Definition) -> dict[str, Any]:
    """Return what it says, without the flags of special tokens, which some classes reset.

    Llama's class puts a template without a token in the place of none.
    """
    added = {token["content"]: token["id"] for token in definition.added}
    after = definition.json.get("post_processor") or {}
    is_empty = after.get("type") == "TemplateProcessing" and not after["special_tokens"]
    return {
        **definition.json,
        "added_tokens": added,
        "post_processor": None if is_empty else after or None,
    }
