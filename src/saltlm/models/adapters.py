"""A folder that holds an adapter: its base alone is another model than the two together."""

from pathlib import Path

from saltlm.errors import CheckpointError, python_command
from saltlm.files.json_object import read_json

_FILE = "adapter_config.json"


def check_no_adapter(directory: Path) -> None:
    """Refuse a folder with an adapter, alone or beside the model that it belongs to.

    Raises:
        CheckpointError: there is one; with the command that merges it.
    """
    if not (directory / _FILE).is_file():
        return
    settings = read_json(directory / _FILE)
    base = settings.get("base_model_name_or_path") or "an unknown model"
    has_model = (directory / "config.json").is_file()
    has_tokenizer = (directory / "tokenizer_config.json").is_file()
    out = f"{str(directory).rstrip('/')}-merged"
    tokenizer = str(directory if has_tokenizer else base)
    command = python_command(
        "from peft import AutoPeftModelForCausalLM as Model;"
        " from transformers import AutoTokenizer as Tokenizer;"
        f" Model.from_pretrained({str(directory)!r}).merge_and_unload().save_pretrained({out!r});"
        f" Tokenizer.from_pretrained({tokenizer!r}).save_pretrained({out!r})"
    )
    raise CheckpointError(
        f"{directory} holds an adapter ({settings.get('peft_type') or 'of peft'}) of {base}"
        f"{', beside a model' if has_model else ''}: without it the model is another one",
        f"merge it (pip install peft), then give {out}: {command}",
    )
