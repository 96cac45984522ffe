"""What a transfer will cost on this machine: memory by its tables, time from a short probe.

The time is that of an idle machine, and rough: nobody knows before what the machine does beside it,
or how many steps the regression of the head's fit takes.
"""

import logging
import math
from collections.abc import Sequence

import torch

from saltlm.config.fits import STEP_TOKENS, fits_for
from saltlm.config.transfer import TransferConfig
from saltlm.files.source import PACKED_SUFFIXES, paths_of
from saltlm.methods.registry import parse_method
from saltlm.models.cost import (
    LAYER_SECONDS,
    OVERHEAD_BYTES,
    SLOWER,
    about,
    arithmetic,
    count_weights,
    seconds_a_product,
    seconds_a_trained_product,
    training_seconds,
)
from saltlm.vocabulary_transfer.parents import Pair

logger = logging.getLogger(__name__)

_READ_SECONDS = 5.0  # of both models
# Of the corpus, by how its tokens are chosen.
_MEGABYTE_SECONDS = {"plm": 0.6, "auto": 3.0, "joined": 3.0}
_UNPACKED = 3  # bytes of text in a packed byte
_LONG = 10.0  # seconds; less is not told
_WRITE_BYTES_PER_SECOND = 200 * 2**20
_COSINE_MULTIPLE = 4  # all of the maps take about as long as so many cosine products
_SLOWER_IN_FLOAT64 = 2
_PASSES = 4  # of a fitted text through the layers: the teacher, the student, and backward twice
_PARTITIONS = 2  # products with all rows of the head that its fit comes to


def tell_reading(config: TransferConfig) -> None:
    """Say how long it takes to read both models and the corpus, if that is long."""
    sizes = [
        path.stat().st_size * (_UNPACKED if path.suffix in PACKED_SUFFIXES else 1)
        for file in config.corpus
        for path in paths_of(file)
    ]
    size = sum(sizes) / 1e6
    seconds = _READ_SECONDS + size * _MEGABYTE_SECONDS[config.vocabulary]
    if seconds > _LONG:
        logger.info("reading both models and about %.0f MB of text takes %s", size, about(seconds))


def expected_memory(pair: Pair, config: TransferConfig) -> int:
    """Return the most bytes that a transfer is expected to hold."""
    tables = pair.tables
    held = {id(table): table for table in (tables.embedding, tables.head) if table is not None}
    n_new_tables = 1 if tables.head is None else 2
    row = tables.embedding.element_size() * tables.embedding.shape[1]
    size = OVERHEAD_BYTES
    if not config.low_memory:
        size += sum(table.nbytes for table in held.values()) + pair.plm_tables.embedding.nbytes
        size += n_new_tables * len(pair.alignment.match.plm_ids) * row
    if config.fits.input or config.fits.head:  # the whole source
        size += _fits_in(config).itemsize * count_weights(pair.source.checkpoint)
    width, n_out = _map_width(pair, config), tables.embedding.shape[1]
    return size + 8 * width * (2 * width + n_out)  # float64: squares, their factor, products


def expected_seconds(pair: Pair, config: TransferConfig, texts: Sequence[str]) -> float:
    """Return how long a transfer is expected to take once its models are read.

    Args:
        pair: the models.
        config: options of the transfer.
        texts: documents of the corpus, at least some; empty without a corpus.
    """
    per_product = seconds_a_product()
    match = pair.alignment.match
    n_new = int(((match.plm_ids >= 0) & (match.source_ids < 0)).sum())
    n_shared = int(((match.plm_ids >= 0) & (match.source_ids >= 0)).sum())
    n_anchors = n_shared + len(pair.alignment.further.names)
    products = _COSINE_MULTIPLE * n_new * n_anchors * pair.plm_tables.embedding.shape[1]
    width, n_out = _map_width(pair, config), pair.tables.embedding.shape[1]
    n_maps = 2 if pair.tables.head is None else 3  # the yardstick's and each table's
    products += _SLOWER_IN_FLOAT64 * n_maps * n_anchors * width * (width + n_out)
    written = sum(entry.nbytes for entry in pair.source.checkpoint.tensors.values())
    seconds = products * per_product + 2 * written / _WRITE_BYTES_PER_SECOND
    if texts and (config.fits.input or config.fits.head):
        seconds += _fit_seconds(pair, config, texts)
    return seconds


def expected_training(pair: Pair) -> tuple[int, float] | None:
    """Return the training that new tokens were chosen for: tokens, and seconds on this machine.

    None unless ``vocabulary=auto``.
    """
    budget = pair.alignment.record.get("budget")
    if budget is None:
        return None
    per_product = seconds_a_trained_product()
    n_weights = count_weights(pair.source.checkpoint)
    return budget["tokens"], training_seconds(budget["tokens"], n_weights, per_product)


def _map_width(pair: Pair, config: TransferConfig) -> int:
    """Return how many numbers of a token a map with pieces reads; 0 without pieces."""
    sides = parse_method(config.method).sides
    if not any(side.options.get("pieces") for side in sides):
        return 0
    return int(pair.plm_tables.embedding.shape[1] + 2 * pair.tables.embedding.shape[1])


def _fits_in(config: TransferConfig) -> torch.dtype:
    return arithmetic(config.fits.dtype, config.fits.device)


def _fit_seconds(pair: Pair, config: TransferConfig, texts: Sequence[str]) -> float:
    """Return how long the fits are expected to take."""
    fits = fits_for(config.fits, pair.alignment.record.get("budget"))
    source = pair.source
    per_product = seconds_a_product("cpu", _fits_in(config))  # a device may not be there
    n_layers = int(getattr(source.config.get_text_config(), "num_hidden_layers", 1))
    tables = pair.tables.all_names
    entries = source.checkpoint.tensors
    body = sum(math.prod(one.shape) for name, one in entries.items() if name not in tables)
    encoded = source.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    lengths = [min(len(encoding.ids), fits.context) for encoding in encoded]
    n_tokens = max(1.0, sum(lengths) / len(lengths))  # of a document

    def through(n_documents: float, layers: float) -> float:
        products = SLOWER * n_tokens * body / n_layers * per_product
        return n_documents * layers * (LAYER_SECONDS + products)

    seconds = 0.0
    if fits.input:
        documents = min(fits.documents, 1 + STEP_TOKENS / n_tokens)
        seconds += _PASSES * through(fits.steps * documents, fits.layer or n_layers / 3)
    if fits.head:
        seconds += through(fits.positions / n_tokens, n_layers)
        rows, width = pair.tables.embedding.shape
        seconds += _PARTITIONS * fits.positions * rows * width * seconds_a_product()
    return seconds
