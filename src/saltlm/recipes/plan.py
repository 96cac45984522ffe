"""What a recipe would do, how long that takes, and how much memory; nothing is made."""

import time
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM

from saltlm.adaptation.config import load_adapt_config
from saltlm.auxiliary.fasttext_training import check_training
from saltlm.config.reading import read_count
from saltlm.config.recommended import load_recommended
from saltlm.files.documents import check_corpus
from saltlm.models.architecture import read_config
from saltlm.models.hub import resolve_model
from saltlm.pretraining.config import load_pretrain_config
from saltlm.pretraining.start import plan as plan_start
from saltlm.recipes.config import RecipeConfig, read_seconds

_SIDE = 512  # of the matrices that the machine's speed is measured with
_USE = 0.3  # of that speed is what training comes to
_FLOPS = 6  # for each parameter and token: forward and backward
_BYTES = 16  # for each parameter that is trained: weight, gradient, two moments, in float32
_ACTIVATIONS = 2e9  # bytes, with the batches of `adapt`
_ADAPT_SECONDS = 60.0  # of everything else than training steps


@dataclass(frozen=True)
class PlannedStep:
    """A step of a recipe.

    Attributes:
        name: of it.
        what: it does, in words.
        seconds: about, on this machine; half and double are possible.
        memory: bytes, about.
    """

    name: str
    what: str
    seconds: float
    memory: float


@dataclass(frozen=True, repr=False)
class RecipePlan:
    """What a recipe would do.

    Attributes:
        steps: in their order.
        n_tokens: of training of the LLM.
    """

    steps: tuple[PlannedStep, ...]
    n_tokens: int

    def __repr__(self) -> str:
        lines = [
            f"\n  {step.name}: {step.what}; about {_time(step.seconds)}, {step.memory / 1e9:.1f} GB"
            for step in self.steps
        ]
        total = _time(sum(step.seconds for step in self.steps))
        most = max(step.memory for step in self.steps) / 1e9
        return f"RecipePlan(about {total}, {most:.1f} GB of memory at most){''.join(lines)}"


def plan_recipe(config: RecipeConfig) -> RecipePlan:
    """Return what a recipe would do; the times are of this machine, good to a factor of two.

    Raises:
        SaltlmError: a text or a model cannot be read, or an option of a later step is unknown.
    """
    directory = resolve_model(str(config.source), with_weights=False)
    _check_later_steps(config)
    speed = _USE * _speed()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(read_config(directory))
    n_source = sum(weight.numel() for weight in model.parameters())
    n_tokens = tokens_of(config.budget, speed / (_FLOPS * n_source))
    pretraining = load_pretrain_config(
        None, **{"corpus": config.corpus, "arch": config.arch, **config.pretrain}
    )
    start = plan_start(pretraining)
    megabytes = start.n_bytes / 1e6
    steps = [
        PlannedStep(
            "corpus",
            f"look at {megabytes:.1f} MB of text",
            3 * megabytes,
            0.3e9 + 20 * start.n_bytes,
        )
    ]
    if config.plm is None:
        n_read = pretraining.tokens or round((pretraining.passes or 1) * start.n_tokens)
        n_layers = start.size.n_parameters + 8000 * start.size.width
        seconds = _FLOPS * n_layers * n_read / speed + 3 * megabytes
        steps.append(
            PlannedStep("pretrain", f"a {config.arch}, {start.reasons[0]}", seconds, 1.5e9)
        )
    if config.vectors:
        steps.append(PlannedStep("vectors", "fastText on the corpus", 20 * megabytes, 1e9))
    size = 4.0 * n_source + 1e9
    steps += [
        PlannedStep("score", "which method predicts rows best", 60, 2e9),
        PlannedStep("transfer", f"{config.source} gets the vocabulary", 30, 2e9),
        PlannedStep(
            "adapt",
            f"{n_tokens:,} tokens",
            _FLOPS * n_source * n_tokens / speed + _ADAPT_SECONDS,
            _BYTES * n_source + _ACTIVATIONS,
        ),
        PlannedStep("evaluate", "three models side by side", 1e12 * n_source / 1e8 / speed, size),
    ]
    return RecipePlan(tuple(steps), n_tokens)


def _check_later_steps(config: RecipeConfig) -> None:
    """Look at what later steps are given, before hours of the steps before them."""
    if config.plm is not None:
        resolve_model(config.plm, with_weights=False)
    if config.english:
        check_corpus(config.english, "--english")
    if config.vectors:
        check_training()
    load_recommended(None, **{"corpus": config.corpus, **config.transfer})
    load_adapt_config(None, **{"data": config.corpus, **config.adapt})


def tokens_of(budget: str, tokens_per_second: float) -> int:
    """Return a budget in tokens.

    Args:
        budget: tokens, or a time.
        tokens_per_second: of training, about.
    """
    seconds = read_seconds(budget)
    if seconds is None:
        return int(read_count(budget))
    return max(1000, round(seconds * tokens_per_second))


def _speed() -> float:
    """Return the floating point operations a second of a matrix product here, the best of five."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.ones(_SIDE, _SIDE, device=device)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        best = max(best, 2 * _SIDE**3 / (time.perf_counter() - began))
    return best


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
