"""SALT: from an English LLM and a target-language PLM to the LLM with the PLM's vocabulary.

`transfer` works on names and paths, `transfer_embeddings` on objects in memory; the defaults of
both are those of `TransferConfig`.
"""

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.alignment.align import align
from saltlm.auxiliary.vectors import (
    AuxiliaryVectors,
    from_plm,
)
from saltlm.config.recommended import in_one_line_each, load_recommended
from saltlm.config.transfer import RowsConfig, TransferConfig
from saltlm.errors import ConfigError, OutputError
from saltlm.files.atomic import check_place, new_directory
from saltlm.files.documents import first
from saltlm.files.mapped import tables_in_files
from saltlm.files.progress import duration
from saltlm.files.source import paths_of
from saltlm.methods.registry import Choice, parse_method
from saltlm.models.cost import about
from saltlm.models.hub import resolve_model
from saltlm.models.token_tables import Tables
from saltlm.record.manifest import free_memory_bytes, peak_memory_bytes
from saltlm.scoring.holdout import score_briefly
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import check_ids
from saltlm.tokenizer.special_tokens import LoadedTokenizer, special_tokens_of
from saltlm.vocabulary_transfer.estimate import (
    expected_memory,
    expected_seconds,
    expected_training,
    tell_reading,
)
from saltlm.vocabulary_transfer.fits import make_tables
from saltlm.vocabulary_transfer.parents import Pair, read_parents
from saltlm.vocabulary_transfer.prepare import check_inputs, input_files, pose_pair
from saltlm.vocabulary_transfer.problem import pose
from saltlm.vocabulary_transfer.proof import check_provable, prove
from saltlm.vocabulary_transfer.result import TransferResult, solve
from saltlm.vocabulary_transfer.write_model import (
    expected_bytes,
    finish_model,
    write_model,
)

_SOME = 500  # documents of the corpus that are looked at for an estimate

logger = logging.getLogger(__name__)


def transfer_embeddings(
    source_embedding: Float[Tensor, "v_s h_s"],
    plm_embedding: Float[Tensor, "v_t h_t"],
    *,
    source_tokenizer: Tokenizer | LoadedTokenizer,
    plm_tokenizer: Tokenizer | LoadedTokenizer,
    head: Float[Tensor, "v_s h_s"] | None = None,
    head_bias: Float[Tensor, " v_s"] | None = None,
    auxiliary: AuxiliaryVectors | None = None,
    target_tokenizer: Tokenizer | LoadedTokenizer | None = None,
    config: RowsConfig | None = None,
) -> TransferResult:
    """Return the source's tables in the PLM's vocabulary (SALT steps 1 to 4).

    Args:
        source_embedding: rows of the LLM; those beyond its tokenizer count as padding.
        plm_embedding: rows of the PLM.
        source_tokenizer: of the LLM: a fast tokenizer of transformers, or a plain one.
        plm_tokenizer: of the PLM, likewise.
        head: of an untied LLM; without it, ``untie`` in the options makes one.
        head_bias: of the LLM's head, if it has one.
        auxiliary: where tokens lie when neighbours are sought; by default the PLM's own rows.
        target_tokenizer: one to take the tokens of, instead of the PLM's.
        config: options; a `TransferConfig` may not ask for what only files can give.

    Raises:
        ConfigError: an option asks for files or for a whole model.
        VocabularyError: a tokenizer cannot be read or has tokens without rows, or too few tokens
            are shared.
    """
    config = config or RowsConfig()
    _refuse_file_options(config)
    source, plm = _plain(source_tokenizer), _plain(plm_tokenizer)
    check_ids("the source", source, len(source_embedding))
    check_ids("the PLM", plm, len(plm_embedding))
    alignment = align(
        Definition.of(source),
        special_tokens_of(source_tokenizer),
        Definition.of(plm),
        special_tokens_of(plm_tokenizer),
        config,
        n_source_rows=len(source_embedding),
        other=(
            None
            if target_tokenizer is None
            else (Definition.of(_plain(target_tokenizer)), special_tokens_of(target_tokenizer))
        ),
    )
    head = source_embedding if head is None and config.untie else head
    tables = Tables(source_embedding, head, head_bias, {}, head is None)
    auxiliary = alignment.piece_means.auxiliary(auxiliary or from_plm(plm_embedding))
    problem = pose(alignment, tables, plm_embedding, auxiliary, config)
    return solve(problem, parse_method(config.method))


def _refuse_file_options(config: RowsConfig) -> None:
    """Refuse what `transfer_embeddings` would have to leave undone."""
    asked = [
        name
        for name, field in type(config).model_fields.items()
        if name not in RowsConfig.model_fields and getattr(config, name) != field.default
    ]
    asked += ["calibration.unigrams"] if config.calibration.unigrams else []
    if asked:
        raise ConfigError(
            f"transfer_embeddings works on objects in memory and cannot do {', '.join(asked)}",
            "pass tables, auxiliary= and target_tokenizer= themselves, or names to saltlm.transfer",
        )


def _plain(tokenizer: Tokenizer | LoadedTokenizer) -> Tokenizer:
    return tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer.backend_tokenizer


def transfer(
    source: str | Path,
    plm: str | Path,
    out: str | Path,
    *,
    force: bool = False,
    config: TransferConfig | str | Path | None = None,
    **options: Any,
) -> TransferResult:
    """Write the source LLM with the PLM's vocabulary into a new directory (SALT steps 1 to 4).

    The directory loads in transformers as any other. Its ``saltlm`` folder records how it was made.
    What is computed is that of `transfer_embeddings`. Where a corpus is given and nothing else is
    chosen, the options are those of ``preset="best"``.

    Args:
        source: Hub id or directory of an LLM.
        plm: Hub id or directory of a model of the target language.
        out: the directory to make.
        force: replace ``out`` if it exists.
        config: options, or a YAML file of them.
        **options: fields of `TransferConfig`, which win: ``aux="train"``, ...

    Raises:
        SaltlmError: the pair cannot be transferred, or the output not written.
    """
    config = load_recommended(config, **options)
    laps = [("begin", time.perf_counter())]
    method = parse_method(config.method)
    check_inputs(config, [method])
    read = [path for file in input_files(config, method) for path in paths_of(file)]
    _check_apart(Path(out), [Path(source), Path(plm), *read])
    if config.target_tokenizer is not None:
        _check_apart(Path(out), [Path(config.target_tokenizer)])
    check_place(Path(out), force=force)
    resolve_model(str(source))  # a wrong path is the first thing to be told
    resolve_model(str(plm), with_weights=config.plm_vectors is None)
    for line in in_one_line_each(config):
        logger.info(line)
    tell_reading(config)
    scratch = Path(out).expanduser().resolve().parent  # on the disk of the output
    with tables_in_files(scratch if config.low_memory else None):
        return _transfer(source, plm, Path(out), method, config, laps, force=force)


def _transfer(
    source: str | Path,
    plm: str | Path,
    out: Path,
    method: Choice,
    config: TransferConfig,
    laps: list[tuple[str, float]],
    *,
    force: bool,
) -> TransferResult:
    pair = read_parents(str(source), str(plm), config)
    check_provable(pair, config)
    _check_new_tokens(pair, config)
    laps.append(("read", time.perf_counter()))
    _tell_cost(pair, config)
    size = expected_bytes(pair, config, out)
    with new_directory(out, force=force, expected_bytes=size) as directory:
        problem = pose_pair(pair, config)
        laps.append(("auxiliary vectors", time.perf_counter()))
        # Before the new tables are there, so that memory does not add up.
        score = score_briefly(
            problem.inputs,
            pair.tables.embedding,
            method,
            calibration=problem.embedding_calibration,
            seed=config.seed,
        )
        laps.append(("yardstick", time.perf_counter()))
        result = replace(make_tables(pair, problem, method, config), score=score)
        laps.append(("rows", time.perf_counter()))
        manifest = write_model(directory, pair, result, config, method)
        laps.append(("write", time.perf_counter()))
        proof = prove(directory, pair, result, config)
        manifest |= {"proof": asdict(proof), "notes": [*manifest["notes"], str(proof)]}
        laps.append(("prove", time.perf_counter()))
        manifest["seconds"] = {
            name: round(end - begin, 3) for (_, begin), (name, end) in itertools.pairwise(laps)
        }
        manifest["peak_memory_bytes"] = peak_memory_bytes()
        finish_model(directory, out.resolve().name, manifest)
    words = repr(result).removeprefix("TransferResult(").removesuffix(")")
    logger.info("%s: %s", out, words)
    return replace(result, proof=proof)


def _tell_cost(pair: Pair, config: TransferConfig) -> None:
    """Say how long it will take and how much memory, before anything long begins."""
    texts = first(config.corpus, _SOME) if config.corpus else []
    seconds, memory = expected_seconds(pair, config, texts), expected_memory(pair, config)
    logger.info("this takes %s and %.1f GiB of memory", about(seconds), memory / 2**30)
    if training := expected_training(pair):
        n_tokens, seconds = training
        text = duration(seconds)
        logger.info(
            "training of %s tokens (saltlm adapt) then takes about %s", f"{n_tokens:,}", text
        )
    free = free_memory_bytes()
    if free is not None and memory > free:
        logger.warning(
            "only %.1f GiB of memory are free; without the fits it takes less: --set"
            " fits.input=false --set fits.head=false",
            free / 2**30,
        )


def _check_new_tokens(pair: Pair, config: TransferConfig) -> None:
    """Refuse a corpus that is too short to choose new tokens from."""
    budget = pair.alignment.record.get("budget")
    if budget is not None and not budget["n_chosen"]:
        raise ConfigError(
            f"no new token occurs often enough in the corpus, for {budget['tokens']:,} tokens of"
            " training: it is too short, or the source cuts it well already",
            "give more text with --corpus; or take the PLM's tokens however rare they are: --preset"
            f" best --vocabulary plm{'' if config.budget is None else ' (without --budget)'}",
        )


def _check_apart(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output whose making would touch what it is made from; Hub ids are no paths."""
    out = out.expanduser().resolve()
    for path in (path.expanduser().resolve() for path in inputs):
        if path.exists() and (out == path or out in path.parents or path in out.parents):
            relation = "is" if out == path else "lies in" if path in out.parents else "holds"
            raise OutputError(
                f"--out {out} {relation} {path}, which is an input", "choose another --out"
            )
