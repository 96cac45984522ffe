"""The directory of a new model: weights, settings, tokenizer, card and record."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from saltlm.config.fits import fits_for
from saltlm.config.transfer import TransferConfig
from saltlm.files.atomic import left_by_killed_run
from saltlm.files.documents import first
from saltlm.files.hashes import sha256, table_hash
from saltlm.files.json_object import read_json
from saltlm.files.source import fingerprint
from saltlm.methods.registry import Choice, plain
from saltlm.models.checkpoint import Checkpoint, dtype_name
from saltlm.models.config_json import (
    renumber,
    says_tied,
    set_dtype,
    set_tied,
    set_vocabulary_size,
    with_default_ids,
)
from saltlm.models.hub import resolve_model, revision_of
from saltlm.models.older_keys import with_older_keys
from saltlm.models.quantised_tables import settings_of_decoded
from saltlm.models.shards import planned_bytes
from saltlm.models.token_tables import Tables, replacements
from saltlm.models.write import TensorHashes, write_checkpoint
from saltlm.record.card import languages_of, licence_of, model_card
from saltlm.record.manifest import Manifest, ParentRecord, environment, write_manifest
from saltlm.record.on_text import MOST_DOCUMENTS, text_record
from saltlm.scoring.holdout import Score
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import TOKENIZER_FILES
from saltlm.tokenizer.save import save_tokenizer
from saltlm.tokenizer.target import role_table
from saltlm.tokenizer.vocabulary import read_vocabulary
from saltlm.vocabulary_transfer.parents import Pair, Parent
from saltlm.vocabulary_transfer.prepare import input_files
from saltlm.vocabulary_transfer.result import TransferResult

logger = logging.getLogger(__name__)

_ALSO_COPIED = ("LICENSE*", "NOTICE*", "*processor_config.json", "hf_quant_config.json")


def expected_bytes(pair: Pair, config: TransferConfig, out: Path) -> int:
    """Return how much room the new model's weights take beside what is shared, but for padding."""
    checkpoint, rows = pair.source.checkpoint, len(pair.alignment.match.plm_ids)
    shapes = {}
    for name in {*pair.tables.all_names} - {pair.tables.rest}:
        shape = checkpoint.tensors[name].shape
        shapes[name] = (1, rows) if shape[0] == 1 else (rows, *shape[1:])
    size = planned_bytes(checkpoint, shapes, _stored_dtype(config))
    if config.link == "copy" or config.dtype or config.max_shard_size:
        return size
    changed = {checkpoint.tensors[name].file for name in shapes}
    same_disk = out.resolve().parent.stat().st_dev
    return size - sum(
        entry.nbytes
        for entry in checkpoint.tensors.values()
        if entry.file not in changed and entry.file.stat().st_dev == same_disk
    )


def _stored_dtype(config: TransferConfig) -> str | None:
    """Return the safetensors name of the dtype that the user wants."""
    return None if config.dtype is None else dtype_name(getattr(torch, config.dtype))


def write_model(
    directory: Path,
    pair: Pair,
    result: TransferResult,
    config: TransferConfig,
    method: Choice,
) -> Manifest:
    """Write everything but the card and the manifest, which `finish_model` writes.

    Args:
        directory: an empty one.
        pair: the two parents.
        result: the new rows and the new tokenizer.
        config: options of the run.
        method: that made the new rows.

    Returns:
        The manifest, without times.
    """
    source, tables = pair.source, pair.tables
    new = replacements(
        source.checkpoint,
        tables,
        result.embedding,
        result.head,
        result.head_bias,
        result.further,
    )
    hashes = write_checkpoint(
        source.checkpoint,
        directory,
        new,
        dtype=_stored_dtype(config),
        max_shard_bytes=config.max_shard_size,
        earlier=left_by_killed_run(directory),
        may_share=config.link == "auto",
    )
    of_ids = _write_settings(directory, pair, result, config)
    notes = save_tokenizer(result.target, directory, model_type=source.config.model_type)
    result.provenance.save(directory)
    fits = fits_for(config.fits, pair.alignment.record.get("budget"))  # as they ran
    return {
        "kind": "transfer",
        "source": _describe(source, tables),
        "plm": _describe(pair.plm, pair.plm_tables),
        "files": {str(file): fingerprint(file) for file in input_files(config, method)},
        "vocabulary": {
            **pair.alignment.record,
            "source_family": pair.alignment.source.family,
            "tokenizer": _describe_tokenizer(config),
        },
        "text": _describe_text(pair, result, config),
        "auxiliary": result.auxiliary,
        "yardstick": _describe_score(result.score),
        "method": _describe_method(method),
        "output": None if method.output is None else _describe_method(method.output),
        "untied": tables.was_tied,
        "fits": {
            "input": None if result.input_fit is None else dataclasses.asdict(result.input_fit),
            "head": None if result.head_fit is None else dataclasses.asdict(result.head_fit),
        },
        "options": config.model_copy(update={"fits": fits}).model_dump(mode="json"),
        "counts": {**result.counts, **_more_counts(result, pair)},
        "roles": [row._asdict() for row in role_table(result.target)],
        "notes": [
            *(*result.notes, *of_ids, *notes, *_sharing_notes(source.checkpoint, hashes)),
            conversion_note(result.target.definition),
        ],
        "tensors": {name: dataclasses.asdict(both) for name, both in hashes.items()},
        "environment": environment(),
    }


def _sharing_notes(checkpoint: Checkpoint, hashes: Mapping[str, TensorHashes]) -> Iterator[str]:
    """Say which weight files are the source's."""
    found = {checkpoint.tensors[name].file.name: both.shared for name, both in hashes.items()}
    for kind in sorted({kind for kind in found.values() if kind}):
        files = [file for file, shared in found.items() if shared == kind]
        yield (
            f"{len(files)} weight files are the source's own ({kind}: {files[0]}, ...): saltlm"
            " changes no file in place, and nobody should"
        )


def finish_model(directory: Path, name: str, manifest: Manifest) -> None:
    """Write the manifest and the card that is made of it."""
    write_manifest(directory, manifest)
    (directory / "README.md").write_text(model_card(name, manifest), encoding="utf-8")


def _write_settings(
    directory: Path, pair: Pair, result: TransferResult, config: TransferConfig
) -> list[str]:
    """Write config.json and generation_config.json with the new ids, and copy what has none.

    Returns:
        What to know of the ids, a sentence each.
    """
    notes: list[str] = []
    source, target, extra = pair.source, result.target, pair.tables.surplus
    size = len(result.embedding) - extra
    for name in ("config.json", "generation_config.json"):
        values = read_json(source.directory / name)
        if name == "config.json":
            values = with_default_ids(values, source.config.to_dict())
        values, told = renumber(
            values,
            source.tokenizer,
            target.tokenizer,
            target.roles,
            overridden=frozenset(config.special_tokens.roles),
            keeps_ids=config.mode == "extend",
            surplus=(len(pair.tables.embedding) - extra, size) if extra else None,
        )
        notes += [f"{name}: {note}" for note in told]
        if name == "config.json":
            values = set_vocabulary_size(values, size)
            values, _ = settings_of_decoded(values, source.checkpoint)
            is_tied = result.head is None
            if says_tied(values) | {bool(source.config.tie_word_embeddings)} != {is_tied}:
                values = set_tied(values, is_tied)
            if config.dtype is not None:
                values = set_dtype(values, config.dtype)
            values = with_older_keys(values)
        if values:
            text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (directory / name).write_text(text, encoding="utf-8")
    for pattern in (*_ALSO_COPIED, *(["*.py"] if config.trust_remote_code else [])):
        for file in sorted(source.directory.glob(pattern)):
            if file.is_file():
                shutil.copyfile(file, directory / file.name)
    for note in notes:
        logger.warning(note)
    return notes


def _describe(parent: Parent, tables: Tables) -> ParentRecord:
    """Return what the manifest says of a parent."""
    return {
        "name": parent.name,
        "revision": parent.revision,
        "licence": licence_of(parent.directory),
        "languages": languages_of(parent.directory),
        "dequantised_from": getattr(parent.config, "dequantised_from", None),
        "files": _hashes(parent.directory),
        "tables": {
            role: {"tensors": list(names), "sha256": table_hash(getattr(tables, role))}
            for role, names in tables.names.items()
        }
        | {
            further.names[0]: {"tensors": list(further.names), "sha256": table_hash(further.table)}
            for further in tables.further
        },
        "is_tied": tables.is_tied or tables.was_tied,
    }


def _describe_method(method: Choice) -> dict[str, Any]:
    return {"name": method.name, "options": plain(method.options)}


def _describe_tokenizer(config: TransferConfig) -> dict[str, Any] | None:
    """Return what the manifest says of a tokenizer that is neither parent's."""
    if config.target_tokenizer is None:
        return None
    directory = resolve_model(config.target_tokenizer, with_weights=False)
    return {
        "name": config.target_tokenizer,
        "revision": revision_of(directory),
        "licence": licence_of(directory),
        "files": _hashes(directory),
    }


def _hashes(directory: Path) -> dict[str, str]:
    names = ("config.json", *TOKENIZER_FILES)
    files = [directory / name for name in names]
    return {file.name: sha256(file) for file in files if file.is_file()}


def _describe_text(
    pair: Pair, result: TransferResult, config: TransferConfig
) -> dict[str, Any] | None:
    """Return what the two vocabularies make of the corpus; None if there is none."""
    if not config.corpus:
        return None
    record = text_record(
        first(config.corpus, MOST_DOCUMENTS),
        (pair.source.tokenizer, pair.alignment.source),
        (result.tokenizer, read_vocabulary(result.target.definition)),
        result.provenance.origin,
    )
    return dict(record)


def _describe_score(score: Score | None) -> dict[str, Any] | None:
    """Return what the manifest says of the method's score; None if there is none."""
    if score is None or score.error:
        return None
    found = score.to_json()
    return {key: found[key] for key in ("n_tokens", "r2", "cosine", "norm_ratio", "retrieval")}


def _more_counts(result: TransferResult, pair: Pair) -> dict[str, Any]:
    """Return the counts of the manifest beside those of the origins."""
    rows, k = len(pair.tables.embedding), result.provenance.neighbours.k.double()
    points = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    spread = k.quantile(points).tolist() if len(k) else []
    return {
        "anchors": len(result.provenance.anchor_ids),
        "source_padding_rows": max(0, rows - len(pair.alignment.source)),
        "source_duplicate_forms": len(pair.alignment.source.duplicates),
        "k": dict(zip(("min", "median", "max"), spread, strict=False)),
    }


def conversion_note(definition: Definition) -> str:
    """Say what llama.cpp's converter does with a new tokenizer, and what it would have to know."""
    parts = ", ".join(step["type"] for step in definition.pre_tokenizer_steps) or "none"
    return (
        "llama.cpp's converter knows tokenizers by a hash and refuses this one "
        f"({definition.kind}, pre-tokenizer {parts}); before a conversion to GGUF read "
        "docs/handover.md"
    )
