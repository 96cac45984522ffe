"""The fits of new rows to text: input rows first, then the head's on states read with them.

Neither trains the body, and no copied row moves. A new token that does not occur in the text keeps
the input row that the method made; in the head such tokens move together. A tied model has one row
for both sides: the input fit moves it first, and then the head's.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, dropwhile, islice

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import AutoTokenizer

from saltlm.alignment.align import english_text
from saltlm.config.fits import STEP_TOKENS, fits_for
from saltlm.config.transfer import TransferConfig
from saltlm.errors import ConfigError
from saltlm.files.documents import documents
from saltlm.files.mapped import empty_table
from saltlm.files.progress import progress
from saltlm.methods.head_fit import HeadProblem, fit_head, log_partition
from saltlm.methods.input_fit import descend, distillation_loss
from saltlm.methods.registry import Choice
from saltlm.models.cost import arithmetic
from saltlm.models.logits import document_start, logit_transform
from saltlm.models.skeleton import positions_of
from saltlm.models.states import load_body
from saltlm.record.arrays import Origin
from saltlm.record.fits import HeadFit, InputFit
from saltlm.vocabulary_transfer.parents import Pair
from saltlm.vocabulary_transfer.problem import Problem
from saltlm.vocabulary_transfer.reading import Reader, Reading, read_together, reading_of
from saltlm.vocabulary_transfer.result import TransferResult, solve
from saltlm.vocabulary_transfer.rows import norm_ratio
from saltlm.vocabulary_transfer.two_cuts import CutText, common_ends_of, cut_twice

_MOSTLY_NEW = 0.5  # share of new tokens in text from which the smaller ridge is better
_RIDGE, _RIDGE_OF_MOSTLY_NEW = 100.0, 50.0
_KEPT = 0.1  # positions of text that must be kept, to one of the target language
_OWN = 2  # times that the head's fit meets a token that gets a row of its own

logger = logging.getLogger(__name__)


def make_tables(
    pair: Pair, problem: Problem, method: Choice, config: TransferConfig
) -> TransferResult:
    """Return the new model's tables: rows made by a method, then fitted to text as asked for.

    Raises:
        ConfigError: no new token occurs in the corpus; and as in `solve`.
        CheckpointError: the source does not load, or its layers are not found.
    """
    result = solve(problem, method)
    if not (config.fits.input or config.fits.head):
        return result
    place, code = pair.source.directory, config.trust_remote_code
    fits = fits_for(config.fits, pair.alignment.record.get("budget"))
    device, dtype = fits.device, arithmetic(fits.dtype, fits.device)
    body = load_body(place, device=device, dtype=dtype, trust_remote_code=code)
    longest = positions_of(body.model) or fits.context
    fits = fits.model_copy(update={"context": min(fits.context, longest)})
    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=code)
    embedding = pair.tables.embedding
    start = embedding[document_start(body.model, tokenizer)].float()
    reader = Reader(body, embedding, start, fits)
    cut = partial(cut_twice, pair.source.tokenizer, result.tokenizer, fits.context)
    is_new = _is_new(result)

    def of_corpus() -> Iterator[CutText]:
        """Yield the corpus from the first document with a new token on."""
        return dropwhile(lambda text: not is_new[text.new].any(), cut(documents(config.corpus)))

    if fits.input:
        n = fits.steps * fits.documents
        logger.info("fitting input rows to at most %s documents", f"{n:,}")
        texts = list(islice(of_corpus(), n))
        result = fit_input_rows(reader, result, texts)
    if fits.head:
        logger.info("fitting the head's rows to %s tokens", f"{fits.positions:,}")
        kept = documents(config.keep) if config.keep else english_text()
        result = fit_head_rows(reader, result, of_corpus(), cut(kept))
    ratio, head_ratio = norm_ratio(result.embedding, embedding, problem.plan), None
    if result.head is not None and pair.tables.head is not None:
        head_ratio = norm_ratio(result.head, pair.tables.head, problem.plan)
    provenance = replace(result.provenance, norm_ratio=ratio)
    return replace(result, provenance=provenance, head_norm_ratio=head_ratio)


def fit_input_rows(
    reader: Reader, result: TransferResult, texts: Sequence[CutText]
) -> TransferResult:
    """Return tables whose new input rows give the states of the untouched source.

    Args:
        reader: the source.
        result: tables with the rows that a method made.
        texts: documents of the target language.

    Raises:
        ConfigError: no new token occurs in them, or there is no such layer.
        CheckpointError: the source's layers are not found.
    """
    begun, config = time.perf_counter(), reader.config
    layers = len(reader.body.layers())
    layer = max(1, round(layers / 3)) if config.layer is None else config.layer
    if layer > layers:
        raise ConfigError(
            f"fits.layer={layer}, but the source has {layers} layers",
            "leave it out for a third of them",
        )
    read = torch.tensor([id for text in texts for id in text.new], dtype=torch.int64)
    ids = _learning(read, result)
    learning = torch.full((len(result.embedding),), -1)
    learning[ids] = torch.arange(len(ids))
    places = [len(common_ends_of(text)[0]) for text in texts]
    batches = _batches([len(text.new) for text in texts], config.steps, config.documents)

    def parts(batch: list[int]) -> Iterator[partial[Float[Tensor, ""]]]:
        total = max(1, sum(places[i] for i in batch))
        seen = [texts[i] for i in batch if places[i]]
        lengths = [max(len(text.old), len(text.new)) for text in seen]
        for numbers in read_together(lengths, config.context):
            at_once = [seen[number] for number in numbers]
            cuts = [text.new for text in at_once]
            student = reading_of(reader.start, result.embedding, cuts, learning)
            yield partial(_loss, reader, layer, at_once, student, total)
        bar.update()

    with progress(total=config.steps, desc="fit input rows") as bar:
        found = descend(
            result.embedding[ids].float(),
            [parts(batch) for batch in batches],
            learning_rate=config.learning_rate,
        )
    last = found.losses[-max(1, config.steps // 10) :]
    record = InputFit(
        rows=len(ids),
        documents=len({number for batch in batches for number in batch}),
        steps=config.steps,
        tokens=sum(len(texts[i].new) for batch in batches for i in batch),
        places=sum(places[i] for batch in batches for i in batch),
        layer=layer,
        layers=layers,
        before=found.losses[0],
        after=sum(last) / len(last),
        seconds=round(time.perf_counter() - begun, 3),
        dtype=reader.body.dtype,
    )
    return replace(
        result,
        embedding=_with(result.embedding, ids, found.rows),
        input_fit=record,
    )


def _batches(lengths: Sequence[int], steps: int, documents: int) -> list[list[int]]:
    """Return the documents of each step, round and round: so many, or those of enough tokens."""
    order = cycle(range(len(lengths)))
    batches = []
    for _ in range(steps):
        batch = [next(order)]
        while len(batch) < documents and sum(lengths[number] for number in batch) < STEP_TOKENS:
            batch.append(next(order))
        batches.append(batch)
    return batches


def fit_head_rows(
    reader: Reader, result: TransferResult, texts: Iterator[CutText], kept: Iterator[CutText]
) -> TransferResult:
    """Return tables whose new rows of the head are fitted to text.

    In a tied model they are the input rows too. The states are those from before, and the ridge
    keeps the rows near what they were then.

    Args:
        reader: the source.
        result: tables with the rows that a method made, and the input fit.
        texts: documents of the target language; as many are read as there are positions.
        kept: documents of what the model must not forget, for a tenth as many positions beside.

    Raises:
        ConfigError: no new token occurs in the target language.
    """
    begun, config = time.perf_counter(), reader.config
    head = result.embedding if result.head is None else result.head
    of_target, tokens = _states(reader, result, texts, config.positions)
    _learning(tokens, result)  # refuses a text without a new token
    share = float(_is_new(result)[tokens].double().mean())
    of_kept, kept_tokens = _states(reader, result, kept, math.ceil(_KEPT * config.positions))
    hidden, tokens = torch.cat([of_target, of_kept]), torch.cat([tokens, kept_tokens])
    bias, transform = result.head_bias, logit_transform(reader.body.model.config)
    is_new = _is_new(result)[: len(head)]  # Molmo 2 has more input rows
    is_own, is_rare = _moving(tokens, is_new, is_capped=transform.cap is not None)
    own, rare = (which.nonzero().squeeze(1) for which in (is_own, is_rare))
    targets = torch.full((len(head),), -1)
    targets[own] = torch.arange(len(own))
    targets[rare] = len(own)
    as_read = hidden.to(arithmetic(config.dtype, "cpu"))  # the states are there by now
    partition = log_partition(as_read, head, bias, transform, left_out=is_own | is_rare)
    rows_of_rare, biases = head[rare], None if bias is None else bias[rare]
    none = torch.zeros(len(rare), dtype=torch.bool)
    of_rare = log_partition(as_read, rows_of_rare, biases, transform, left_out=none)
    ridge = config.ridge or (_RIDGE if share < _MOSTLY_NEW else _RIDGE_OF_MOSTLY_NEW)
    solution = fit_head(
        HeadProblem(
            hidden=hidden,
            targets=targets[tokens],
            log_partition=partition,
            start=nn.functional.pad(head[own].float(), (0, 0, 0, 1)),
            bias=None if bias is None else nn.functional.pad(bias[own].float(), (0, 1)),
            ridge=ridge,
            transform=transform,
            rare=of_rare,
        )
    )
    record = HeadFit(
        rows=len(own),
        rare=len(rare),
        positions=len(of_target),
        kept=len(of_kept),
        new_share=share,
        ridge=ridge,
        before=solution.before,
        after=solution.after,
        gap=solution.gap,
        evaluations=solution.evaluations,
        seconds=round(time.perf_counter() - begun, 3),
        dtype=reader.body.dtype,
        is_tied=result.head is None,
    )
    moved = torch.cat([solution.rows[:-1], rows_of_rare.float() + solution.rows[-1]])
    fitted = _with(head, torch.cat([own, rare]), moved)
    if result.head is None:
        return replace(result, embedding=fitted, head_fit=record)
    return replace(result, head=fitted, head_fit=record)


def _moving(
    tokens: Int64[Tensor, " p"], is_new: Bool[Tensor, " r"], *, is_capped: bool
) -> tuple[Bool[Tensor, " r"], Bool[Tensor, " r"]]:
    """Return which rows of the head move each on its own, and which together.

    Capped logits of several rows do not sum to those of one vector; then rare rows stay.
    """
    n_times = torch.bincount(tokens, minlength=len(is_new))
    if is_capped:
        return is_new & (n_times > 0), torch.zeros_like(is_new)
    return is_new & (n_times >= _OWN), is_new & (n_times < _OWN)


@torch.no_grad()
def _states(
    reader: Reader, result: TransferResult, texts: Iterator[CutText], wanted: int
) -> tuple[Float[Tensor, "p h_s"], Int64[Tensor, " p"]]:
    """Return what the head receives before so many tokens of the texts, and those tokens."""
    cuts, n = [], 0
    for text in texts:
        cuts.append(text.new)
        n += len(text.new)
        if n >= wanted:
            break
    lengths = [len(cut) for cut in cuts]
    hidden: dict[int, Tensor] = {}
    with progress(total=n, desc="read text", unit=" tokens") as bar:
        for numbers in read_together(lengths, reader.config.context):
            before = [cuts[number][:-1] for number in numbers]
            seen = reading_of(reader.start, result.embedding, before, None)
            states = reader.body.received_by_head(seen.rows, seen.ids).cpu()
            for number, of_document in zip(numbers, states, strict=True):
                hidden[number] = of_document[: lengths[number]]
                bar.update(lengths[number])
    tokens = torch.tensor([token for cut in cuts for token in cut], dtype=torch.int64)
    no_text = torch.zeros(0, reader.embedding.shape[1])
    found = torch.cat([no_text, *(hidden[number] for number in range(len(cuts)))])
    return found[:wanted], tokens[:wanted]


def _loss(
    reader: Reader,
    layer: int,
    texts: Sequence[CutText],
    student: Reading,
    n_places: int,
    learnt: Float[Tensor, "m h"],
) -> Float[Tensor, ""]:
    """Return some documents' part of the loss of a step with so many places."""
    ends = [common_ends_of(text) for text in texts]
    row = [number for number, (old, _) in enumerate(ends) for _ in old]
    old = torch.tensor([1 + place for places, _ in ends for place in places])
    new = torch.tensor([1 + place for _, places in ends for place in places])
    teacher = reading_of(reader.start, reader.embedding, [text.old for text in texts], None)
    body = reader.body
    with torch.no_grad():
        wanted = body.behind_layer(layer, teacher.rows, teacher.ids)[row, old]
    found = body.behind_layer(layer, student.with_rows(learnt), student.ids)[row, new]
    return distillation_loss(found, wanted) / n_places


def _is_new(result: TransferResult) -> Bool[Tensor, " v"]:
    origin = result.provenance.origin
    is_new: Tensor = (origin == Origin.MADE) | (origin == Origin.SAMPLED)
    return is_new


def _learning(tokens: Int64[Tensor, " p"], result: TransferResult) -> Int64[Tensor, " m"]:
    """Return the new tokens among those of a text."""
    used = tokens.unique()
    found: Tensor = used[_is_new(result)[used]]
    if not len(found):
        raise ConfigError(
            "no token of the corpus is new, so there is nothing to fit",
            "give --corpus text of the target language, or leave the fits out:"
            " --set fits.input=false --set fits.head=false",
        )
    return found


def _with(
    table: Float[Tensor, "v h"], ids: Int64[Tensor, " m"], rows: Float[Tensor, "m h"]
) -> Float[Tensor, "v h"]:
    changed = empty_table(table.shape, table.dtype, table.device).copy_(table)
    changed[ids] = rows.to(table.dtype)
    return changed
