"""How often a run is measured and on how many documents: by default a tenth of its work at most.

Work is counted in tokens that go forward and never by the clock, so that a run that goes on after a
kill decides the same. A token that is trained on counts as three: the backward pass is two more
products with every weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest

from transformers import PreTrainedTokenizerBase

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.new_tokens import DOCUMENTS
from saltlm.adaptation.objective import Objective
from saltlm.tokenizer.fertility import encode_documents

_SHARE = 0.1  # of a run's work
_TRAINED = 3  # passes
_FEWEST = 10  # documents: with fewer, before and after differ by chance


@dataclass(frozen=True)
class Measuring:
    """How a run is measured: before its first step, after its last, and in between.

    Attributes:
        every: steps from one measurement to the next.
        documents: of each text, the first.
        times: how often; the model's source counts as once more.
        share: of the run's work, about.
    """

    every: int
    documents: int
    times: int
    share: float

    def __str__(self) -> str:
        return (
            f"held-out text is measured {self.times} times, at most {self.documents} documents of"
            f" each: about {self.share:.0%} of the run's work (eval_every, eval_documents)"
        )


def plan_measuring(
    config: AdaptConfig, costs: Sequence[Sequence[int]], n_steps: int, *, has_source: bool = False
) -> Measuring:
    """Choose what was not given; what was given stays, whatever it takes.

    There are as many documents as fit into the first and the last measurement, then as many
    measurements between these as still fit; no more of either than the defaults say.

    Args:
        config: of the run; a field that was not set is a gap.
        costs: of each text, the tokens that one measurement reads of each of its documents.
        n_steps: length of the run.
        has_source: whether the model's source is measured beside it, once.
    """
    every, documents = config.eval_every, config.eval_documents
    others = 1 + has_source  # before the first step
    training = _TRAINED * n_steps * config.batch_tokens
    budget = training * _SHARE / (1 - _SHARE)
    totals = list(accumulate(map(sum, zip_longest(*costs, fillvalue=0))))
    if "eval_documents" not in config.model_fields_set:
        is_every_given = "eval_every" in config.model_fields_set
        least = others + (_count(n_steps, every) if is_every_given else 1)
        fitting = sum(least * total <= budget for total in totals)
        if fitting < len(totals):
            documents = max(_FEWEST, min(documents, fitting))
    once = totals[min(documents, len(totals)) - 1]
    if "eval_every" not in config.model_fields_set:
        left = int(budget / once) - others
        every = max(every, _count(n_steps, max(1, left)))
    times = others + _count(n_steps, every)
    return Measuring(every, documents, times, times * once / (times * once + training))


def reading_costs(
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    heldout: Mapping[str, Sequence[str]],
    context: int,
    *,
    has_new_rows: bool,
) -> list[list[int]]:
    """Return the tokens that one measurement reads of each document of each text.

    Args:
        objective: by which the documents are measured.
        tokenizer: of the model.
        heldout: the documents of each text.
        context: tokens in a window.
        has_new_rows: whether what becomes of new tokens is measured as well.
    """
    costs = []
    for documents in heldout.values():
        lengths = list(map(len, encode_documents(tokenizer, documents)))
        cost = [objective.reads(length, context) for length in lengths]
        if has_new_rows:
            for document, length in enumerate(lengths[:DOCUMENTS]):
                cost[document] += min(length, context)
        costs.append(cost)
    return costs


def _count(n_steps: int, every: int) -> int:
    """Return after how many steps is measured: each ``every``, and the last."""
    return -(-n_steps // every)
