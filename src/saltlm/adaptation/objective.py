"""What a model learns to predict, given to the one training engine with the model and the text.

`CAUSAL` is that of continued pre-training; those of other architectures are in
`saltlm.pretraining`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from saltlm.adaptation.loss import causal_loss, separates_documents
from saltlm.adaptation.packing import Frame, frame_of
from saltlm.adaptation.samples import continuations
from saltlm.evaluation.bits_per_byte import bits_per_byte, tokens_forward
from saltlm.models.architecture import check_is_causal_lm
from saltlm.models.logits import check_logits
from saltlm.models.skeleton import loader_of


@dataclass(frozen=True)
class Objective:
    """An objective, and the models that it trains.

    Attributes:
        loader: the class of transformers for a configuration, with the head that the objective
            needs: a model's own, or an auto class.
        check_config: refuses a model of another kind, by its configuration and its directory.
        check_model: refuses a model whose loss is not known here; gets some text.
        separates: whether a model keeps attention inside a document, for so many sequences.
        frame: what stands around the tokens of a document.
        loss: of sequences and the positions in their documents (None: attention crosses them); the
            sum of -ln p over all that is predicted, scaled as if every token were.
        measure: of held-out documents, bits a byte of what is predicted.
        reads: how many tokens go forward to measure a document of so many in windows of so many.
        go_on: what the model writes after beginnings of documents; None: it does not write.
    """

    loader: Callable[[PreTrainedConfig], Any]
    check_config: Callable[[PreTrainedConfig, Path], None]
    check_model: Callable[[PreTrainedModel, Int64[Tensor, "b t"]], None]
    separates: Callable[[PreTrainedModel, int], bool]
    frame: Callable[[PreTrainedModel, PreTrainedTokenizerBase], Frame]
    loss: Callable[..., Float[Tensor, ""]]
    measure: Callable[..., float]
    reads: Callable[[int, int], int]
    go_on: Callable[..., dict[str, str]] | None = None


def _causal_bits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], **windows: Any
) -> float:
    return bits_per_byte(model, tokenizer, texts, **windows).value


class Beginning(NamedTuple):
    """What a run begins with.

    Attributes:
        directory: of the model and its tokenizer.
        objective: what it learns to predict.
    """

    directory: Path
    objective: Objective


CAUSAL = Objective(
    loader=loader_of,
    check_config=check_is_causal_lm,
    check_model=check_logits,
    separates=separates_documents,
    frame=frame_of,
    loss=causal_loss,
    measure=_causal_bits,
    reads=tokens_forward,
    go_on=continuations,
)
"""The next token of every token."""
