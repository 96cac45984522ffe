"""SALT: from an English LLM and a target-language PLM to the LLM with the PLM's vocabulary.

`transfer` works on names and paths, `transfer_embeddings` on objects in memory; the defaults of
both are those of `TransferConfig`.
"""

import dataclasses
import itertools
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.architecture import check_is_causal_lm, pad_moves_positions
from saltlm.auxiliary import AuxiliaryVectors, auxiliary_vectors, check_auxiliary_spec, from_plm
from saltlm.card import licence_of, model_card
from saltlm.config import TransferConfig, load_config
from saltlm.directory import new_directory
from saltlm.linear import no_fit
from saltlm.methods import fit_method, parse_method
from saltlm.methods.of_pair import task_of
from saltlm.neighbours import no_neighbours
from saltlm.pair import Meeting, Side, check_ids, load_side, meet
from saltlm.record import (
    Provenance,
    environment,
    peak_memory_bytes,
    sha256,
    table_hash,
    write_manifest,
)
from saltlm.roles import LoadedTokenizer, special_tokens_of
from saltlm.rows import Origin, new_table, norm_ratio, plan_rows
from saltlm.tables import Tables, read_tables, replacements
from saltlm.target_tokenizer import TargetTokenizer, role_table, save_tokenizer
from saltlm.token_ids import read_json, renumber, set_vocabulary_size, with_default_ids, without_pad
from saltlm.write import TensorHashes, write_checkpoint

logger = logging.getLogger(__name__)

_ALSO_COPIED = ("LICENSE*", "NOTICE*", "*processor_config.json")


@dataclasses.dataclass(frozen=True)
class TransferResult:
    """The tables of the new model, its tokenizer, and how every row came about.

    Attributes:
        target: the new tokenizer and its roles.
        embedding: one row per token of the new tokenizer, in the source's dtype.
        head: of an untied source; None otherwise.
        head_bias: None if the source has none.
        provenance: origin, neighbours, coefficients and residual of every row.
    """

    target: TargetTokenizer
    embedding: Float[Tensor, "v h_s"]
    head: Float[Tensor, "v h_s"] | None
    head_bias: Float[Tensor, " v"] | None
    provenance: Provenance

    @property
    def tokenizer(self) -> Tokenizer:
        """The new tokenizer."""
        return self.target.tokenizer

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each origin."""
        origin = self.provenance.origin
        return {kind.name.lower(): int((origin == kind).sum()) for kind in Origin}

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {origin}" for origin, count in self.counts.items())
        return f"TransferResult({len(self.embedding):,} tokens: {counts})"


def transfer_embeddings(
    source_embedding: Float[Tensor, "v_s h_s"],
    plm_embedding: Float[Tensor, "v_t h_t"],
    *,
    source_tokenizer: Tokenizer | LoadedTokenizer,
    plm_tokenizer: Tokenizer | LoadedTokenizer,
    head: Float[Tensor, "v_s h_s"] | None = None,
    head_bias: Float[Tensor, " v_s"] | None = None,
    auxiliary: AuxiliaryVectors | None = None,
    config: TransferConfig | None = None,
) -> TransferResult:
    """Return the source's tables in the PLM's vocabulary (SALT steps 1 to 4).

    Args:
        source_embedding: rows of the LLM; those beyond its tokenizer count as padding.
        plm_embedding: rows of the PLM.
        source_tokenizer: of the LLM: a fast tokenizer of transformers, or a plain one.
        plm_tokenizer: of the PLM, likewise.
        head: of an untied LLM.
        head_bias: of the LLM's head, if it has one.
        auxiliary: where tokens lie when neighbours are sought; by default the PLM's own rows.
        config: options; ``aux`` and ``corpus`` are not looked at.

    Raises:
        VocabularyError: a tokenizer cannot be read, or too few tokens are shared.
    """
    config = config or TransferConfig()
    meeting = meet(
        _plain(source_tokenizer),
        special_tokens_of(source_tokenizer),
        _plain(plm_tokenizer),
        special_tokens_of(plm_tokenizer),
        config,
        n_source_rows=len(source_embedding),
    )
    tables = Tables(source_embedding, head, head_bias, {}, head is None)
    auxiliary = auxiliary or from_plm(plm_embedding)
    return _map_rows(meeting, tables, plm_embedding, auxiliary, config)


def _plain(tokenizer: Tokenizer | LoadedTokenizer) -> Tokenizer:
    return tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer.backend_tokenizer


def _map_rows(
    meeting: Meeting,
    tables: Tables,
    plm_embedding: Float[Tensor, "v_t h_t"],
    auxiliary: AuxiliaryVectors,
    config: TransferConfig,
) -> TransferResult:
    match = meeting.match
    plan = plan_rows(match, plm_embedding, auxiliary, min_shared=config.min_shared)
    task = task_of(
        meeting,
        plan,
        plm_embedding,
        auxiliary,
        source_tokenizer=meeting.source_tokenizer,
        plm_tokenizer=meeting.plm_tokenizer,
        n_source_rows=len(tables.embedding),
        seed=config.seed,
    )
    fitted = fit_method(parse_method(config.method), task)

    def table_of(source: Float[Tensor, "v_s h"]) -> Float[Tensor, "v h"]:
        n_tokens = min(len(source), len(meeting.source))
        return new_table(source, n_tokens, plan, match, fitted, seed=config.seed)

    embedding = table_of(tables.embedding)
    provenance = Provenance(
        origin=plan.origin,
        plm_ids=match.plm_ids,
        source_ids=match.source_ids,
        shared_ids=plan.shared_ids,
        new_ids=plan.new_ids,
        neighbours=fitted.neighbours or no_neighbours(len(plan.new_ids)),
        fit=fitted.fit or no_fit(len(plan.new_ids)),
        norm_ratio=norm_ratio(embedding, plan),
    )
    return TransferResult(
        target=meeting.target,
        embedding=embedding,
        head=None if tables.head is None else table_of(tables.head),
        head_bias=(
            None if tables.head_bias is None else table_of(tables.head_bias.unsqueeze(1)).squeeze(1)
        ),
        provenance=provenance,
    )


def transfer(
    source: str | Path,
    plm: str | Path,
    out: str | Path,
    *,
    config: TransferConfig | None = None,
    force: bool = False,
    **options: Any,
) -> TransferResult:
    """Write the source LLM with the PLM's vocabulary into a new directory (SALT steps 1 to 4).

    The directory loads in transformers as any other. Its ``saltlm`` folder records how it was made.
    What is computed is that of `transfer_embeddings`.

    Args:
        source: Hub id or directory of an LLM.
        plm: Hub id or directory of a model of the target language.
        out: the directory to make.
        config: options; see `TransferConfig`.
        force: replace ``out`` if it exists.
        **options: fields of `TransferConfig`, when no ``config`` is given: ``aux="train"``, ...

    Raises:
        SaltlmError: the pair cannot be transferred, or the output not written.
    """
    config = config or load_config(**options)
    laps = [("begin", time.perf_counter())]
    method = parse_method(config.method)
    check_auxiliary_spec(config.aux, config.corpus, config.fasttext)
    source_side, plm_side = (
        load_side(str(ref), trust_remote_code=config.trust_remote_code) for ref in (source, plm)
    )
    check_is_causal_lm(source_side.config, source_side.directory)
    expected = sum(entry.nbytes for entry in source_side.checkpoint.tensors.values())
    with new_directory(Path(out), force=force, expected_bytes=expected) as directory:
        meeting, tables, plm_tables = read_pair(source_side, plm_side, config)
        laps.append(("read", time.perf_counter()))
        auxiliary = auxiliary_vectors(
            config.aux,
            plm_tables.embedding,
            meeting.surface,
            corpus=config.corpus,
            settings=config.fasttext,
            seed=config.seed,
        )
        laps.append(("auxiliary vectors", time.perf_counter()))
        result = _map_rows(meeting, tables, plm_tables.embedding, auxiliary, config)
        laps.append(("rows", time.perf_counter()))
        hashes = _write_model(directory, source_side, meeting, tables, result, config)
        model_type = source_side.config.model_type
        notes = save_tokenizer(meeting.target, directory, model_type=model_type)
        laps.append(("write", time.perf_counter()))
        manifest = {
            "source": _describe(source_side, tables),
            "plm": _describe(plm_side, plm_tables),
            "corpus": {str(file): sha256(file) for file in config.corpus},
            "auxiliary": auxiliary.description,
            "method": method._asdict(),
            "options": config.model_dump(mode="json"),
            "counts": {**result.counts, **_more_counts(meeting, tables, result)},
            "roles": [row._asdict() for row in role_table(meeting.target)],
            "notes": [*meeting.target.notes, *notes],
            "tensors": {name: dataclasses.asdict(both) for name, both in hashes.items()},
            "environment": environment(),
            "seconds": {
                name: round(end - begin, 3) for (_, begin), (name, end) in itertools.pairwise(laps)
            },
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_manifest(directory, manifest)
        card = model_card(Path(out).resolve().name, manifest)
        (directory / "README.md").write_text(card, encoding="utf-8")
    logger.info("%s: %r", out, result)
    return result


def read_pair(source: Side, plm: Side, config: TransferConfig) -> tuple[Meeting, Tables, Tables]:
    """Read the tables of both models and let their vocabularies meet.

    Raises:
        CheckpointError: a table is missing or damaged.
        VocabularyError: a tokenizer cannot be read, or has tokens without rows.
    """
    names = config.tensors
    tables = read_tables(
        source.checkpoint,
        source.config,
        side="source",
        embedding=names.source_embedding,
        head=names.source_head,
    )
    plm_tables = read_tables(plm.checkpoint, plm.config, side="plm", embedding=names.plm_embedding)
    for side, read in ((source, tables), (plm, plm_tables)):
        check_ids(side, len(read.embedding))
    meeting = meet(
        source.tokenizer,
        source.special,
        plm.tokenizer,
        plm.special,
        config,
        n_source_rows=len(tables.embedding),
    )
    return meeting, tables, plm_tables


def _write_model(
    directory: Path,
    source: Side,
    meeting: Meeting,
    tables: Tables,
    result: TransferResult,
    config: TransferConfig,
) -> dict[str, TensorHashes]:
    """Write weights, configuration and provenance; return the tensors' hashes."""
    new = replacements(source.checkpoint, tables, result.embedding, result.head, result.head_bias)
    hashes = write_checkpoint(source.checkpoint, directory, new)
    target = meeting.target
    for name in ("config.json", "generation_config.json"):
        values = read_json(source.directory / name)
        if name == "config.json":
            values = with_default_ids(values, source.config.to_dict())
        values = renumber(
            values,
            source.tokenizer,
            target.tokenizer,
            target.roles,
            overridden=frozenset(config.special_tokens.roles),
        )
        if name == "config.json":
            values = set_vocabulary_size(values, len(result.embedding))
            if pad_moves_positions(source.config):
                values = without_pad(values)
        if values:
            text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (directory / name).write_text(text, encoding="utf-8")
    for pattern in _ALSO_COPIED:
        for file in sorted(source.directory.glob(pattern)):
            shutil.copyfile(file, directory / file.name)
    result.provenance.save(directory)
    return hashes


def _describe(side: Side, tables: Tables) -> dict[str, Any]:
    """Return what the manifest says of a parent."""
    files = [side.directory / name for name in ("config.json", "tokenizer.json")]
    return {
        "name": side.name,
        "revision": side.revision,
        "licence": licence_of(side.directory),
        "files": {file.name: sha256(file) for file in files if file.is_file()},
        "tables": {
            role: {"tensors": list(names), "sha256": table_hash(getattr(tables, role))}
            for role, names in tables.names.items()
        },
        "is_tied": tables.is_tied,
    }


def _more_counts(meeting: Meeting, tables: Tables, result: TransferResult) -> dict[str, Any]:
    """Return the counts of the manifest beside those of the origins."""
    rows, k = len(tables.embedding), result.provenance.neighbours.k.double()
    points = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    spread = k.quantile(points).tolist() if len(k) else []
    return {
        "anchors": len(result.provenance.shared_ids),
        "source_padding_rows": max(0, rows - len(meeting.source)),
        "source_duplicate_forms": len(meeting.source.duplicates),
        "k": dict(zip(("min", "median", "max"), spread, strict=False)),
    }
