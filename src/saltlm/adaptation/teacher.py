"""A small model of the language as a teacher: the LLM learns what it predicts at every position.

A token of text says which one came; a teacher says how likely each of thousands was. It must have
the model's own tokens: a PLM has those of the models that got its vocabulary, and `saltlm pretrain
--tokenizer-of` trains one for any model. Distillation as in Hinton et al. (2015, arXiv 1503.02531)
at temperature 1: a target is (1 - s) times the token of the text plus s times the prediction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.mixture import Batch
from saltlm.adaptation.model import load_model, read_fitting_tokenizer, read_skeleton
from saltlm.adaptation.objective import Objective
from saltlm.adaptation.packing import Frame
from saltlm.alignment.match import same_tokens
from saltlm.errors import CheckpointError, ConfigError, quoted
from saltlm.evaluation.results import model_hash
from saltlm.files.documents import first
from saltlm.models.architecture import read_config
from saltlm.models.hub import resolve_model
from saltlm.models.logits import LogitTransform, logit_transform, output_head, skipped_head
from saltlm.models.skeleton import positions_of
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.fertility import encode_documents
from saltlm.tokenizer.load import load_tokenizer
from saltlm.tokenizer.special_tokens import read_special_tokens
from saltlm.tokenizer.tokens import read_tokens
from saltlm.tokenizer.vocabulary import Vocabulary

_DOCUMENTS = 50  # that two tokenizers are compared on
_LETTERS = 10_000  # of each
_TRIED = 16  # tokens that a model is tried with
_ANY = 2**30  # tokens, of a model that names no longest sequence
_ALIKE = 0.8  # share of the model's tokens there that the teacher must cut as well


class TeacherTargets(NamedTuple):
    """What a teacher predicts at each position; see `saltlm.adaptation.loss.SoftTargets`.

    Attributes:
        hidden: what the teacher's head receives.
        weight: of its head, for the tokens that the model has as well.
        bias: of these.
        transform: what the teacher does to its head's output.
        ids: of these tokens in the model.
        share: of the target that is the teacher's; the rest is the token of the text.
    """

    hidden: Float[Tensor, "p d"]
    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"] | None
    transform: LogitTransform
    ids: Int64[Tensor, " k"]
    share: Float[Tensor, " p"]

    def subtract_from(self, gradient: Float[Tensor, "p v"], part: slice) -> None:
        """Take share times probability at some positions off the gradient there."""
        hidden = self.hidden[part]
        logits = hidden @ self.weight.to(hidden.dtype).t()
        if self.bias is not None:
            logits += self.bias
        exact = torch.promote_types(logits.dtype, torch.float32)
        share = self.share[part].to(exact).unsqueeze(1)
        predicted = share * self.transform(logits.to(exact)).softmax(1)
        gradient.index_add_(1, self.ids, predicted, alpha=-1)


@dataclass(frozen=True)
class Teacher:
    """A frozen causal model, and how its tokens and the model's stand for each other.

    Attributes:
        model: the teacher.
        name: as it was given.
        identity: hash of its files.
        share: of a target that is the teacher's prediction in the first step.
        context: tokens that it reads at once.
        inputs: what it reads for each of the model's tokens; -1 where it has none.
        ids: the model's tokens that it predicts.
        rows: of its head, for these.
        can_mask: whether it keeps attention inside a document.
        alike: share of the model's tokens that it cuts as well, in the first documents.
    """

    model: PreTrainedModel
    name: str
    identity: str
    share: float
    context: int
    inputs: Int64[Tensor, " v"]
    ids: Int64[Tensor, " n"]
    rows: Int64[Tensor, " n"]
    can_mask: bool
    alike: float

    def __str__(self) -> str:
        return (
            f"{self.name} teaches: it has {len(self.ids):,} of the model's tokens, cuts"
            f" {self.alike:.1%} of a text as the model does, and is {self.share:.0%} of each target"
            " at first, 0 at the end"
        )

    def on(self, device: torch.device, dtype: torch.dtype) -> "Teacher":
        """Return the same on a device, in a number format."""
        return replace(
            self,
            model=self.model.to(device, dtype),
            **{name: getattr(self, name).to(device) for name in ("inputs", "ids", "rows")},
        )

    @torch.no_grad()
    def targets(
        self,
        batch: Batch,
        is_taught: Bool[Tensor, " b"],
        *,
        share: float,
    ) -> TeacherTargets:
        """Return what the teacher predicts behind each token.

        It teaches nothing behind a token that it does not have, up to the end of the document; and
        nothing where the token that comes is one.

        Args:
            batch: sequences, on the teacher's device.
            is_taught: whether a sequence is of the teacher's language.
            share: of each target that is the teacher's.
        """
        ids, positions = batch.ids, batch.positions
        inputs = self.inputs[ids[:, :-1]]
        at = is_taught[:, None] & _reads_all(inputs < 0, positions)
        at &= torch.isin(ids[:, 1:], self.ids)
        head = output_head(self.model)
        read = inputs[is_taught].clamp(min=0).split(self.context, 1)
        places = positions[is_taught].split(self.context, 1)
        with skipped_head(head) as received:
            for part, where in zip(read, places, strict=True):
                from_here = torch.arange(part.shape[1], device=part.device)
                named = {"position_ids": torch.minimum(where, from_here)} if self.can_mask else {}
                self.model(input_ids=part, use_cache=False, **named)
        states = torch.cat(received, 1)
        hidden = states.new_zeros(*at.shape, states.shape[2])
        hidden[is_taught] = states
        return TeacherTargets(
            hidden=hidden.flatten(0, 1),
            weight=head.weight[self.rows],
            bias=None if head.bias is None else head.bias[self.rows],
            transform=logit_transform(self.model.config),
            ids=self.ids,
            share=share * at.flatten(),
        )


def read_teacher(
    directory: Path,
    tokenizer: PreTrainedTokenizerBase,
    frame: Frame,
    config: AdaptConfig,
    objective: Objective,
) -> Teacher:
    """Load the teacher of a run, and see whether it can teach the model.

    Args:
        directory: of the model that learns.
        tokenizer: its tokenizer.
        frame: what stands around its documents.
        config: names the teacher, its share, and text that both tokenizers cut.
        objective: which both models are for.

    Raises:
        CheckpointError: the teacher is no causal language model, or is damaged.
        ConfigError: its tokens are not the model's.
    """
    name = str(config.teacher)
    place = resolve_model(name)
    trains_one = f"saltlm pretrain --corpus TEXT --tokenizer-of {quoted(directory)} --out DIR"
    settings = read_config(place, trust_remote_code=config.trust_remote_code)
    try:
        objective.check_config(settings, place)
    except CheckpointError as error:
        raise CheckpointError(
            f"{name} cannot be the teacher: it does not predict the next token",
            f"a gpt does; {trains_one} trains one for this model",
        ) from error
    skeleton = read_skeleton(place, config, objective)
    other = read_fitting_tokenizer(place, skeleton, config)
    own, its = _vocabulary(directory), _vocabulary(place)
    inputs = _counterparts(own, its, skeleton.get_input_embeddings().weight.shape[0])
    sample = _sample(config)
    cut, cut_by_teacher = (encode_documents(one, sample) for one in (tokenizer, other))
    alike = share_cut_alike(cut, cut_by_teacher, own, its, inputs)
    if alike < _ALIKE:
        raise ConfigError(
            f"the teacher {name} cuts {alike:.0%} of the text's tokens as {directory} does, fewer"
            f" than {_ALIKE:.0%}: it can teach only a model that has its tokens",
            f"{trains_one} trains one that can",
        )
    frame_of_teacher = objective.frame(skeleton, other)
    beyond = max(frame.start, frame.end or 0) + 1 - len(inputs)  # of a config without a token
    inputs = nn.functional.pad(inputs, (0, max(0, beyond)), value=-1)
    inputs, outputs = _framed(inputs, frame, frame_of_teacher)
    ids = (outputs >= 0).nonzero().squeeze(1)
    context = positions_of(skeleton) or _ANY
    model = load_model(place, config, objective).eval().requires_grad_(requires_grad=False)
    with torch.no_grad():
        objective.check_model(model, outputs[ids[: min(_TRIED, context)]][None])
    can_mask = context >= _TRIED and objective.separates(model, min(2, config.micro_batch))
    return Teacher(
        model=model,
        name=name,
        identity=model_hash(place),
        share=config.teacher_share,
        context=context,
        inputs=inputs,
        ids=ids,
        rows=outputs[ids],
        can_mask=can_mask,
        alike=alike,
    )


def share_cut_alike(
    cut: Sequence[Sequence[int]],
    by_teacher: Sequence[Sequence[int]],
    own: Vocabulary,
    its: Vocabulary,
    inputs: Int64[Tensor, " v"],
) -> float:
    """Return the share of a model's tokens that stand at the same place in the teacher's cut.

    Args:
        cut: ids of each document in the model.
        by_teacher: and in the teacher.
        own: what the model's ids stand for.
        its: what the teacher's ids stand for.
        inputs: the teacher's id for each of the model's.
    """
    stands_for = inputs.tolist()
    n_alike = n_all = 0
    for ids, others in zip(cut, by_teacher, strict=True):
        spans = {(place, stands_for[id]) for place, id in _placed_ids(ids, own)}
        n_alike += len(spans & {*_placed_ids(others, its)})
        n_all += len(ids)
    return n_alike / max(1, n_all)


def _counterparts(own: Vocabulary, its: Vocabulary, n_rows: int) -> Int64[Tensor, " v"]:
    """Return the teacher's id for each of a model's tokens, -1 for none; each stands for one."""
    found = same_tokens(own, its, ids=torch.arange(len(own)), n_rows=n_rows).tolist()
    taken: set[int] = set()
    for id, same in enumerate(found):
        if same in taken or (same >= 0 and own.kinds[id] != its.kinds[same]):
            found[id] = -1  # a letter that it lacks is no byte that it has
        taken.add(found[id])
    return torch.tensor(found)


def _framed(
    inputs: Int64[Tensor, " v"], frame: Frame, other: Frame
) -> tuple[Int64[Tensor, " v"], Int64[Tensor, " v"]]:
    """Return what the teacher reads for each of a model's ids, and what it predicts for it.

    What stands around a document is the teacher's own; that another one begins is not taught.

    Args:
        inputs: the teacher's id for each token of text.
        frame: around a document of the model.
        other: and of the teacher.
    """
    end = other.start if other.end is None else other.end
    inputs, outputs = inputs.clone(), inputs.clone()
    inputs[frame.start], outputs[frame.start] = other.start, -1
    outputs[frame.start if frame.end is None else frame.end] = end
    if frame.end is not None:
        inputs[frame.end] = end
    return inputs, outputs


def _sample(config: AdaptConfig) -> list[str]:
    """Return beginnings of documents of each text."""
    n = max(1, _DOCUMENTS // len(config.data))
    return [text[:_LETTERS] for name in config.data for text in first([name], n, "--data")]


def _placed_ids(ids: Sequence[int], vocabulary: Vocabulary) -> Iterator[tuple[int, int]]:
    """Yield each token with the bytes of text before it; a mark of a word's beginning is one."""
    place = 0
    for id in ids:
        yield place, id
        form = vocabulary.forms[id]
        n_bytes = 0 if form is None else len(form.text) + form.begins_word
        place += n_bytes - (place == 0 and form is not None and form.begins_word)


def _reads_all(
    is_unknown: Bool[Tensor, "b t"], positions: Int64[Tensor, "b t"]
) -> Bool[Tensor, "b t"]:
    """Return where a document has had no unknown token yet, in its sequence."""
    so_far = is_unknown.long().cumsum(1)
    begins = (torch.arange(positions.shape[1], device=positions.device) - positions).clamp(min=0)
    before = so_far.gather(1, begins) - is_unknown.long().gather(1, begins)
    return so_far == before


def _vocabulary(directory: Path) -> Vocabulary:
    tokenizer = load_tokenizer(directory)
    special = read_special_tokens(directory, tokenizer)
    return read_tokens(Definition.of(tokenizer), special).vocabulary
