"""The ways in which a run stops: not a number, out of memory, or a mistake of ours."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.mixture import Mixture, describe
from saltlm.errors import TrainingError, quoted

_ANEW = "begin anew with --resume never"  # a run goes on with its own settings alone
# What devices say in a plain RuntimeError: the CPU; Apple's GPU and CUDA's driver; cuBLAS.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "_ALLOC_FAILED")


def check_finite(
    loss: float,
    gradient_norm: float,
    mixture: Mixture,
    first: int,
    count: int,
    kept: Sequence[Path],
    config: AdaptConfig,
) -> None:
    """Refuse a step whose loss or gradient is not a number, before it is taken.

    Args:
        loss: of the step.
        gradient_norm: of the step.
        mixture: the text.
        first: the step's first sequence.
        count: the step's number of sequences.
        kept: the checkpoints of the run.
        config: its options.

    Raises:
        TrainingError: naming the step and its text.
    """
    if math.isfinite(loss) and math.isfinite(gradient_norm):
        return
    new, shared, body = (rate / 2 for rate in (config.lr.new, config.lr.shared, config.lr.body))
    raise TrainingError(
        f"step {first // count + 1} has loss {loss:g} and gradient norm {gradient_norm:g}, on"
        f" sequences {first} to {first + count - 1} of the run"
        f" ({describe(mixture, first, count)}); the weights are as before it",
        f"lower the learning rates (saltlm adapt --set lr.new={new:g} --set lr.shared={shared:g}"
        f" --set lr.body={body:g}; saltlm pretrain --set learning_rate={body:g}), and "
        + (f"go on from the last good one with --resume {quoted(kept[-1])}" if kept else _ANEW),
    )


def check_untouched(before: str, after: str, step: int) -> None:
    """Refuse to save rows that must not learn and have changed.

    Raises:
        TrainingError: the hashes differ.
    """
    if before != after:
        raise TrainingError(
            f"rows that must not learn have changed by step {step}",
            "this is a mistake in saltlm; please report the model's name and the options",
        )


@contextmanager
def memory_errors(where: str, config: AdaptConfig) -> Iterator[None]:
    """Turn the devices' ways to be out of memory into one message.

    Raises:
        TrainingError: naming the settings to lower.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not is_memory and not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
        raise TrainingError(
            f"out of memory in {where} with micro_batch={config.micro_batch},"
            f" sequence_length={config.sequence_length} and loss_chunk={config.loss_chunk}",
            f"lower one of the three: {_less(config)}; saltlm adapt --set"
            f" loss_chunk={max(1, config.loss_chunk // 2)} --set checkpointing=true takes less too;"
            " or share the weights among devices (docs/adapt.md)",
        ) from error


def _less(config: AdaptConfig) -> str:
    if config.micro_batch > 1:
        return f"--set micro_batch={config.micro_batch // 2}"
    return f"{config.sequences_of(config.sequence_length // 2)}, and {_ANEW}"
