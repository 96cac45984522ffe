"""The yardstick on real pairs: which method, with which options, and which PLM."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from saltlm.auxiliary.vectors import check_auxiliary_spec
from saltlm.config.transfer import TransferConfig
from saltlm.files.documents import documents
from saltlm.methods.registry import METHODS, Choice, parse_method
from saltlm.scoring.holdout import Score, score_methods
from saltlm.scoring.search import select_options
from saltlm.tokenizer.counts import count_tokens
from saltlm.vocabulary_transfer.parents import Pair, read_pair
from saltlm.vocabulary_transfer.transfer import auxiliary_of, pose_pair


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


def score_pair(
    source: str | Path,
    plm: str | Path,
    methods: Sequence[str],
    *,
    config: TransferConfig | None = None,
    select: bool = False,
    n_folds: int = 5,
    repeats: int = 1,
) -> PairScores:
    """Hold out shared tokens and let each method predict their rows of the source.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the PLM.
        methods: names, or ``name:option=value``; none stands for all that need no files.
        config: options of the transfer; the corpus, if there is one, tells frequent from rare.
        select: search each method's options first, on a fold of its own.
        n_folds: 5 hold out a fifth at a time.
        repeats: how often the tokens are divided anew.

    Raises:
        SaltlmError: the pair cannot be read, or a method does not exist.
    """
    config = config or TransferConfig()
    choices = [parse_method(method) for method in methods or default_methods()]
    check_auxiliary_spec(config.aux, config.corpus, config.fasttext)
    pair = read_pair(str(source), str(plm), config)
    auxiliary = auxiliary_of(pair, config)
    problem = pose_pair(pair, auxiliary, config)
    inputs, calibration = problem.inputs, problem.embedding_calibration
    table = pair.tables.embedding
    counts = corpus_counts(pair, config.corpus)
    if select:
        names = dict.fromkeys(choice.name for choice in choices)
        selected = select_options(
            inputs, table, names, calibration=calibration, counts=counts, seed=config.seed
        )
        choices = list({str(choice): choice for choice in (*choices, *selected)}.values())
    scores = score_methods(
        inputs,
        table,
        choices,
        calibration=calibration,
        counts=counts,
        n_folds=n_folds,
        repeats=repeats,
        seed=config.seed,
    )
    return PairScores(
        str(source), str(plm), len(inputs.shared_ids), auxiliary.description, tuple(scores)
    )


def default_methods() -> list[str]:
    """Return the methods that need nothing but the pair."""
    return [name for name, method in METHODS.items() if not method.needs_files]


def best(scores: Sequence[Score]) -> Choice:
    """Return the method with the highest r2."""
    scored = [(score.r2.value, score.method) for score in scores if score.r2]
    return parse_method(max(scored)[1])


def corpus_counts(pair: Pair, corpus: Sequence[Path]) -> Int64[Tensor, " v_t"] | None:
    """Return how often each PLM id occurs in a corpus; None without one."""
    if not corpus:
        return None
    n_rows = len(pair.plm_tables.embedding)
    return count_tokens(pair.plm.tokenizer, documents(corpus), n_rows=n_rows)
