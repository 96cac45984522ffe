"""What every verb on a pair does first: check all inputs, read two models, pose their problem."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from saltlm.auxiliary.vector_file import files_of
from saltlm.auxiliary.vectors import (
    AuxiliaryVectors,
    auxiliary_vectors,
    check_auxiliary_spec,
    from_plm,
    vector_files,
)
from saltlm.config.transfer import TransferConfig
from saltlm.errors import ConfigError
from saltlm.files.documents import check_corpus
from saltlm.methods.registry import METHODS, Choice, parse_method
from saltlm.vocabulary_transfer.parents import Pair, read_parents
from saltlm.vocabulary_transfer.problem import Problem, pose
from saltlm.vocabulary_transfer.unigrams import unigrams_of


@dataclass(frozen=True)
class Prepared:
    """Two models that have been read, and what they pose to a method.

    Attributes:
        pair: the models.
        problem: up to the choice of the method.
    """

    pair: Pair
    problem: Problem


def prepare(
    source: str | Path, plm: str | Path, config: TransferConfig, methods: Sequence[str] = ()
) -> Prepared:
    """Check all inputs, read two models, and pose their problem.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the PLM.
        config: options of the transfer.
        methods: those that will be used; by default the one of ``config``.

    Raises:
        SaltlmError: an input is missing, or the pair cannot be transferred.
    """
    pair = read_pair(source, plm, config, methods)
    return Prepared(pair, pose_pair(pair, config))


def read_pair(
    source: str | Path,
    plm: str | Path,
    config: TransferConfig,
    methods: Sequence[str] = (),
    *,
    keeps_cut: bool = False,
) -> Pair:
    """Check all inputs, and read two models; the first half of `prepare`.

    With ``keeps_cut`` the pair has the first documents of the corpus, as they are cut.

    Raises:
        SaltlmError: an input is missing, or a model cannot be read.
    """
    choices = [parse_method(method) for method in methods or (config.method,)]
    check_inputs(config, choices)
    return read_parents(str(source), str(plm), config, keeps_cut=keeps_cut)


def pose_pair(pair: Pair, config: TransferConfig) -> Problem:
    """Return the problem of two models that have been read; the second half of `prepare`.

    Raises:
        SaltlmError: auxiliary vectors cannot be had, or too few tokens are shared.
    """
    return pose(
        pair.alignment,
        pair.tables,
        pair.plm_tables.embedding,
        auxiliary_of(pair, config),
        config,
        (lambda plan: unigrams_of(pair, plan, config)) if config.calibration.unigrams else None,
    )


def check_inputs(config: TransferConfig, choices: Sequence[Choice]) -> None:
    """Make sure that all that the options name beside the two models is there, before any work.

    Raises:
        SaltlmError: it is not, or cannot be what the option wants.
    """
    check_auxiliary_spec(config.aux, config.corpus)
    if config.plm_vectors is not None:
        check_auxiliary_spec(config.plm_vectors)
    unigrams = config.calibration.unigrams
    is_counted = bool(unigrams) or config.prune_to is not None or config.mode == "swap"
    if config.corpus or is_counted:
        check_corpus(config.corpus)
    for name, texts in (("--set calibration.unigrams", unigrams), ("--keep", config.keep)):
        if texts:
            check_corpus(texts, name)
    if config.fits.input or config.fits.head:
        _check_fits(config)
    for choice in choices:
        for side in choice.sides:
            if METHODS[side.name].needs_files and not side.files:
                raise ConfigError(
                    f"method {side.name} needs files",
                    "its options are in docs/options.md and in: saltlm score --list",
                )
        for file in choice.files:
            if not file.exists():
                raise ConfigError(f"method {choice}: there is no {file}", "check the path")


def _check_fits(config: TransferConfig) -> None:
    if not config.corpus:
        raise ConfigError(
            "fits.input and fits.head read text of the target language, and there is no corpus",
            "add --corpus FILE; docs/formats.md has what is read",
        )
    check_corpus(config.corpus)
    device = config.fits.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"fits.device={device}, but torch sees no such device here", "--set fits.device=cpu"
        )


def input_files(config: TransferConfig, choice: Choice) -> list[Path]:
    """Return the files beside the two models that a transfer reads."""
    specs = [config.aux, *([config.plm_vectors] if config.plm_vectors else [])]
    vectors = [file for spec in specs for file in vector_files(spec)]
    texts = [*config.corpus, *config.keep, *config.calibration.unigrams]
    return [*texts, *vectors, *(file for given in choice.files for file in files_of(given))]


def auxiliary_of(pair: Pair, config: TransferConfig) -> AuxiliaryVectors:
    """Return the auxiliary vectors that the options ask for."""
    alignment = pair.alignment
    rows = alignment.piece_means.rows(pair.plm_tables.embedding)
    if config.aux == "plm":  # whatever the tokens are
        return from_plm(rows)
    by_token = config.fasttext.units == "tokens" and config.aux == "train"
    return auxiliary_vectors(
        config.aux,
        rows,
        alignment.native if by_token else alignment.surface,
        corpus=config.corpus,
        settings=config.fasttext,
        seed=config.seed,
        tokenizer=alignment.target.tokenizer if by_token else None,
    )
