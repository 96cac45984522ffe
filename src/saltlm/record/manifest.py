"""The record of a transfer: ``DIR/saltlm/manifest.json`` and the provenance of every token."""

import importlib.metadata
import json
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from saltlm.errors import CheckpointError
from saltlm.version import __version__

FOLDER = "saltlm"
_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json`` into the record folder of ``directory``."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return what `write_manifest` wrote.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    file = directory / FOLDER / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{file} cannot be read: {error}",
            "saltlm transfer SOURCE PLM --out DIR makes a directory with a record",
        ) from error
    return manifest


def environment() -> dict[str, Any]:
    """Return what the result may depend on besides its inputs."""
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


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
