"""A GGUF file as a normal model directory: safetensors, config.json, tokenizer.json.

transformers reads the tensors; what this module adds is a model that is no longer marked as
quantised, and the tokenizer's real pre-tokenizer, which transformers knows for some files only.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
import yaml
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from saltlm.directory import new_directory
from saltlm.errors import CheckpointError, MissingExtraError
from saltlm.roles import LoadedTokenizer, special_tokens_of
from saltlm.target_tokenizer import own_tokenizer, save_tokenizer

Dtype = Literal["float32", "bfloat16", "float16"]

# The names that llama.cpp gives to pre-tokenizers (tokenizer.ggml.pre). These two groups split as
# GPT-2 does, the first after setting every digit apart, which transformers loses.
_DIGITS_APART = {
    "codeshell",
    "command-r",
    "exaone",
    "minerva-7b",
    "refact",
    "smollm",
    "starcoder",
}
_AS_GPT2 = {
    "exaone4",
    "gigachat",
    "gpt-2",
    "granite-docling",
    "jais",
    "mpt",
    "olmo",
    "phi-2",
    "trillion",
}


def dequantise_gguf(
    gguf: Path,
    out: Path,
    *,
    dtype: Dtype = "float32",
    tokenizer: Path | None = None,
    force: bool = False,
) -> None:
    """Write the model of a GGUF file into a new directory in the Hugging Face layout.

    ``config.json`` and the card say that the weights were quantised before.

    Args:
        gguf: any quantisation and architecture that transformers can read.
        out: the directory to make.
        dtype: of the new weights.
        tokenizer: the directory of the original tokenizer, to take in place of the file's.
        force: replace ``out`` if it exists.

    Raises:
        MissingExtraError: the ``gguf`` package is not installed.
        CheckpointError: the file is broken or of a kind that cannot be read, or its
            pre-tokenizer is unknown and no ``tokenizer`` is given.
        OutputError: ``out`` cannot be written.
    """
    metadata, types, n_weights = _read_header(gguf)
    loaded = _load_tokenizer(gguf, metadata, tokenizer)
    expected_bytes = n_weights * getattr(torch, dtype).itemsize
    with new_directory(out, force=force, expected_bytes=expected_bytes) as directory:
        model = _load_model(gguf, getattr(torch, dtype))
        model.config.dequantised_from = {"file": gguf.name, "ggml_types": types}
        model.save_pretrained(directory)
        for file in directory.glob("*.safetensors"):
            file.chmod(0o644)  # the library leaves them readable for their owner only
        target = own_tokenizer(loaded.backend_tokenizer, special_tokens_of(loaded))
        save_tokenizer(target, directory, model_type=model.config.model_type)
        card = _card(gguf, metadata, types)
        (directory / "README.md").write_text(card, encoding="utf-8")


def _read_header(gguf: Path) -> tuple[dict[str, str], dict[str, int], int]:
    """Return the file's strings by key, its tensors by type, and the number of its weights."""
    try:
        from gguf import GGUFReader, GGUFValueType
    except ImportError as error:
        raise MissingExtraError(f"reading {gguf.name}", "gguf") from error
    try:
        reader = GGUFReader(gguf)
    except (OSError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{gguf} cannot be read as GGUF: {error}", "fetch the file again"
        ) from error
    strings = {
        key: str(bytes(field.parts[field.data[0]]), "utf-8")
        for key, field in reader.fields.items()
        if field.types == [GGUFValueType.STRING]
    }
    types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    n_weights = sum(math.prod(map(int, tensor.shape)) for tensor in reader.tensors)
    return strings, dict(types.most_common()), n_weights


def _load_tokenizer(gguf: Path, metadata: dict[str, str], original: Path | None) -> LoadedTokenizer:
    loaded: LoadedTokenizer
    if original is not None:
        loaded = AutoTokenizer.from_pretrained(original, local_files_only=True)
        return loaded
    loaded = _from_gguf(AutoTokenizer, gguf)
    _restore_pre_tokenizer(loaded.backend_tokenizer, metadata, gguf)
    return loaded


def _restore_pre_tokenizer(tokenizer: Tokenizer, metadata: dict[str, str], gguf: Path) -> None:
    """Split text as the file says, where transformers has put GPT-2's splitting; edits it."""
    definition = json.loads(tokenizer.to_str())["pre_tokenizer"] or {}
    if definition.get("type") != "ByteLevel":
        return  # SentencePiece, or one whose pattern transformers knows
    name = metadata.get("tokenizer.ggml.pre", "default")
    if name in _DIGITS_APART:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif name not in _AS_GPT2:
        raise CheckpointError(
            f"{gguf} names the pre-tokenizer {name!r}, which is not known here: text would be cut"
            " in other places than in training",
            "give the directory of the original tokenizer beside the file",
        )


def _load_model(gguf: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model with plain weights.

    A model that was read from GGUF stays marked as quantised and cannot be saved; a fresh one with
    the same tensors can.
    """
    options: dict[str, Any] = {"dtype": dtype}
    if hasattr(transformers, "GgufConfig"):  # without it, some versions keep the weights packed
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    loaded = _from_gguf(AutoModelForCausalLM, gguf, **options)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    with torch.device("meta"):
        model: PreTrainedModel = type(loaded)(config)
    model.load_state_dict(loaded.state_dict(), strict=True, assign=True)
    model.tie_weights()
    if loaded.generation_config is not None:
        model.generation_config = loaded.generation_config
    return model


def _from_gguf(loader: Any, gguf: Path, **options: Any) -> Any:
    try:
        return loader.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True, **options
        )
    except Exception as error:  # every architecture and type fails in its own way
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot read {gguf}: {reason}",
            "pip install -U transformers gguf, or use the model's safetensors",
        ) from error


def _card(gguf: Path, metadata: dict[str, str], types: dict[str, int]) -> str:
    licence = metadata.get("general.license")
    front = f"---\n{yaml.safe_dump({'license': licence})}---\n\n" if licence else ""
    counts = ", ".join(f"{count} {name}" for name, count in types.items())
    return (
        f"{front}# {metadata.get('general.name', gguf.stem)}\n\n"
        f"**Dequantised** from `{gguf.name}` ({counts} tensors): the weights are plain numbers "
        "again, but what quantisation rounded away is lost.\n"
    )
