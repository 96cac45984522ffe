"""Checkpoints: complete or absent, written aside and renamed, read without unpickling.

``step-00000500/`` holds ``weights.safetensors``, ``optimizer.safetensors`` and ``state.json``. The
learning rates, the random numbers of a step and the order of the data are functions of the seed
and the step, so the step stands for scheduler, RNG and data position.
"""

import errno
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from saltlm.errors import OutputError, TrainingError
from saltlm.evaluation.results import hash_of
from saltlm.files.atomic import disk_errors, sync
from saltlm.files.hashes import sha256
from saltlm.files.json_object import parse_json, read_text

_PARTIAL, _PRUNED = ".partial", ".pruned"
_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint.

    Attributes:
        path: its directory.
        step: how many steps were done.
        stage: number of the stage they ended in, from 0.
        kind: what learned in it.
        sequences: how many sequences were read: the place in the data.
        n_bytes: how many bytes of raw text that was.
        seconds: spent training so far.
    """

    path: Path
    step: int
    stage: int
    kind: str
    sequences: int
    n_bytes: float
    seconds: float


def weights_of(model: nn.Module, *, is_kept: bool = True) -> dict[str, Tensor]:
    """Return parameters and persistent buffers by name, whole, tied ones once.

    Under FSDP2 the tensors are gathered one by one, for which every process must call this; but
    only one needs to keep them.
    """
    named = dict(model.named_parameters())
    every_name = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {n: t for n, t in model.state_dict().items() if n not in every_name}
    gathered = ((name, _whole(tensor)) for name, tensor in (named | buffers).items())
    return {name: tensor.cpu().contiguous() for name, tensor in gathered if is_kept}


def optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, is_kept: bool = True
) -> dict[str, Tensor]:
    """Return the optimizer's state as ``moment/parameter``, whole; see `weights_of`."""
    names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
    gathered = (
        (f"{moment}/{names[parameter]}", _whole(tensor))
        for parameter, state in optimizer.state.items()
        for moment, tensor in state.items()
    )
    return {name: tensor.cpu().contiguous() for name, tensor in gathered if is_kept}


def save(
    folder: Path,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    keep: int,
) -> Path:
    """Write a checkpoint, then remove the oldest beyond ``keep``.

    Args:
        folder: of all checkpoints of the run.
        weights: as `weights_of` gives them.
        optimizer: as `optimizer_tensors` gives them.
        state: the fields of `Saved` except its path.
        keep: how many to keep, this one included.

    Returns:
        The checkpoint's directory.

    Raises:
        OutputError: the disk is full or read-only; older checkpoints are as they were.
    """
    name = f"step-{state['step']:08d}"
    n_bytes = sum(tensor.nbytes for part in (weights, optimizer) for tensor in part.values())
    partial = folder / _PARTIAL
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            if shutil.disk_usage(folder).free < n_bytes:
                raise OSError(errno.ENOSPC, "too little space for the next checkpoint")
            partial.mkdir()
            save_file(dict(weights), partial / _WEIGHTS)
            save_file(dict(optimizer), partial / _OPTIMIZER)
            hashes = {name: sha256(partial / name) for name in (_WEIGHTS, _OPTIMIZER)}
            said = {**state, "files": hashes}
            text = json.dumps({**said, "seal": hash_of(said)}, indent=2) + "\n"
            (partial / _STATE).write_text(text, encoding="utf-8")
            sync(partial)
            partial.rename(folder / name)
            sync(folder)
    except OutputError as error:
        kept = find(folder)
        again = f"the same command then goes on from {kept[-1]}" if kept else "then start again"
        raise OutputError(
            f"{error.what}: {name} of {n_bytes / 1e9:.2f} GB is not written",
            f"free some space{', or keep fewer with --keep 1' if keep > 1 else ''}; {again}",
        ) from error
    prune(folder, keep)
    return folder / name


def prune(folder: Path, keep: int) -> None:
    """Remove the oldest checkpoints beyond ``keep``."""
    for old in find(folder)[:-keep]:
        discard(old)


def remove_leftovers(folder: Path) -> None:
    """Remove what a run leaves when it is killed while it writes or prunes."""
    for name in (_PARTIAL, _PRUNED):
        shutil.rmtree(folder / name, ignore_errors=True)


def find(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, the oldest first."""
    return sorted(
        path
        for path in folder.glob("step-*")
        if re.fullmatch(r"step-\d+", path.name) and (path / _STATE).is_file()
    )


def discard(path: Path) -> None:
    """Remove a checkpoint; killed half-way, it does not look like one any more."""
    remove_leftovers(path.parent)
    path.rename(path.with_name(_PRUNED))
    remove_leftovers(path.parent)


def read_saved(path: Path) -> Saved:
    """Return what a checkpoint says of itself.

    Raises:
        TrainingError: it is not there, or is damaged.
    """
    if not path.is_dir():
        raise TrainingError(
            f"there is no checkpoint {path}", "--resume auto goes on from the last one in --out"
        )
    try:
        state = parse_json(read_text(path / _STATE))
        if state.pop("seal") != hash_of(state):
            raise ValueError(f"{_STATE} is not what was written")
        for name, written in state.pop("files").items():
            if sha256(path / name) != written:
                raise ValueError(f"{name} is not what was written")
        return Saved(path=path, **state)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error


def load_weights(saved: Saved, model: nn.Module) -> None:
    """Put the weights of a checkpoint into a model that is not wrapped yet.

    Raises:
        TrainingError: they are damaged, or those of another model.
    """
    weights = _read(saved.path / _WEIGHTS)
    expected = weights_of(model)
    wrong = [
        name
        for name in sorted(weights.keys() | expected.keys())
        if name not in weights
        or name not in expected
        or weights[name].shape != expected[name].shape
    ]
    if wrong:
        raise TrainingError(
            f"{saved.path} is not of this model: {len(wrong)} tensors differ, such as {wrong[0]}",
            "give the model and the settings that the run began with, or another --out",
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(weights[name])


def load_optimizer(saved: Saved, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer's state of a checkpoint into an optimizer of the same stage.

    Raises:
        TrainingError: it is damaged, or of other parameters.
    """
    parameters = dict(model.named_parameters())
    for key, tensor in _read(saved.path / _OPTIMIZER).items():
        moment, _, name = key.partition("/")
        if name not in parameters:
            raise TrainingError(
                f"{saved.path} has the optimizer's state of {name}, which the model has not",
                "give the settings that the run began with, or another --out",
            )
        parameter = parameters[name]
        optimizer.state[parameter][moment] = _like(tensor, parameter)


def _whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor on the parameter's device, sharded like it; a number is not."""
    tensor = tensor.to(parameter.device)
    if isinstance(parameter, DTensor) and tensor.ndim:
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
    return tensor


def _read(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise _damaged(file, error) from error
    return tensors


def _damaged(path: Path, error: Exception) -> TrainingError:
    reason = str(error).partition("\n")[0]
    return TrainingError(
        f"{path} is not a whole checkpoint: {reason}",
        "remove it, and the same command goes on from the one before; or --resume never",
    )
