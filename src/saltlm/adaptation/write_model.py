"""The end of a run: DIR becomes a plain model directory.

It is written aside, read back, and its files are renamed into DIR, ``config.json`` last: without
that file nothing takes DIR for a model.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from saltlm.adaptation.checkpoints import weights_of
from saltlm.adaptation.run_folder import RunFolder
from saltlm.errors import OutputError
from saltlm.files.atomic import disk_errors, sync
from saltlm.files.hashes import sha256
from saltlm.files.json_object import read_json
from saltlm.models.config_json import says_tied, set_tied
from saltlm.record.card import model_card
from saltlm.record.manifest import FOLDER, Manifest, read_manifest, write_manifest

_TEMPLATES = "additional_chat_templates"
_WEIGHT_FILES = (
    "*.safetensors",
    "*.bin",
    "*.index.json",
    "*.h5",
    "*.msgpack",
    "*.gguf",
    "*.pt",
    "*.pth",
    "*.onnx",
)


def write_adapted(
    model: PreTrainedModel,
    source: Path,
    folder: RunFolder,
    adaptation: Mapping[str, Any],
    *,
    loader: Any,
    trust_remote_code: bool = False,
) -> None:
    """Write an adapted model into its directory, with all that came with the one it was made of.

    Args:
        model: without wrappers or adapters, in the dtype to be stored.
        source: the directory of the model that was adapted.
        folder: of the run.
        adaptation: what ``saltlm/manifest.json`` says of the run.
        loader: class of transformers; loads what was written.
        trust_remote_code: run code that the model brings along.

    Raises:
        OutputError: the disk is full, or what is read back is not what was written.
    """
    aside = folder.path / ".model"
    with disk_errors(folder.out):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        model.save_pretrained(aside)
        copy_settings(source, aside, with_code=trust_remote_code)
        _say_tied(model, aside)
        _check_same(model, aside, loader, trust_remote_code)
        _write_record(source, aside, folder.out, adaptation)
        sync(aside)
        _publish(aside, folder.out)


def copy_settings(source: Path, out: Path, *, with_code: bool) -> None:
    """Copy what stands in a model directory beside its weights, and code only if it is trusted."""
    left_out = _WEIGHT_FILES if with_code else (*_WEIGHT_FILES, "*.py")
    for file in sorted(source.iterdir()):
        if file.is_file() and not any(file.match(pattern) for pattern in left_out):
            shutil.copyfile(file, out / file.name)
    if (source / _TEMPLATES).is_dir():
        shutil.copytree(source / _TEMPLATES, out / _TEMPLATES)


def _say_tied(model: PreTrainedModel, directory: Path) -> None:
    """Let ``config.json`` say whether the file holds one table or two."""
    head, values = model.get_output_embeddings(), read_json(directory / "config.json")
    if head is None:
        return
    is_tied = head.weight is model.get_input_embeddings().weight
    flags = says_tied(values) | {bool(model.config.tie_word_embeddings)}
    if flags != {is_tied}:
        text = json.dumps(set_tied(values, is_tied), indent=2, ensure_ascii=False) + "\n"
        (directory / "config.json").write_text(text, encoding="utf-8")


def _check_same(
    model: PreTrainedModel, directory: Path, loader: Any, trust_remote_code: bool
) -> None:
    """Load the directory as anybody would, and compare every tensor bit for bit."""
    loaded = loader.from_pretrained(
        directory, dtype=model.dtype, local_files_only=True, trust_remote_code=trust_remote_code
    )
    ours, theirs = weights_of(model), weights_of(loaded)
    wrong = [
        name
        for name in sorted(ours.keys() | theirs.keys())
        if name not in ours or name not in theirs or not torch.equal(ours[name].cpu(), theirs[name])
    ]
    if wrong:
        raise OutputError(
            f"{directory} does not read back as it was written: {len(wrong)} tensors differ, such"
            f" as {wrong[0]}",
            "check the disk, then run the same command again: the checkpoints are kept",
        )


def _write_record(source: Path, aside: Path, out: Path, adaptation: Mapping[str, Any]) -> None:
    provenance = source / FOLDER / "provenance.safetensors"
    manifest: Manifest = {"kind": "adapted"}
    (aside / FOLDER).mkdir()
    if (source / FOLDER / "manifest.json").is_file():
        manifest = read_manifest(source)
    if provenance.is_file():
        shutil.copyfile(provenance, aside / FOLDER / provenance.name)
    weights = {file.name: sha256(file) for file in sorted(aside.glob("*.safetensors"))}
    earlier = manifest.get("adaptations", [])
    manifest["adaptations"] = [*earlier, {**adaptation, "weights": weights}]
    write_manifest(aside, manifest)
    if manifest["kind"] == "transfer":  # which made a card
        card = model_card(out.name, manifest)
        (aside / "README.md").write_text(card, encoding="utf-8")


def _publish(aside: Path, out: Path) -> None:
    for file in sorted((aside / FOLDER).iterdir()):
        file.replace(out / FOLDER / file.name)
    if (aside / _TEMPLATES).is_dir():
        shutil.rmtree(out / _TEMPLATES, ignore_errors=True)
        (aside / _TEMPLATES).rename(out / _TEMPLATES)
    (out / "config.json").unlink(missing_ok=True)
    files = sorted(
        (file for file in aside.iterdir() if file.is_file()),
        key=lambda file: file.name == "config.json",
    )
    for file in files:
        file.replace(out / file.name)
    sync(out)
    shutil.rmtree(aside)
