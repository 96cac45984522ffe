"""The record of how a directory was made: ``DIR/saltlm/manifest.json``."""

import importlib.metadata
import json
import platform
import resource
import sys
from pathlib import Path
from typing import Any, Literal, TypedDict

from saltlm.errors import CheckpointError
from saltlm.files.atomic import replace_text
from saltlm.files.json_object import parse_json, read_text
from saltlm.version import __version__

FOLDER = "saltlm"
_SCHEMA = 1
_MAKE_IT = "saltlm transfer SOURCE PLM --out DIR makes a directory with a record"
_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


class ParentRecord(TypedDict):
    """A model that another one was made of.

    Attributes:
        name: as the user typed it.
        revision: commit of the Hub repository; None for a local directory.
        licence: that its card states.
        languages: codes that its card states.
        dequantised_from: the GGUF file that it was read from, and the types in it.
        files: name -> SHA-256 of its settings and tokenizer.
        tables: role -> tensors and SHA-256 of each per-token table.
        is_tied: whether one table is embedding and head.
    """

    name: str
    revision: str | None
    licence: str | None
    languages: list[str]
    dequantised_from: dict[str, Any] | None
    files: dict[str, str]
    tables: dict[str, dict[str, Any]]
    is_tied: bool


class Manifest(TypedDict, total=False):
    """What is in ``manifest.json``; which fields there are goes by ``kind``.

    Attributes:
        schema: version of this layout.
        kind: what was made: a transferred LLM, a pruned PLM, an LLM that was only adapted or
            merged, or a PLM that was trained from nothing.
        source: the LLM of a transfer.
        plm: the PLM of a transfer, or the one that was pruned.
        files: path -> SHA-256 of what was read beside the models.
        vocabulary: how the new vocabulary was chosen.
        text: what the new vocabulary makes of the corpus; see `saltlm.record.on_text`.
        auxiliary: the auxiliary space, in words.
        yardstick: the method's score on shared tokens that it was not shown.
        method: name and options.
        output: of the method for the head's rows, if it is another.
        untied: whether the head was the embedding in the source and is no longer.
        fits: of input rows and of the head's, what each did; see `saltlm.record.fits`.
        proof: what a run beside the source has shown, or why there was none.
        options: all options of the run.
        counts: how many rows have each origin, and other counts.
        roles: the special tokens of the new model.
        notes: what a user may not expect, a sentence each.
        tensors: name -> SHA-256 of each tensor of the source before and after, or how its file is
            shared with the source.
        environment: versions of libraries, and the machine.
        seconds: stage -> how long it took.
        peak_memory_bytes: of the process.
        adaptations: a record of each run of continued pre-training.
        merges: a record of each merge with a model that this one was made of.
        pruned: what a pruned PLM kept, and what the corpus lost by it.
        pretraining: what a PLM's training began with, and why.
    """

    schema: int
    kind: Literal["transfer", "pruned", "adapted", "merged", "pretrained"]
    source: ParentRecord
    plm: ParentRecord | dict[str, Any]
    files: dict[str, str]
    vocabulary: dict[str, Any]
    text: dict[str, Any] | None
    auxiliary: str
    yardstick: dict[str, Any] | None
    method: dict[str, Any]
    output: dict[str, Any] | None
    untied: bool
    fits: dict[str, dict[str, Any] | None]
    proof: dict[str, Any]
    options: dict[str, Any]
    counts: dict[str, Any]
    roles: list[dict[str, Any]]
    notes: list[str]
    tensors: dict[str, dict[str, str | None]]
    environment: dict[str, Any]
    seconds: dict[str, float]
    peak_memory_bytes: int
    adaptations: list[dict[str, Any]]
    merges: list[dict[str, Any]]
    pruned: dict[str, Any]
    pretraining: dict[str, Any]


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into the record folder of ``directory``."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    text = json.dumps({"schema": _SCHEMA, **manifest}, indent=2, ensure_ascii=False) + "\n"
    replace_text(folder / "manifest.json", text)


def read_manifest(directory: Path) -> Manifest:
    """Return what `write_manifest` wrote.

    Raises:
        CheckpointError: there is none, it is damaged, or of another layout.
    """
    file = directory / FOLDER / "manifest.json"
    try:
        found = parse_json(read_text(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}", _MAKE_IT) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds a {type(found).__name__}, not a record", _MAKE_IT)
    if found.get("schema") != _SCHEMA:
        raise CheckpointError(
            f"{file} has the layout {found.get('schema')!r}; saltlm {__version__} reads {_SCHEMA}",
            "use the version of saltlm that made it, or make the directory again",
        )
    manifest: Manifest = found  # type: ignore[assignment]
    return manifest


def environment() -> dict[str, Any]:
    """Return what the result may depend on besides its inputs."""
    import torch  # here, so that a record is read without it

    versions = {"saltlm": __version__}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": versions,
        "threads": torch.get_num_threads(),
    }


def free_memory_bytes() -> int | None:
    """Return the memory that is free for a process; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as opened:
            lines = dict(line.split(":", 1) for line in opened)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
