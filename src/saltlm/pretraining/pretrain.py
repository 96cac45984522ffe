"""A small PLM from nothing but text: a tokenizer, a model, and its training."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltlm.adaptation.engine import is_main_process, train
from saltlm.adaptation.objective import Beginning
from saltlm.adaptation.run_folder import RunFolder, only_run
from saltlm.files.atomic import disk_errors
from saltlm.pretraining.config import PretrainConfig, load_pretrain_config
from saltlm.pretraining.objectives import objective_of
from saltlm.pretraining.start import make_start, plan, read_start


@dataclass(frozen=True, repr=False)
class PretrainResult:
    """A PLM.

    Attributes:
        directory: of the model.
        n_parameters: of it, embeddings included.
        n_layers: parameters of its layers alone.
        n_tokens: of its tokenizer.
        n_read: tokens read in training, over all starts of the run.
        seconds: spent in its steps.
        bits_per_byte: of each held-out text at the end; of a bert and a t5, of what was hidden.
        before: the same before the first step.
        reasons: for what was chosen, a sentence each.
    """

    directory: Path
    n_parameters: int
    n_layers: int
    n_tokens: int
    n_read: int
    seconds: float
    bits_per_byte: dict[str, float]
    before: dict[str, float]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        ends = [f"{name} {value:.3f}" for name, value in self.bits_per_byte.items()]
        measured = f"; bits per byte: {', '.join(ends)}" if ends else ""
        size = f"{self.n_parameters:,} parameters, {self.n_tokens:,} tokens"
        return f"{self.directory}: {size}; {self.n_read:,} read{measured}"

    def __repr__(self) -> str:
        return f"PretrainResult({self})"


def pretrain(
    out: str | Path,
    *,
    resume: str | Path = "auto",
    config: PretrainConfig | str | Path | None = None,
    **options: Any,
) -> PretrainResult:
    """Train a tokenizer and a small model on text alone, and write them as a model directory.

    A killed run goes on when it is called again, and ends with the same bytes as one that was not
    killed. The result is what `transfer` takes as PLM.

    Args:
        out: the directory to make; checkpoints and metrics lie in its folder ``saltlm``.
        resume: ``auto``, ``never``, or the path of a checkpoint; see `choose_start`.
        config: options, or a YAML file of them.
        **options: fields of `PretrainConfig`, which win: ``corpus="german.txt"``, ``arch="gpt"``.

    Raises:
        SaltlmError: the options do not fit together, a text cannot be read, or training cannot go
            on.
    """
    config = load_pretrain_config(config, **options)
    planned = plan(config)
    folder = RunFolder(Path(out).expanduser().resolve())
    start = folder.path / "start"

    def begin() -> Beginning:
        if is_main_process():
            with only_run(folder), disk_errors(folder.out):
                if resume == "never":
                    shutil.rmtree(start, ignore_errors=True)
                make_start(start, config, planned, is_begun=folder.record.exists())
        trained = read_start(start).tokenizer
        return Beginning(start, objective_of(config.arch, trained, config.hidden_share))

    training = config.training(
        batch_tokens=planned.size.batch_tokens, learning_rate=planned.size.learning_rate
    )
    end = train(begin, folder.out, training, resume=resume)
    made = read_start(start)
    return PretrainResult(
        directory=end.directory,
        n_parameters=made.n_parameters,
        n_layers=planned.size.n_parameters,
        n_tokens=len(made.tokenizer.definition.ids),
        n_read=end.n_tokens,
        seconds=end.seconds,
        bits_per_byte=end.bits_per_byte,
        before=end.before,
        reasons=made.reasons,
    )
