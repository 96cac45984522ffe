"""SALT: from an English LLM and a target-language PLM to the LLM with the PLM's vocabulary.

`transfer` works on names and paths, `transfer_embeddings` on objects in memory; the defaults of
both are those of `TransferConfig`.
"""

import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.auxiliary import (
    AuxiliaryVectors,
    auxiliary_vectors,
    check_auxiliary_spec,
    from_plm,
)
from saltlm.config import TransferConfig, load_config
from saltlm.directory import check_place, new_directory
from saltlm.errors import ConfigError, OutputError
from saltlm.frequencies import count_tokens_in
from saltlm.linear import no_fit
from saltlm.meeting import Meeting, meet
from saltlm.methods import Choice, fit_method, parse_method
from saltlm.methods.calibration import Calibration, Unigrams, log_frequencies
from saltlm.methods.of_pair import task_of
from saltlm.methods.task import Task
from saltlm.neighbours import no_neighbours
from saltlm.new_model import expected_bytes, finish_model, input_files, write_model
from saltlm.pair import Pair, check_ids, read_pair
from saltlm.record import Provenance, peak_memory_bytes
from saltlm.roles import LoadedTokenizer, special_tokens_of
from saltlm.rows import Origin, Plan, new_table, norm_ratio, plan_rows
from saltlm.step0 import mean_hidden
from saltlm.tables import Tables
from saltlm.target_tokenizer import TargetTokenizer
from saltlm.text import check_corpus, documents

logger = logging.getLogger(__name__)

_CALIBRATION_DOCUMENTS = 200  # of the source's own text, for the mean hidden state


@dataclasses.dataclass(frozen=True)
class TransferResult:
    """The tables of the new model, its tokenizer, and how every row came about.

    Attributes:
        target: the new tokenizer and its roles.
        embedding: one row per token of the new tokenizer, then padding rows if asked for; in the
            source's dtype, or that of the options.
        head: of an untied source; None otherwise.
        head_bias: None if the source has none.
        auxiliary: the space in which neighbours were sought, in words.
        provenance: origin, neighbours, coefficients and residual of every row.
    """

    target: TargetTokenizer
    embedding: Float[Tensor, "v h_s"]
    head: Float[Tensor, "v h_s"] | None
    head_bias: Float[Tensor, " v"] | None
    auxiliary: str
    provenance: Provenance

    @property
    def tokenizer(self) -> Tokenizer:
        """The new tokenizer."""
        return self.target.tokenizer

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each origin."""
        origin = self.provenance.origin
        count = {kind: int((origin == kind).sum()) for kind in Origin}
        rare = (Origin.PADDING, Origin.KEPT)
        return {kind.name.lower(): n for kind, n in count.items() if n or kind not in rare}

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
    target_tokenizer: Tokenizer | LoadedTokenizer | None = None,
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
        target_tokenizer: one to take the tokens of, instead of the PLM's.
        config: options; ``aux`` and ``target_tokenizer`` are not looked at.

    Raises:
        VocabularyError: a tokenizer cannot be read or has tokens without rows, or too few tokens
            are shared.
    """
    config = config or TransferConfig()
    source, plm = _plain(source_tokenizer), _plain(plm_tokenizer)
    check_ids("the source", source, len(source_embedding))
    check_ids("the PLM", plm, len(plm_embedding))
    meeting = meet(
        source,
        special_tokens_of(source_tokenizer),
        plm,
        special_tokens_of(plm_tokenizer),
        config,
        n_source_rows=len(source_embedding),
        other=(
            None
            if target_tokenizer is None
            else (_plain(target_tokenizer), special_tokens_of(target_tokenizer))
        ),
    )
    tables = Tables(source_embedding, head, head_bias, {}, head is None)
    auxiliary = meeting.composition.auxiliary(auxiliary or from_plm(plm_embedding))
    problem = pose(meeting, tables, plm_embedding, auxiliary, config)
    return solve(problem, parse_method(config.method))


def _plain(tokenizer: Tokenizer | LoadedTokenizer) -> Tokenizer:
    return tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer.backend_tokenizer


@dataclasses.dataclass(frozen=True)
class Problem:
    """What two models pose to a method, up to the choice of the method.

    Attributes:
        meeting: the two vocabularies put together.
        tables: the source's.
        auxiliary: the space in which neighbours are sought, in words.
        plan: what is to be done with each token.
        task: what a method may look at.
        dtype: of the new tables; the source's if None.
        padding: rows of the new tables after the last token.
        calibration: what is done to the method's rows.
    """

    meeting: Meeting
    tables: Tables
    auxiliary: str
    plan: Plan
    task: Task
    dtype: torch.dtype | None
    padding: int
    calibration: Calibration


def pose(
    meeting: Meeting,
    tables: Tables,
    plm_embedding: Float[Tensor, "v_t h_t"],
    auxiliary: AuxiliaryVectors,
    config: TransferConfig,
    unigrams: Callable[[Plan], Unigrams] | None = None,
) -> Problem:
    """Return the problem of a pair (SALT steps 1 and 2).

    Args:
        meeting: the two vocabularies put together.
        tables: the source's.
        plm_embedding: the PLM's rows.
        auxiliary: vectors of the PLM's tokens and, behind them, of the composed ones.
        config: options.
        unigrams: finds what the new rows' logits are calibrated to.

    Raises:
        VocabularyError: too few tokens are shared.
    """
    plm_embedding = meeting.composition.rows(plm_embedding)
    plan = plan_rows(meeting.match, plm_embedding, auxiliary, min_shared=config.min_shared)
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
    dtype = None if config.dtype is None else getattr(torch, config.dtype)
    padding = -len(plan.origin) % (config.pad_to_multiple_of or 1)
    calibration = Calibration(config.calibration.norms, unigrams(plan) if unigrams else None)
    description = auxiliary.description
    return Problem(meeting, tables, description, plan, task, dtype, padding, calibration)


def solve(problem: Problem, method: Choice) -> TransferResult:
    """Return the new model's tables, the new rows made by a method (SALT: steps 3 and 4)."""
    meeting, tables, plan = problem.meeting, problem.tables, problem.plan
    fitted = fit_method(method, problem.task)

    shared = meeting.match.source_ids[plan.shared_ids]

    def table_of(
        source: Float[Tensor, "v_s h"], *, makes_logits: bool = False, is_bias: bool = False
    ) -> Float[Tensor, "v h"]:
        rows = fitted.fill(source)
        if not is_bias:
            rows = problem.calibration(rows, source[shared], makes_logits=makes_logits)
        return new_table(
            source,
            min(len(source), len(meeting.source)),
            plan,
            meeting.match,
            rows,
            seed=problem.task.seed,
            dtype=problem.dtype,
            padding=problem.padding,
        )

    def per_row(values: Tensor, padding: int) -> Tensor:
        return torch.cat([values, values.new_full((problem.padding,), padding)])

    embedding = table_of(tables.embedding, makes_logits=tables.head is None)
    bias = tables.head_bias
    rows, composition = per_row(meeting.match.plm_ids, -1), meeting.composition
    offsets, pieces = composition.pieces_of(rows)
    provenance = Provenance(
        origin=per_row(plan.origin, Origin.PADDING),
        plm_ids=torch.where(rows < composition.n_plm, rows, -1),
        source_ids=per_row(meeting.match.source_ids, -1),
        shared_ids=plan.shared_ids,
        new_ids=plan.new_ids,
        neighbours=fitted.neighbours or no_neighbours(len(plan.new_ids)),
        fit=fitted.fit or no_fit(len(plan.new_ids)),
        norm_ratio=norm_ratio(embedding, plan),
        piece_offsets=offsets if len(pieces) else None,
        piece_ids=pieces if len(pieces) else None,
    )
    return TransferResult(
        target=meeting.target,
        embedding=embedding,
        head=None if tables.head is None else table_of(tables.head, makes_logits=True),
        head_bias=None if bias is None else table_of(bias.unsqueeze(1), is_bias=True).squeeze(1),
        auxiliary=problem.auxiliary,
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
        **options: fields of `TransferConfig`, in place of a ``config``: ``aux="train"``, ...

    Raises:
        SaltlmError: the pair cannot be transferred, or the output not written.
    """
    if config is not None and options:
        raise ConfigError(
            f"transfer() was given a config and beside it {', '.join(options)}",
            "put all options into the config, or give none",
        )
    config = config or load_config(**options)
    laps = [("begin", time.perf_counter())]
    method = parse_method(config.method)
    check_auxiliary_spec(config.aux, config.corpus, config.fasttext)
    _check_apart(Path(out), [Path(source), Path(plm), *input_files(config)])
    if config.calibration.unigrams:
        check_corpus(config.calibration.unigrams)
        check_corpus(config.corpus)
    check_place(Path(out), force=force)
    pair = read_pair(str(source), str(plm), config)
    laps.append(("read", time.perf_counter()))
    size = expected_bytes(pair, config)
    with new_directory(Path(out), force=force, expected_bytes=size) as directory:
        auxiliary = auxiliary_of(pair, config)
        laps.append(("auxiliary vectors", time.perf_counter()))
        problem = pose_pair(pair, auxiliary, config)
        result = solve(problem, method)
        laps.append(("rows", time.perf_counter()))
        manifest = write_model(directory, pair, result, config, method)
        laps.append(("write", time.perf_counter()))
        manifest["seconds"] = {
            name: round(end - begin, 3) for (_, begin), (name, end) in itertools.pairwise(laps)
        }
        manifest["peak_memory_bytes"] = peak_memory_bytes()
        finish_model(directory, Path(out).resolve().name, manifest)
    logger.info("%s: %r", out, result)
    return result


def pose_pair(pair: Pair, auxiliary: AuxiliaryVectors, config: TransferConfig) -> Problem:
    """Return the problem of two models that have been read; see `pose`."""
    return pose(
        pair.meeting,
        pair.tables,
        pair.plm_tables.embedding,
        auxiliary,
        config,
        (lambda plan: unigrams_of(pair, plan, config)) if config.calibration.unigrams else None,
    )


def unigrams_of(pair: Pair, plan: Plan, config: TransferConfig) -> Unigrams:
    """Return the mean hidden state on the source's own text, and the corpus' frequencies.

    Loads the whole source.

    Raises:
        ConfigError: there is no corpus to count in, or no text.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = list(itertools.islice(documents(config.calibration.unigrams), _CALIBRATION_DOCUMENTS))
    directory = pair.source.directory
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    counts = count_tokens_in(config.corpus, pair.meeting.target.tokenizer, len(plan.origin))
    logs = log_frequencies(counts)
    hidden = mean_hidden(model.eval(), tokenizer, texts)
    return Unigrams(hidden, log_shared=logs[plan.shared_ids], log_new=logs[plan.new_ids])


def auxiliary_of(pair: Pair, config: TransferConfig) -> AuxiliaryVectors:
    """Return the auxiliary vectors that the options ask for."""
    return auxiliary_vectors(
        config.aux,
        pair.meeting.composition.rows(pair.plm_tables.embedding),
        pair.meeting.surface,
        corpus=config.corpus,
        settings=config.fasttext,
        seed=config.seed,
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
