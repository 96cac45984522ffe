"""What an evaluation will cost on this machine: time from a short probe, memory by the weights."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from saltlm.evaluation.task import Task, Work
from saltlm.models.architecture import read_config
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.cost import OVERHEAD_BYTES, reading_seconds, writing_seconds
from saltlm.tokenizer.load import load_tokenizer

_SOME = 20  # documents of each text that are counted, for all of them
_WINDOW = 1024  # tokens; of a longer document, windows overlap by half
_BATCH = 8  # documents


def seconds_of_tasks(
    directory: Path, n_weights: int, tasks: Sequence[Task], per_product: float
) -> float:
    """Return how long tasks are expected to take with a model, but for those of the harness.

    Args:
        directory: of the model; its weights need not be there.
        n_weights: of the model.
        tasks: those of them that say what they read and write are counted.
        per_product: seconds, from `saltlm.models.cost.seconds_a_product`.

    Raises:
        SaltlmError: the model cannot be read.
    """
    works = [task.work for task in tasks if task.work is not None]
    tokenizer = load_tokenizer(directory)
    n_layers = int(getattr(read_config(directory).get_text_config(), "num_hidden_layers", 1))
    seconds = 0.0
    for work in works:
        n_documents = work.passes * len(work.texts)
        n_tokens = work.passes * tokens_read(tokenizer, work)
        size = (n_weights, n_layers, per_product)
        seconds += reading_seconds(n_tokens, n_documents / _BATCH, *size)
        seconds += writing_seconds(work.n_written, *size)
    return seconds


def tokens_read(tokenizer: Tokenizer, work: Work) -> float:
    """Return about how many tokens a model reads in one pass."""
    some = work.texts[:_SOME]
    if not some:
        return 0.0
    lengths = [len(one.ids) for one in tokenizer.encode_batch(some, add_special_tokens=False)]
    return sum(max(n, 2 * n - _WINDOW) for n in lengths) / len(some) * len(work.texts)


def memory_of_models(directories: Sequence[Path], *, is_two: bool) -> int:
    """Return the most bytes that an evaluation is expected to hold.

    Args:
        directories: of the models.
        is_two: a task needs the first model beside each other one.

    Raises:
        SaltlmError: a model cannot be read.
    """
    first, *others = (
        sum(entry.nbytes for entry in open_checkpoint(directory).tensors.values())
        for directory in directories
    )
    together = [first * is_two + other for other in others]
    return max([first, *together]) + OVERHEAD_BYTES
