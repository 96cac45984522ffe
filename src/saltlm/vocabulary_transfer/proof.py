"""The proof of a new model: on text of shared tokens it computes what the source computes.

A table that depends on token ids in a way that no shape shows (hashes of ids, experts by id, ids in
a setting) would make a model that loads, generates and is wrong. Both models are run, one after the
other, on a few shared tokens. Of a large one, only the layer that is computed is in memory.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from saltlm.config.transfer import TransferConfig
from saltlm.errors import CheckpointError, MissingExtraError
from saltlm.models.skeleton import loader_of
from saltlm.record.arrays import Origin
from saltlm.record.proof import Proof
from saltlm.vocabulary_transfer.parents import Pair
from saltlm.vocabulary_transfer.result import TransferResult

_LARGEST = 2**30  # bytes of weights that are run unasked, and whole: a transfer takes as much
_TOKENS = 12
# A kernel may add up in another order for another number of columns or threads: so far results may
# be apart, relative to the largest number. What reads ids wrongly is off by whole numbers.
_ROUNDINGS = 4  # in steps of the dtype
_APART = 1e-4


@dataclass(frozen=True)
class _Run:
    """What a model said on a text: the head's input and the logits."""

    states: Float[Tensor, "n h"] | None
    logits: Float[Tensor, "t v"]


def check_provable(pair: Pair, config: TransferConfig) -> None:
    """Make sure that a proof which is asked for can be made.

    Raises:
        MissingExtraError: the model is large, and accelerate, which reads layers from disk, is
            not installed.
    """
    if config.prove and _is_streamed(pair):
        try:
            import accelerate  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("prove=true for more than 1 GiB of weights", "adapt") from error


def prove(directory: Path, pair: Pair, result: TransferResult, config: TransferConfig) -> Proof:
    """Run source and result on shared tokens, and compare.

    Args:
        directory: the new model, complete.
        pair: its parents.
        result: which row is which.
        config: options; ``prove`` says whether to run models of any size, or none. Of one with
            more than a GiB of weights, layers are read from disk when their turn comes, but for
            quantised ones: not all packages can.

    Raises:
        CheckpointError: the new model says something else than the source, or does not load.
    """
    size = pair.source.checkpoint.nbytes
    if config.prove is False:
        return Proof(missing="it was not asked for (prove=false)")
    if config.prove is None and size > _LARGEST:
        return Proof(missing=f"the weights are {size / 1e9:.1f} GB, --set prove=true runs them")
    if pair.source.checkpoint.decoded:
        return Proof(missing="embedding or head of the source are quantised, those here are not")
    origin, source_ids = result.provenance.origin, result.provenance.source_ids
    has_logit = (source_ids >= 0) & (source_ids < len(pair.tables.embedding) - pair.tables.surplus)
    has_logit[len(origin) - pair.tables.surplus :] = False
    columns = has_logit.nonzero().squeeze(1)
    text = ((origin == Origin.SHARED) | (origin == Origin.KEPT)).nonzero().squeeze(1)
    if len(text) < 2:
        return Proof(missing="no row of a token in text is a copy of the source's")
    text = text[torch.linspace(0, len(text) - 1, min(_TOKENS, len(text))).long()]
    run = partial(_run, pair=pair, config=config, aside=directory)
    try:
        before = run(pair.source.directory, text=source_ids[text], columns=source_ids[columns])
    except Exception as error:  # what keeps a model from running is not listed
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Proof(missing=f"the source does not run here ({reason})")
    if not before.logits.isfinite().all():
        return Proof(missing="the logits of the source are not finite")
    try:
        after = run(directory, text=text, columns=columns)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise _wrong(pair, f"the new model does not run, the source does: {reason}") from error
    states = None
    if before.states is not None and after.states is not None:
        states = _compare(pair, "hidden states", before.states, after.states)
    logits = _compare(pair, "logits", before.logits, after.logits)
    return Proof(len(text), len(columns), states, logits, streamed=_is_streamed(pair))


def _is_streamed(pair: Pair) -> bool:
    """Tell whether layers are read when their turn comes."""
    is_quantised = getattr(pair.source.config, "quantization_config", None) is not None
    return pair.source.checkpoint.nbytes > _LARGEST and not is_quantised


def _compare(pair: Pair, what: str, old: Tensor, new: Tensor) -> float:
    """Return how far apart two results are.

    Raises:
        CheckpointError: further than by rounding.
    """
    if _same(old, new):
        return _apart(old, new)
    raise _wrong(
        pair,
        f"on shared tokens the new model has other {what}: they differ by {_apart(old, new):.3g},"
        f" and are up to {float(old.abs().max()):.3g}; {type(pair.source.config).__name__} reads"
        " token ids otherwise than through tables with a row per token",
    )


def _run(
    directory: Path,
    *,
    pair: Pair,
    text: Int64[Tensor, " t"],
    columns: Int64[Tensor, " n"],
    config: TransferConfig,
    aside: Path,
) -> _Run:
    with _places(aside if _is_streamed(pair) else None) as places:
        model, info = loader_of(pair.source.config).from_pretrained(
            directory,
            dtype="auto" if config.dtype is None else getattr(torch, config.dtype),
            local_files_only=True,
            trust_remote_code=config.trust_remote_code,
            output_loading_info=True,
            **places,
        )
        drawn = sorted(info["missing_keys"] & {name for name, _ in model.named_parameters()})
        if drawn:  # at random
            raise ValueError(f"no tensor for {', '.join(drawn[:3])}")
        return _states_and_logits(model, text, columns)


@contextmanager
def _places(aside: Path | None) -> Iterator[dict[str, Any]]:
    """Give the options that say where weights are: in memory, or where they are stored.

    Those that transformers joins, such as experts, lie in a folder of their own for that time.
    """
    if aside is None:
        yield {}
        return
    # It says so once more, as a warning.
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=aside, prefix=".layers-") as folder:
        yield {"device_map": {"": "disk"}, "offload_folder": folder}


def _states_and_logits(model: Any, text: Int64[Tensor, " t"], columns: Int64[Tensor, " n"]) -> _Run:
    head, received = model.eval().get_output_embeddings(), []

    def keep(_: nn.Module, args: tuple[Any, ...]) -> None:
        received.append(args[0].detach())

    if head is not None:
        head.register_forward_pre_hook(keep)
    ids = text.unsqueeze(0)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        try:
            mask = torch.ones_like(ids)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        except TypeError:  # some classes take nothing but ids
            received.clear()
            logits = model(input_ids=ids).logits
    states = received[0].flatten(0, -2) if len(received) == 1 else None
    return _Run(states, logits[0][:, columns].clone())


def _apart(old: Tensor, new: Tensor) -> float:
    return float((old.double() - new.double()).abs().max())


def _same(old: Tensor, new: Tensor) -> bool:
    """Tell whether two results are equal but for the order in which a kernel adds up."""
    share = max(_APART, _ROUNDINGS * torch.finfo(old.dtype).eps)
    bound = share * float(old.abs().max())
    return old.shape == new.shape and _apart(old, new) <= bound


def _wrong(pair: Pair, what: str) -> CheckpointError:
    return CheckpointError(
        f"{pair.source.name} cannot be the SOURCE: {what}",
        "please report the model's name; to look at what was made: --set prove=false",
    )
