"""The yardstick on real pairs: which method, with which options, and which PLM."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from saltlm.config.fits import FitsConfig
from saltlm.config.recommended import load_recommended
from saltlm.config.transfer import TransferConfig
from saltlm.errors import ConfigError
from saltlm.files.documents import documents
from saltlm.methods.registry import METHODS, Choice, parse_method
from saltlm.scoring.holdout import Score, score_methods
from saltlm.scoring.search import select_options
from saltlm.tokenizer.counts import count_tokens
from saltlm.vocabulary_transfer.estimate import expected_memory
from saltlm.vocabulary_transfer.parents import Pair
from saltlm.vocabulary_transfer.prepare import prepare

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairScores:
    """What methods are worth on one pair.

    Attributes:
        source: name of the LLM.
        plm: name of the PLM.
        n_shared: tokens that take part.
        auxiliary: the space in which neighbours were sought.
        scores: one per method, in the order asked for.
    """

    source: str
    plm: str
    n_shared: int
    auxiliary: str
    scores: tuple[Score, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "scores": [score.to_json() for score in self.scores]}


@dataclass(frozen=True, repr=False)
class Scores:
    """What methods are worth with one or several PLMs.

    Attributes:
        pairs: one for each PLM, in the order they were given.
    """

    pairs: tuple[PairScores, ...]

    @property
    def best(self) -> tuple[str, str]:
        """The PLM and the method with the highest r2.

        Raises:
            ConfigError: no method has one.
        """
        found = [(one.r2.value, pair.plm, one.method) for pair, one in self._ranked()[:1] if one.r2]
        if not found:
            raise ConfigError("no method could be scored", "see the error of each score")
        return found[0][1:]

    def _ranked(self) -> list[tuple[PairScores, Score]]:
        scored = [(pair, one) for pair in self.pairs for one in pair.scores if one.r2]
        return sorted(scored, key=lambda found: found[1].r2 or (), reverse=True)

    def __str__(self) -> str:
        lines = [
            f"\n  {one.method} with {pair.plm}: r2 {one.r2.value:.3f}"
            f" ({one.r2.low:.3f} to {one.r2.high:.3f})"
            for pair, one in self._ranked()
            if one.r2
        ]
        failed = [
            f"\n  {one.method} with {pair.plm}: {one.error}"
            for pair in self.pairs
            for one in pair.scores
            if one.error
        ]
        return f"the best first{''.join(lines + failed)}"

    def __repr__(self) -> str:
        return f"Scores({self})"


def score(
    source: str | Path,
    plm: str | Path | Sequence[str | Path],
    *,
    method: str | Sequence[str] = (),
    select: bool = False,
    folds: int = 5,
    repeats: int = 1,
    config: TransferConfig | str | Path | None = None,
    **options: Any,
) -> Scores:
    """Hold out shared tokens and let each method predict their rows of the source.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the PLM, or several.
        method: one or several, ``name`` or ``name:option=value``; none stands for the one that
            a transfer with these options takes, and all others that need no files. Of a method for
            each side that of the input rows is scored.
        select: search each method's options first, on a fold of its own.
        folds: how many parts the shared tokens are divided into; 5: a fifth is held out each time.
        repeats: how often the tokens are divided anew.
        config: options of the transfer, or a YAML file of them: the vocabulary that is scored is
            the one that it would make. The corpus, if there is one, tells frequent from rare.
        **options: fields of `TransferConfig`, which win: ``corpus="german.txt"``, ...

    Raises:
        SaltlmError: a pair cannot be read, or a method does not exist.
    """
    config = load_recommended(config, **options)
    config = config.model_copy(update={"fits": FitsConfig()})  # it makes no rows to fit
    methods = [method] if isinstance(method, str) else method
    names = methods or [config.method, *default_methods()]
    choices = _distinct([parse_method(name)._replace(output=None) for name in names])
    plms = [plm] if isinstance(plm, str | Path) else plm
    how = partial(_score_pair, choices=choices, select=select, folds=folds, repeats=repeats)
    return Scores(tuple(how(source, one, config) for one in plms))


def _score_pair(
    source: str | Path,
    plm: str | Path,
    config: TransferConfig,
    *,
    choices: Sequence[Choice],
    select: bool,
    folds: int,
    repeats: int,
) -> PairScores:
    prepared = prepare(source, plm, config, [str(choice) for choice in choices])
    pair, problem = prepared.pair, prepared.problem
    inputs, calibration = problem.inputs, problem.embedding_calibration
    table = pair.tables.embedding
    counts = corpus_counts(pair, config.corpus)
    if select:
        names = dict.fromkeys(choice.name for choice in choices)
        memory = expected_memory(pair, config)
        logger.info("this takes about %.1f GiB of memory", memory / 2**30)
        selected = select_options(
            inputs,
            table,
            names,
            calibration=calibration,
            counts=counts,
            n_further=folds * repeats,
            seed=config.seed,
        )
        choices = _distinct([*choices, *selected])
    scores = score_methods(
        inputs,
        table,
        choices,
        calibration=calibration,
        counts=counts,
        n_folds=folds,
        repeats=repeats,
        seed=config.seed,
    )
    return PairScores(
        str(source), str(plm), len(inputs.shared_ids), problem.auxiliary, tuple(scores)
    )


def _distinct(choices: Sequence[Choice]) -> list[Choice]:
    return list({str(choice): choice for choice in choices}.values())


def default_methods() -> list[str]:
    """Return the methods that need nothing but the pair."""
    return [
        name for name, method in METHODS.items() if not (method.needs_files or method.is_for_head)
    ]


def corpus_counts(pair: Pair, corpus: Sequence[Path]) -> Int64[Tensor, " v_t"] | None:
    """Return how often each PLM id occurs in a corpus; None without one."""
    if not corpus:
        return None
    n_rows = len(pair.plm_tables.embedding)
    return count_tokens(pair.plm.tokenizer, documents(corpus), n_rows=n_rows)
