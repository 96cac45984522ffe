"""What a run begins with: a tokenizer trained on the corpus, and a model with random weights.

They are a model directory of their own, ``OUT/saltlm/start``, made once. So a run that is killed
goes on with the same tokenizer, and the training engine reads them as it reads any model.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from saltlm.errors import TrainingError, setting
from saltlm.files.atomic import new_directory
from saltlm.files.documents import check_corpus, documents
from saltlm.files.leftovers import remove_dead
from saltlm.files.source import fingerprint
from saltlm.models.hub import resolve_model
from saltlm.models.skeleton import hide_bars
from saltlm.pretraining.config import DEFAULT_TOKENIZER, PretrainConfig
from saltlm.pretraining.continued import continue_tokenizer, tokenizer_of
from saltlm.pretraining.models import new_model
from saltlm.pretraining.sizes import Size, choose_size, estimated_tokens
from saltlm.pretraining.tokenizer import TrainedTokenizer, train_tokenizer
from saltlm.record.manifest import FOLDER, environment, read_manifest, write_manifest
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.load import load_tokenizer
from saltlm.tokenizer.save import save_tokenizer
from saltlm.tokenizer.special_tokens import read_special_tokens
from saltlm.tokenizer.target import TargetTokenizer

logger = logging.getLogger(__name__)

_CHARACTERS = 64_000_000  # of a corpus, from its beginning, that a tokenizer is trained on
_DECIDE = (
    *("arch", "size", "vocab_size", "tokenizer", "continue_tokenizer", "tokenizer_of", "budget"),
    *("seed", "min_occurrences", "sequence_length", "hidden_share"),
)


@dataclass(frozen=True)
class StartPlan:
    """What is decided before anything is made.

    Attributes:
        n_bytes: of the corpus.
        n_tokens: of the corpus, estimated.
        size: of the model.
        reasons: for all that was chosen, a sentence each.
    """

    n_bytes: int
    n_tokens: int
    size: Size
    reasons: tuple[str, ...]


def plan(config: PretrainConfig) -> StartPlan:
    """Return what a corpus and options come to.

    Raises:
        DataError: a text cannot be read, or holds no document.
        CheckpointError: a model whose tokenizer is asked for is not there.
    """
    check_corpus(config.corpus)
    for model in (config.continue_tokenizer, config.tokenizer_of):
        if model is not None:
            resolve_model(model, with_weights=False)
    n_bytes = sum(len(document.encode()) for document in documents(config.corpus))
    n_tokens = estimated_tokens(n_bytes)
    n_read = config.tokens or round((config.passes or 0) * n_tokens)
    if config.steps is not None:
        n_read = config.steps * (config.batch_tokens or 4_096)
    size, reason = choose_size(config.size, n_read)
    return StartPlan(n_bytes, n_tokens, size, (reason,))


def make_start(
    directory: Path, config: PretrainConfig, planned: StartPlan, *, is_begun: bool = False
) -> None:
    """Make the directory that a run begins with, unless it is there.

    Args:
        directory: of it.
        config: options of the run.
        planned: what they come to.
        is_begun: whether a run was trained from what is there; else it is made anew for others.

    Raises:
        TrainingError: it is there, made of another corpus or with other options.
        SaltlmError: the tokenizer cannot be trained.
    """
    options = config.model_dump(mode="json", include=set(_DECIDE))
    made_of = {"options": options, "corpus": [fingerprint(text) for text in config.corpus]}
    if (directory / "config.json").is_file():
        remove_dead(directory.parent)
        changed = _changed(directory, made_of)
        if not changed:
            return
        if is_begun:
            raise TrainingError(
                f"{directory.parent.parent} holds a run with other settings: {', '.join(changed)}",
                "give the same again, choose another --out, or begin anew with --resume never",
            )
        shutil.rmtree(directory)
    logger.info("%s", "\n".join(planned.reasons))
    directory.parent.mkdir(parents=True, exist_ok=True)
    trained, reason = _tokenizer(config, planned)
    logger.info("%s", reason)
    n_tokens = len(trained.definition.ids)
    model = new_model(
        config.arch, planned.size, n_tokens, trained.roles, config.sequence_length, config.seed
    )
    n_parameters = sum(weight.numel() for weight in model.parameters())
    with new_directory(directory, force=False, expected_bytes=4 * n_parameters) as fresh:
        hide_bars()
        model.save_pretrained(fresh)
        save_tokenizer(_as_target(trained), fresh, model_type=model.config.model_type)
        record = {
            "made_of": made_of,
            "reasons": [*planned.reasons, reason],
            "parameters": n_parameters,
            "tokens": n_tokens,
        }
        card = _card(config, [*planned.reasons, reason])
        (fresh / "README.md").write_text(card, encoding="utf-8")
        write_manifest(
            fresh, {"kind": "pretrained", "pretraining": record, "environment": environment()}
        )


@dataclass(frozen=True)
class Start:
    """What `make_start` has made.

    Attributes:
        tokenizer: of the model.
        n_parameters: of the model.
        reasons: for what was chosen, a sentence each.
    """

    tokenizer: TrainedTokenizer
    n_parameters: int
    reasons: tuple[str, ...]


def read_start(directory: Path) -> Start:
    """Return what a run begins with."""
    tokenizer = load_tokenizer(directory)
    special = read_special_tokens(directory, tokenizer)
    record = read_manifest(directory)["pretraining"]
    trained = TrainedTokenizer(Definition.of(tokenizer), special)
    return Start(trained, record["parameters"], tuple(record["reasons"]))


def _tokenizer(config: PretrainConfig, planned: StartPlan) -> tuple[TrainedTokenizer, str]:
    """Return the tokenizer, and why it is as large as it is."""
    kind = config.tokenizer or DEFAULT_TOKENIZER[config.arch]
    budget = config.budget or planned.n_tokens
    if config.tokenizer_of is not None:
        trained = tokenizer_of(config.tokenizer_of, _texts(config))
        how = f"those of {config.tokenizer_of} that the corpus uses"
        return trained, f"vocabulary of {len(trained.definition.ids):,} tokens: {how}"
    if config.continue_tokenizer is not None:
        trained = continue_tokenizer(
            config.arch,
            config.continue_tokenizer,
            _texts(config),
            size=config.vocab_size,
            budget=budget,
            min_occurrences=config.min_occurrences,
        )
        how = f"those of {config.continue_tokenizer} that the corpus uses, and merges made of them"
    else:
        least = max(2, round(config.min_occurrences * planned.n_tokens / budget))
        trained = train_tokenizer(
            config.arch, kind, _texts(config), size=config.vocab_size, min_frequency=least
        )
        how = f"{kind}, as many as byte pairs that occur {least:,} times in the corpus"
    if config.vocab_size is not None:
        how = f"{kind}, as asked" if config.continue_tokenizer is None else f"{how}, as asked"
    elif config.budget is not None:
        how += f": {config.min_occurrences:g} times in a budget of {budget:,} tokens"
    return trained, f"vocabulary of {len(trained.definition.ids):,} tokens: {how}"


def _texts(config: PretrainConfig) -> Callable[[], Iterable[str]]:
    def begin() -> Iterator[str]:
        n_read = 0
        for document in documents(config.corpus):
            yield document
            n_read += len(document)
            if n_read >= _CHARACTERS:
                return

    return begin


def _as_target(trained: TrainedTokenizer) -> TargetTokenizer:
    ids = torch.arange(len(trained.definition.ids))
    none = torch.full_like(ids, -1)
    return TargetTokenizer(
        definition=trained.definition,
        plm_ids=ids,
        source_special_ids=none,
        source_text_ids=none,
        roles=trained.roles,
        chat_templates={},
        settings={},
        notes=(),
    )


def _changed(directory: Path, made_of: dict[str, Any]) -> list[str]:
    """Return in words what a start was made of that is now otherwise."""
    recorded = read_manifest(directory)["pretraining"]["made_of"]
    old, new = ({**values["options"], "corpus": values["corpus"]} for values in (recorded, made_of))
    return [
        "the corpus is another one"
        if key == "corpus"
        else f"{key} was {setting(old.get(key))}, is {setting(new[key])}"
        for key in new
        if old.get(key) != new[key]
    ]


def _card(config: PretrainConfig, reasons: list[str]) -> str:
    names = ", ".join(Path(str(text)).name for text in config.corpus)
    lines = "\n".join(f"- {reason}" for reason in reasons)
    return (
        f"---\nlibrary_name: transformers\n---\n# A small {config.arch} model\n\n"
        f"Trained from nothing by `saltlm pretrain` on {names}, to be the PLM of `saltlm transfer`."
        f" `{FOLDER}/manifest.json` has all options.\n\n{lines}\n"
    )
