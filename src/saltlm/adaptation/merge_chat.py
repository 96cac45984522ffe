"""What a chat model says of itself beside its weights: template, and tokens that end its turns."""

import json
import logging
from pathlib import Path

from saltlm.files.json_object import read_json
from saltlm.vocabulary_transfer.parents import Parent

logger = logging.getLogger(__name__)


def take_chat_settings(directory: Path, adapted: Parent, chat: Parent) -> bool:
    """Give a model directory the chat template and the ends of a chat model, if it has none.

    Args:
        directory: of the new model, with the settings of the adapted one.
        adapted: whose vocabulary it has.
        chat: the model that can chat.

    Returns:
        Whether it did; not where a control token of the template is no token of the vocabulary.
    """
    template = chat.special.chat_templates.get("default")
    if template is None or adapted.special.chat_templates:
        return False
    ends = [*chat.special.config_roles.get("eos", ()), chat.special.roles["eos"]]
    needed = {token for token in chat.special.tokens if token in template} | {*filter(None, ends)}
    lacking = sorted(token for token in needed if adapted.tokenizer.token_to_id(token) is None)
    if lacking:
        logger.warning(
            "%s has no chat template, and that of %s needs tokens that it lacks: %s",
            adapted.name,
            chat.name,
            ", ".join(lacking),
        )
        return False
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = read_json(directory / "generation_config.json")
    own = settings.get("eos_token_id", [])
    ids = {*(own if isinstance(own, list) else [own])} - {None}
    ids |= {adapted.tokenizer.token_to_id(token) for token in ends if token}
    settings["eos_token_id"] = sorted(ids)
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (directory / "generation_config.json").write_text(text, encoding="utf-8")
    return True
