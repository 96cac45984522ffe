"""What a recipe would do, how long that takes, and how much memory; nothing is made."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from saltlm.adaptation.config import load_adapt_config
from saltlm.auxiliary.fasttext_training import check_training
from saltlm.config.reading import read_count
from saltlm.config.recommended import load_recommended
from saltlm.evaluation.config import QuickConfig
from saltlm.evaluation.estimate import seconds_of_tasks
from saltlm.evaluation.quick import LIMIT, quick_tasks
from saltlm.evaluation.task import Task
from saltlm.files.documents import check_corpus, documents
from saltlm.files.progress import duration
from saltlm.models.architecture import check_is_causal_lm, read_config
from saltlm.models.cost import seconds_a_trained_product, training_seconds
from saltlm.models.hub import resolve_model
from saltlm.pretraining.config import load_pretrain_config
from saltlm.pretraining.start import plan as plan_start
from saltlm.recipes.config import RecipeConfig, read_seconds
from saltlm.recipes.corpus import KEPT_WHOLE

_BYTES = 16  # for each parameter that is trained: weight, gradient, two moments, in float32
_ACTIVATIONS = 2e9  # bytes, with the batches of `adapt`
_ADAPT_SECONDS = 60.0  # of everything else than training steps
_LOOK_SECONDS = 2.0  # of a megabyte of text, measured 1.5 to 1.7
_OWN_TOKENS = 8_000  # of a PLM that is trained, about
_TAUGHT_TOKENS = 20_000  # of a large vocabulary that a corpus uses, about
_FITTED = 10_000  # tokens of training that a transfer's two fits take as long as


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

    def __str__(self) -> str:
        lines = [
            f"\n  {step.name}: {step.what}; about {duration(step.seconds)},"
            f" {step.memory / 1e9:.1f} GB"
            for step in self.steps
        ]
        total = duration(sum(step.seconds for step in self.steps))
        most = max(step.memory for step in self.steps) / 1e9
        return f"about {total}, {most:.1f} GB of memory at most{''.join(lines)}"

    def __repr__(self) -> str:
        return f"RecipePlan({self})"


def plan_recipe(config: RecipeConfig) -> RecipePlan:
    """Return what a recipe would do; the times are of this machine, good to a factor of two.

    Raises:
        SaltlmError: a text or a model cannot be read, or an option of a later step is unknown.
    """
    directory = resolve_model(str(config.source), with_weights=False)
    architecture = read_config(directory)
    check_is_causal_lm(architecture, directory)
    is_fitted = _check_later_steps(config)
    per_product = seconds_a_trained_product()
    adapted_product = seconds_a_trained_product(str(config.adapt.get("dtype", "auto")))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
    n_source = sum(weight.numel() for weight in model.parameters())
    n_tokens = tokens_of(config.budget, 1 / training_seconds(1, n_source, adapted_product))
    pretraining = load_pretrain_config(
        None, **{"corpus": config.corpus, "arch": config.arch, **config.pretrain}
    )
    start = plan_start(pretraining)
    megabytes = start.n_bytes / 1e6
    english = sum(len(document.encode()) for document in documents(config.english)) / 1e6
    steps = [
        PlannedStep(
            "corpus",
            f"look at {megabytes + english:.1f} MB of text",
            _LOOK_SECONDS * (megabytes + english),
            0.3e9 + 20 * min(start.n_bytes, KEPT_WHOLE),
        )
    ]
    n_read = pretraining.tokens or round((pretraining.passes or 1) * start.n_tokens)

    def of_small(n_tokens: int) -> tuple[int, float]:
        """Return the weights of a small model with so many tokens, and how long it is trained."""
        n_small = start.size.n_parameters + n_tokens * start.size.width
        return n_small, training_seconds(n_read, n_small, per_product) + 3 * megabytes

    if config.plm is None:
        what = f"a {config.arch}, {start.reasons[0]}"
        steps.append(PlannedStep("pretrain", what, of_small(_OWN_TOKENS)[1], 1.5e9))
    has_gpt = config.teacher == "gpt"
    n_taught, taught = of_small(min(architecture.get_text_config().vocab_size, _TAUGHT_TOKENS))
    if config.vectors:
        steps.append(PlannedStep("vectors", "fastText on the corpus", 20 * megabytes, 1e9))
    size = 4.0 * n_source + 1e9
    steps += [
        PlannedStep("score", "which method predicts rows best", 60, 2e9),
        PlannedStep(
            "transfer",
            f"{config.source} gets the vocabulary",
            30 + is_fitted * training_seconds(_FITTED, n_source, per_product),
            2e9,
        ),
        *([PlannedStep("teacher", "a gpt with its tokens", taught, 1.5e9)] * has_gpt),
        PlannedStep(
            "adapt",
            f"{n_tokens:,} tokens",
            training_seconds(n_tokens, n_source + has_gpt * n_taught // 3, adapted_product)
            + _ADAPT_SECONDS,
            _BYTES * n_source + _ACTIVATIONS,
        ),
        PlannedStep(
            "evaluate",
            "three models side by side",
            _evaluating_seconds(config, directory, n_source, per_product),
            size,
        ),
    ]
    return RecipePlan(tuple(steps), n_tokens)


def _evaluating_seconds(
    config: RecipeConfig, source: Path, n_weights: int, per_product: float
) -> float:
    """Return how long three models like the source take, two of them in turns with the first."""
    options = QuickConfig(heldout=config.corpus, english=config.english)
    n_documents = min(LIMIT, config.heldout_documents)
    planned = list(quick_tasks(options, limit=n_documents, seed=config.seed))
    tasks = [task for task in planned if isinstance(task, Task)]
    written = [task for task in tasks if task.name == "generation"]
    seconds, seconds_written = (
        seconds_of_tasks(source, n_weights, some, per_product) for some in (tasks, written)
    )
    return 3 * seconds + 4 * seconds_written


def _check_later_steps(config: RecipeConfig) -> bool:
    """Look at what later steps are given, before hours of the steps before them.

    Returns:
        Whether the transfer fits rows to the text, which takes most of its time.
    """
    if config.plm is not None:
        resolve_model(config.plm, with_weights=False)
    if config.english:
        check_corpus(config.english, "--english")
    if config.vectors:
        check_training()
    load_adapt_config(None, **{"data": config.corpus, **config.adapt})
    fits = load_recommended(None, **{"corpus": config.corpus, **config.transfer}).fits
    return fits.input or fits.head


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
