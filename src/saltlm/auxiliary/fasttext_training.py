"""Training fastText on plain text, so that the same text gives the same vectors."""

import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from saltlm.auxiliary.subwords import SubwordModel
from saltlm.config.transfer import FasttextConfig
from saltlm.errors import AuxiliaryVectorsError, MissingExtraError
from saltlm.files.documents import documents
from saltlm.files.leftovers import temporary

logger = logging.getLogger(__name__)

# The compiled half of floret, which is fastText with one more mode. On one thread both fill a tenth
# of the matrix only; the rest is zero in floret, in fastText's bindings what memory held.
_BINDING = "floret_pybind"
_MAX_SEED = 2**31 - 2
# fastText splits at blanks only. A word is a run of letters, marks and digits, and the joiners that
# Persian and Indic spelling put inside words; any other character stands alone.
_WORDS = Split(Regex("[\\w\u200c\u200d]+|[^\\w\\s\u200c\u200d]"), behavior="removed", invert=True)


def check_training() -> None:
    """Make sure that training can start.

    Raises:
        MissingExtraError: no fastText is installed.
    """
    if importlib.util.find_spec(_BINDING) is None:
        raise MissingExtraError("training fastText vectors", "fasttext")


@functools.cache
def binding_version() -> str:
    """Return the name and version of the installed binding, such as "floret 0.10.5"."""
    names = importlib.metadata.packages_distributions().get(_BINDING, ["unknown"])
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))


def words_of(document: str) -> list[str]:
    """Return the words of a text, and what stands between them one by one."""
    return [word for word, _ in _WORDS.pre_tokenize_str(document)]


def train_fasttext(
    corpus: Sequence[Path],
    settings: FasttextConfig,
    seed: int,
    cut: Callable[[str], list[str]] = words_of,
) -> SubwordModel:
    """Train on the words of text files, on one thread.

    Only one thread gives the same matrix again. The seed goes to the compiled binding itself, since
    `floret.train_unsupervised` has no argument for it.

    Args:
        corpus: text; see `saltlm.files.documents`.
        settings: of fastText.
        seed: of the matrix, the negative samples and the windows.
        cut: gives the words of a document, none of them with a blank in it.

    Raises:
        MissingExtraError: no fastText is installed.
        ConfigError: a corpus file cannot be read.
        AuxiliaryVectorsError: the corpus has no word often enough, or training diverges.
    """
    check_training()
    binding = importlib.import_module(_BINDING)
    with temporary() as folder:
        text = folder / "words.txt"
        counts = _write_words(corpus, text, cut)
        n_frequent = sum(count >= settings.min_count for count in counts.values())
        if not n_frequent:
            raise AuxiliaryVectorsError(
                f"no word of the corpus occurs {settings.min_count} times "
                f"({counts.total():,} words in all)",
                "give --corpus more text, or --set fasttext.min_count=1",
            )
        logger.info(
            "training fastText on %d words (%d of them at least %d times), %d epochs, one thread",
            *(counts.total(), n_frequent, settings.min_count, settings.epochs),
        )
        started = time.perf_counter()
        model = binding.fasttext()
        try:
            binding.train(model, _arguments(binding, text, settings, seed))
        except RuntimeError as error:  # "Encountered NaN."
            raise _diverged(settings) from error
    logger.info("trained fastText in %.0f s", time.perf_counter() - started)
    words, _ = model.getVocab("strict")
    matrix = np.asarray(model.getInputMatrix())
    if not np.isfinite(matrix[: len(words)]).all():
        raise _diverged(settings)
    return SubwordModel(
        words=lambda: iter(words),
        n_words=len(words),
        minn=settings.minn,
        maxn=settings.maxn,
        bucket=settings.bucket,
        matrix=matrix,
        owner=model,  # the binding's view would outlive its memory
    )


def _write_words(
    corpus: Sequence[Path], file: Path, cut: Callable[[str], list[str]]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    with file.open("w", encoding="utf-8") as opened:
        for document in documents(corpus):
            words = cut(document)
            counts.update(words)
            opened.write(" ".join(words) + "\n")
    return counts


def _arguments(binding: ModuleType, text: Path, settings: FasttextConfig, seed: int) -> Any:
    arguments = binding.args()
    arguments.input = str(text)
    arguments.mode = binding.mode_name.fasttext
    arguments.model = getattr(binding.model_name, settings.model)
    arguments.dim = settings.dimension
    arguments.epoch = settings.epochs
    arguments.minCount = settings.min_count
    arguments.minn = settings.minn
    arguments.maxn = settings.maxn
    arguments.bucket = settings.bucket
    arguments.neg = settings.negatives
    arguments.lr = settings.learning_rate
    arguments.seed = 1 + seed % _MAX_SEED  # the generator takes 0 for 1
    arguments.thread = 1
    arguments.verbose = 0
    arguments.label = " "  # no word begins with a blank: none is taken for a label and dropped
    return arguments


def _diverged(settings: FasttextConfig) -> AuxiliaryVectorsError:
    usual = FasttextConfig.model_fields["learning_rate"].default
    return AuxiliaryVectorsError(
        f"fastText diverged to NaN with learning rate {settings.learning_rate}",
        f"--set fasttext.learning_rate={min(usual, settings.learning_rate / 2):g}",
    )
