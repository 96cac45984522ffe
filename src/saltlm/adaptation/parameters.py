"""Which weights learn in a stage, and how fast: new rows, shared rows, and the body.

New and shared rows lie in the same tensor, and AdamW knows one learning rate per tensor. Its step
is proportional to the rate, so a table takes the step of most of its rows, and the others are then
put to their part, or their multiple, of the way. A rate of 0 thus leaves rows where they were, bit
for bit, and their gradient is removed so that neither the norm nor the moments see it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from saltlm.adaptation.config import AdaptConfig, LearningRates, StageKind
from saltlm.errors import CheckpointError, MissingExtraError
from saltlm.files.damage import reading
from saltlm.models.logits import output_head
from saltlm.models.states import layers_of
from saltlm.record.arrays import Origin
from saltlm.record.fits import was_fitted
from saltlm.record.manifest import FOLDER, read_manifest

WHOLE = "use another stage: --set stages=[full]"  # where a model has no list of layers


@dataclass(frozen=True)
class Table:
    """A table with one row per token, and the rates of its rows.

    Attributes:
        weight: the embedding, the head or the head's bias; one shard of it under FSDP2.
        other: rows of this shard with a rate that is not the table's.
        ratio: of their learning rates to the table's.
    """

    weight: nn.Parameter
    other: Int64[Tensor, " r"]
    ratio: Float[Tensor, " r"]

    @property
    def frozen(self) -> Int64[Tensor, " f"]:
        """Rows of this shard that do not learn."""
        return self.other[self.ratio == 0]


def new_rows(directory: Path, n_rows: int) -> Bool[Tensor, " v"]:
    """Return which rows a transfer made, by its record; none without a record."""
    file = directory / "saltlm" / "provenance.safetensors"
    is_new = torch.zeros(n_rows, dtype=torch.bool)
    if file.is_file():
        with (
            reading(file, CheckpointError, "run saltlm transfer again with --force"),
            safe_open(file, "pt") as opened,
        ):
            origin = opened.get_tensor("origin")
            is_new[: len(origin)] = (origin == Origin.MADE) | (origin == Origin.SAMPLED)
    return is_new


def rows_are_fitted(directory: Path) -> bool:
    """Whether the new rows of a transfer were fitted to text, by its record."""
    return was_fitted(_record(directory))


def tokens_want_ngrams(directory: Path) -> bool:
    """Whether a model, not yet trained, has so many new tokens that counts must teach them."""
    record = _record(directory)
    vocabulary = None if record.get("adaptations") else record.get("vocabulary")
    budget = vocabulary.get("budget") if isinstance(vocabulary, dict) else None
    return isinstance(budget, dict) and bool(budget.get("is_taught"))


def _record(directory: Path) -> dict[str, Any]:
    """Return what saltlm wrote of a model; nothing if it did not make it."""
    is_there = (directory / FOLDER / "manifest.json").is_file()
    return dict(read_manifest(directory)) if is_there else {}


def stage_rates(kind: StageKind, rates: LearningRates) -> LearningRates:
    """Return the peak learning rates of a stage: in ``embeddings`` only new rows learn."""
    return LearningRates(new=rates.new, shared=0, body=0) if kind == "embeddings" else rates


def choose_weights(model: PreTrainedModel, kind: StageKind, config: AdaptConfig) -> None:
    """Mark what learns in a stage; for ``lora``, add the adapters.

    The tables learn in every stage: a model with a new vocabulary needs them to.
    """
    model.requires_grad_(kind == "full")
    if kind == "lora":
        add_adapters(model, config)
    elif kind == "top-bottom":
        layers = layers_of(model, WHOLE)
        for layer in [*layers[: config.ends], *layers[-config.ends :]]:
            layer.requires_grad_(True)
    for weight in table_weights(model):
        weight.requires_grad_(True)


def add_adapters(model: PreTrainedModel, config: AdaptConfig) -> Any:
    """Put LoRA adapters into every linear layer but the head, in place.

    Returns:
        peft's tuner, whose ``merge_and_unload`` gives back a plain model.
    """
    peft = import_peft()
    settings = peft.LoraConfig(
        r=config.lora.rank, lora_alpha=config.lora.alpha, target_modules="all-linear"
    )
    torch.manual_seed(config.seed)
    return peft.LoraModel(model, settings, "default")


def import_peft() -> Any:
    """Return the module peft.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("the stage lora", "lora") from error
    return peft


def table_weights(model: PreTrainedModel) -> list[nn.Parameter]:
    """Return the embedding, the head and the head's bias; a tied head is the embedding."""
    embedding: nn.Embedding = model.get_input_embeddings()
    head = output_head(model)
    found = {id(weight): weight for weight in (embedding.weight, head.weight, head.bias)}
    return [weight for weight in found.values() if isinstance(weight, nn.Parameter)]


def parameter_groups(
    model: PreTrainedModel, rates: LearningRates, is_new: Bool[Tensor, " v"], weight_decay: float
) -> list[dict[str, Any]]:
    """Return AdamW's groups; each has its learning rate as ``peak`` too.

    Only the body's matrices decay: the row of a token that does not occur must not shrink.
    """
    tables = table_weights(model)
    are_tables = {id(weight) for weight in tables}
    body = [
        weight
        for weight in model.parameters()
        if weight.requires_grad and id(weight) not in are_tables
    ]
    groups = [
        (tables, _rate_of_most(rates, is_new), 0.0),
        ([weight for weight in body if weight.ndim > 1], rates.body, weight_decay),
        ([weight for weight in body if weight.ndim <= 1], rates.body, 0.0),
    ]
    return [
        {"params": params, "lr": rate, "peak": rate, "weight_decay": decay}
        for params, rate, decay in groups
        if params
    ]


def row_tables(
    model: PreTrainedModel, rates: LearningRates, is_new: Bool[Tensor, " v"]
) -> list[Table]:
    """Return the tables with the rates of their rows, for this process's shards."""
    rate = _rate_of_most(rates, is_new) or 1.0
    ratio = torch.where(is_new, rates.new / rate, rates.shared / rate)
    tables = []
    for weight in table_weights(model):
        local = _shard_like(ratio.to(weight.device), weight)
        other = (local != 1).nonzero().squeeze(1)
        tables.append(Table(weight, other, local[other]))
    return tables


def mask_gradients(tables: Sequence[Table]) -> None:
    """Remove the gradient of rows that do not learn."""
    for table in tables:
        if table.weight.grad is not None:
            _local(table.weight.grad).index_fill_(0, table.frozen, 0.0)


def clear_gradients(optimizer: torch.optim.Optimizer, tables: Sequence[Table]) -> None:
    """Forget all gradients. On a processor the tables' keep their memory, which is slow to get.

    They are there while held-out text is measured, too.
    """
    kept = [
        (table.weight, table.weight.grad.zero_())
        for table in tables
        if table.weight.grad is not None and table.weight.device.type == "cpu"
    ]
    optimizer.zero_grad()
    for weight, gradient in kept:
        weight.grad = gradient


@contextmanager
def row_rates(tables: Sequence[Table]) -> Iterator[None]:
    """Let rows with a rate of their own go their part of the optimizer's step in the body."""
    before = [_local(table.weight)[table.other] for table in tables]
    yield
    for table, old in zip(tables, before, strict=True):
        rows = _local(table.weight)
        ratio = table.ratio.to(rows.dtype).view(-1, *[1] * (rows.ndim - 1))
        rows[table.other] = torch.lerp(old, rows[table.other], ratio)


def frozen_hash(tables: Sequence[Table]) -> str:
    """Return a hash of this process's rows that must not change."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(_local(table.weight)[table.frozen].cpu().numpy().tobytes())
    return digest.hexdigest()


def _rate_of_most(rates: LearningRates, is_new: Bool[Tensor, " v"]) -> float:
    """Return the learning rate of most rows that learn; they then need no correction."""
    n_new = int(is_new.sum())
    rows = [(len(is_new) - n_new, rates.shared), (n_new, rates.new)]
    return max([pair for pair in rows if all(pair)], default=rows[0])[1]


def _local(tensor: Tensor) -> Tensor:
    """Return this process's shard of a tensor, or the tensor, sharing its memory."""
    detached = tensor.detach()
    return detached.to_local() if isinstance(detached, DTensor) else detached


def _shard_like(rows: Float[Tensor, " v"], weight: Tensor) -> Float[Tensor, " r"]:
    """Return the part of a vector over rows that belongs to this process's shard of a table."""
    if not isinstance(weight, DTensor):
        return rows
    sharded: DTensor = distribute_tensor(rows, weight.device_mesh, weight.placements)
    return sharded.to_local()
