"""A GGUF file as a normal model directory: safetensors, config.json, tokenizer.json.

transformers reads the tensors; what this module adds is a model that is no longer marked as
quantised, and the tokenizer's real pre-tokenizer, which transformers knows for some files only.
"""

import logging
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from tokenizers import Tokenizer, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    modeling_gguf_pytorch_utils,
)

from saltlm.config.transfer import Dtype
from saltlm.errors import CheckpointError, MissingExtraError, OutputError, python_command
from saltlm.files.atomic import new_directory
from saltlm.files.caches import cache_folder
from saltlm.files.damage import check_fetched, reading
from saltlm.files.hashes import sha256
from saltlm.files.leftovers import remove_dead
from saltlm.files.markdown import as_markdown
from saltlm.files.progress import progress
from saltlm.models.skeleton import hide_bars
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.save import save_tokenizer
from saltlm.tokenizer.special_tokens import LoadedTokenizer, special_tokens_of
from saltlm.tokenizer.target import own_tokenizer
from saltlm.version import __version__

_LOG = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class _Header:
    """What a file says of itself.

    Attributes:
        strings: its texts by key.
        types: how many tensors have each quantisation type, the most frequent first.
        n_weights: numbers in all tensors.
    """

    strings: dict[str, str]
    types: dict[str, int]
    n_weights: int


def cached_directory(gguf: Path) -> Path:
    """Return the model of a GGUF file as a directory, which is made if the cache has none.

    The weights become float32, which holds every quantisation type's numbers exactly. The cache,
    ``saltlm/gguf`` where the system keeps caches (``XDG_CACHE_HOME``), goes by the file's content.

    Raises:
        SaltlmError: as `dequantise_gguf` does.
    """
    _check_file(gguf)
    name = f"{gguf.stem}-{sha256(gguf)[:16]}-{__version__}"
    directory = cache_folder("gguf") / name
    remove_dead(directory.parent)
    if directory.is_dir():
        _LOG.info("%s is dequantised already: %s", gguf, directory)
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the cache {directory.parent} cannot be made: {error.strerror}",
            "set XDG_CACHE_HOME to another place",
        ) from error
    _LOG.info("%s is dequantised once, into %s", gguf, directory)
    dequantise_gguf(gguf, directory)
    return directory


def dequantise_gguf(
    gguf: Path,
    out: Path,
    *,
    dtype: Dtype = "float32",
    tokenizer: Path | None = None,
    force: bool = False,
) -> None:
    """Write the model of a GGUF file into a new directory in the Hugging Face layout.

    ``config.json`` and the card say that the weights were quantised before. The whole model is in
    memory meanwhile.

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
    header = _read_header(gguf)
    with reading(gguf, CheckpointError, "fetch the file again"):
        loaded = _load_tokenizer(gguf, header.strings, tokenizer)
    expected_bytes = header.n_weights * getattr(torch, dtype).itemsize
    with new_directory(out, force=force, expected_bytes=expected_bytes) as directory:
        hide_bars()
        with reading(gguf, CheckpointError, "fetch the file again"):
            model = _load_model(gguf, getattr(torch, dtype))
        model.config.dequantised_from = {
            "file": gguf.name,
            "sha256": sha256(gguf),
            "ggml_types": header.types,
        }
        model.save_pretrained(directory)
        for file in directory.glob("*.safetensors"):
            file.chmod(0o644)  # the library leaves them readable for their owner only
        target = own_tokenizer(Definition.of(loaded.backend_tokenizer), special_tokens_of(loaded))
        save_tokenizer(target, directory, model_type=model.config.model_type)
        card = _card(gguf, header)
        (directory / "README.md").write_text(card, encoding="utf-8")


def _check_file(gguf: Path) -> None:
    """Refuse what is no GGUF file before anything is loaded."""
    if not gguf.is_file():
        raise CheckpointError(f"{gguf} does not exist", "check the path")
    check_fetched(gguf, CheckpointError)
    with gguf.open("rb") as opened:
        magic = opened.read(4)
    if magic != b"GGUF":
        raise CheckpointError(
            f"{gguf} is not a GGUF file: it begins with {magic!r}", "fetch the file again"
        )


def _read_header(gguf: Path) -> _Header:
    _check_file(gguf)
    try:
        import accelerate  # noqa: F401  transformers reads no GGUF without it
        from gguf import GGUFReader, GGUFValueType
    except ImportError as error:
        raise MissingExtraError(f"reading {gguf.name}", "gguf") from error
    with reading(gguf, CheckpointError, "fetch the file again"):
        return _header_of(gguf, GGUFReader(gguf), GGUFValueType.STRING)


def _header_of(gguf: Path, reader: Any, string: Any) -> _Header:
    """Return the header; `string` is the library's name of that type."""
    n_files = reader.fields.get("split.count")
    if n_files is not None and int(n_files.contents()) > 1:
        raise CheckpointError(
            f"{gguf} is one of {n_files.contents()} files that hold the model together",
            "join them: llama-gguf-split --merge FIRST.gguf WHOLE.gguf",
        )
    strings = {
        key: str(bytes(field.parts[field.data[0]]), "utf-8")
        for key, field in reader.fields.items()
        if field.types == [string]
    }
    types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    n_weights = sum(math.prod(map(int, tensor.shape)) for tensor in reader.tensors)
    return _Header(strings, dict(types.most_common()), n_weights)


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
    steps = Definition.of(tokenizer).pre_tokenizer_steps
    if [step["type"] for step in steps] != ["ByteLevel"]:
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
            "fetch the original tokenizer and name it: "
            + python_command(
                "from pathlib import Path as P; from saltlm.models.gguf import dequantise_gguf as"
                f" d; d(P({str(gguf)!r}), P('DIR'), tokenizer=P('TOKENIZER_DIR'))"
            )
            + "; then use DIR",
        )


def _load_model(gguf: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model with plain weights.

    A model that was read from GGUF stays marked as quantised and cannot be saved; a fresh one with
    the same tensors can.
    """
    options: dict[str, Any] = {"dtype": dtype}
    if hasattr(transformers, "GgufConfig"):  # without it, some versions keep the weights packed
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    loaded, info = _from_gguf(AutoModelForCausalLM, gguf, output_loading_info=True, **options)
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"{gguf} lacks {len(missing)} tensors of a {type(loaded).__name__}: "
            f"{', '.join(missing[:3])}",
            "fetch the file again, or use the model's safetensors",
        )
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
    modeling_gguf_pytorch_utils.tqdm = progress  # its bar is shown where ours are
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


def _card(gguf: Path, header: _Header) -> str:
    licence = header.strings.get("general.license")
    front = f"---\n{yaml.safe_dump({'license': licence})}---\n\n" if licence else ""
    counts = ", ".join(f"{count} {name}" for name, count in header.types.items())
    return (
        f"{front}# {as_markdown(header.strings.get('general.name', gguf.stem))}\n\n"
        f"**Dequantised** from `{gguf.name}` ({counts} tensors): the weights are plain numbers "
        "again, but what quantisation rounded away is lost.\n"
    )
