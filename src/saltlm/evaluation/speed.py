"""Speed beside another model, in turns: what slows the machine down slows both."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from saltlm.evaluation.generation import N_NEW, Continuation, generate_in_turns, prompt_of
from saltlm.evaluation.results import BUSY, ModelRecord, hash_of, ratio
from saltlm.evaluation.task import ENGINE, Measured, Subject, Task, Work
from saltlm.tokenizer.fertility import fertility

logger = logging.getLogger(__name__)

SPEED = "speed in turns"
TIMES = "times as fast as the first model"


def speed_task(
    first: ModelRecord,
    load: Callable[[], Subject],
    texts: Sequence[str],
    n_prompts: int,
    seed: int,
) -> Task:
    """Return the task: how fast a model writes the same text beside the first one.

    Tokens of different tokenizers do not compare, so both speeds are also taken in bytes: as many
    to a token as the texts have. The interval is over prompts.

    Args:
        first: the model beside which others are measured.
        load: it; both are in memory at once.
        texts: of the target language.
        n_prompts: so many of their beginnings.
        seed: of the bootstrap.
    """
    prompts = [prompt_of(text) for text in texts[:n_prompts]]

    def measure(subject: Subject) -> Measured:
        both = [subject, load()]
        made = generate_in_turns([(one.model, one.tokenizer) for one in both], prompts)
        share = made[0].processor_share
        if share < BUSY:
            logger.warning("the machine was busy with other work: speeds are worth little")
        per_token = [fertility(one.tokenizer, texts).bytes_per_token for one in both]
        own, other = ([output.seconds for output in one.outputs] for one in made)
        n_tokens = [output.n_tokens for output in made[0].outputs]
        gained = [per_token[0] / per_token[1] * seconds for seconds in other]
        metrics = {
            TIMES: ratio(gained, own, better="higher", seed=seed),
            "tokens per second": ratio(n_tokens, own, better=None, seed=seed),
            "bytes per second": ratio(
                [n * per_token[0] for n in n_tokens], own, better="higher", seed=seed
            ),
        }
        spread = {
            name: _spread(one.outputs) for name, one in zip(("own", "first"), made, strict=True)
        }
        return Measured(metrics, {"processor share": share, "tokens per second": spread})

    settings = {"beside": first["sha256"], "new tokens": N_NEW, "prompts": len(prompts)}
    work = Work(prompts, passes=2, n_written=2 * N_NEW * len(prompts))
    return Task(SPEED, "1", ENGINE, settings, hash_of(list(texts)), seed, measure, work)


def _spread(outputs: Sequence[Continuation]) -> dict[str, float]:
    """Return the slowest, the middle and the fastest of the prompts."""
    speeds = [output.n_tokens / output.seconds for output in outputs]
    names = ("slowest", "middle", "fastest")
    found = np.quantile(np.array(speeds), [0, 0.5, 1])
    return {name: float(value) for name, value in zip(names, found, strict=True)}
