"""Hidden states of a model that reads tokens by rows which are given to it.

Documents of different lengths are read at once, filled up at their ends: no model here looks ahead,
so what stands behind a document changes none of its states.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from saltlm.errors import CheckpointError, quoted
from saltlm.models.architecture import read_config
from saltlm.models.logits import check_logits, output_head, skipped_head
from saltlm.models.skeleton import loader_of


class _Reached(Exception):
    """A layer was passed; what comes after it is not run."""


@dataclass(frozen=True)
class Body:
    """A model without its embedding.

    Attributes:
        model: in evaluation mode, its weights frozen.
        table: name of its embedding's weight.
    """

    model: PreTrainedModel
    table: str

    @property
    def dtype(self) -> str:
        """The number format that it counts in, such as ``bfloat16``."""
        return str(self.model.dtype).removeprefix("torch.")

    def received_by_head(
        self, rows: Float[Tensor, "u h"], ids: Int64[Tensor, "n t"]
    ) -> Float[Tensor, "n t h_s"]:
        """Return what the head receives at each token of n documents.

        Args:
            rows: the input rows of the documents' tokens.
            ids: which of them each token has; any behind the end of a document.

        Returns:
            The states in float32, whatever the model counts in; so does `behind_layer`.
        """
        with skipped_head(output_head(self.model)) as received:
            self._run(rows, ids)
        return received[0].float()

    def behind_layer(
        self, number: int, rows: Float[Tensor, "u h"], ids: Int64[Tensor, "n t"]
    ) -> Float[Tensor, "n t h_s"]:
        """Return the states behind a layer, differentiable; the layers after it are not run.

        Args:
            number: of the layer, from 1.
            rows: the input rows of the documents' tokens.
            ids: which of them each token has; any behind the end of a document.

        Raises:
            CheckpointError: the model has no list of layers, or does not use it.
        """
        layer = self.layers()[number - 1]
        with _stop_behind(layer) as states:
            try:
                self._run(rows, ids)
            except _Reached:
                return states[0].float()
        raise CheckpointError(
            f"{type(self.model).__name__} did not run the layer {number} that was found, so its"
            " states are not known",
            "leave the input fit out: --set fits.input=false",
        )

    def layers(self) -> nn.ModuleList:
        """Return the stack of layers; see `layers_of`."""
        return layers_of(self.model, "leave the input fit out: --set fits.input=false")

    def _run(self, rows: Tensor, ids: Tensor) -> None:
        device = self.model.device
        inputs = {"input_ids": ids.to(device), "use_cache": False}
        functional_call(self.model, {self.table: rows.to(device, self.model.dtype)}, (), inputs)


def layers_of(model: PreTrainedModel, otherwise: str) -> nn.ModuleList:
    """Return the stack of layers: the list of modules that is as long as the config says.

    Where an image is read by as many layers as text, it is that of the text.

    Args:
        model: any.
        otherwise: the next command where there is none.

    Raises:
        CheckpointError: there is none.
    """
    n_layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    for module in (*model.get_decoder().modules(), *model.modules()):
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise CheckpointError(
        f"{type(model).__name__} has no list of {n_layers} layers, so its ends and its middle are"
        " not known",
        otherwise,
    )


def load_body(
    directory: Path,
    *,
    device: str,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Body:
    """Load a model and freeze it.

    Raises:
        CheckpointError: transformers cannot load it, its head does more than multiply, or the
            device is not there.
    """
    config = read_config(directory, trust_remote_code=trust_remote_code)
    try:
        model: PreTrainedModel = (
            loader_of(config)
            .from_pretrained(
                directory,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            )
            .to(device)
        )
    except Exception as error:  # what transformers raises on a broken directory is not listed
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{directory} does not load on {device}: {reason}", f"saltlm check {quoted(directory)}"
        ) from error
    model.eval().requires_grad_(False)
    check_logits(model, torch.zeros(1, 1, dtype=torch.int64, device=device))
    embedding: nn.Embedding = model.get_input_embeddings()
    embedding.padding_idx = None  # ids are those of the rows given, and no row of them is padding
    (name,) = [name for name, module in model.named_modules() if module is embedding]
    return Body(model, f"{name}.weight")


@contextmanager
def _stop_behind(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Catch what a layer gives, and go no further."""
    states: list[Tensor] = []
    handle = layer.register_forward_hook(partial(_stop, states))
    try:
        yield states
    finally:
        handle.remove()


def _stop(states: list[Tensor], _: nn.Module, __: object, output: Tensor | tuple[Any, ...]) -> None:
    states.append(output[0] if isinstance(output, tuple) else output)
    raise _Reached
