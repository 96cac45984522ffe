"""SALT's step 5: causal language modelling on text of the target language."""

from pathlib import Path
from typing import Any

from saltlm.adaptation.config import AdaptConfig, load_adapt_config
from saltlm.adaptation.engine import train
from saltlm.adaptation.objective import CAUSAL, Beginning
from saltlm.adaptation.result import AdaptResult
from saltlm.models.hub import resolve_model
from saltlm.record.card import check_record


def adapt(
    model: str | Path,
    out: str | Path,
    *,
    resume: str | Path = "auto",
    config: AdaptConfig | str | Path | None = None,
    **options: Any,
) -> AdaptResult:
    """Train a model on text of its new language and write the result as a model directory.

    A killed run goes on from its last checkpoint when it is called again, and ends with the same
    bytes as one that was not killed.

    Args:
        model: Hub id or directory, as ``saltlm transfer`` wrote it or any causal language model.
        out: the directory to make; checkpoints and metrics lie in its folder ``saltlm``.
        resume: ``auto``, ``never``, or the path of a checkpoint; see `choose_start`.
        config: options, or a YAML file of them.
        **options: fields of `AdaptConfig`, which win: ``data="german.txt"``, ``tokens="1M"``, ...

    Raises:
        SaltlmError: the inputs do not fit together, or training cannot go on.
    """
    config = load_adapt_config(config, **options)

    def begin() -> Beginning:
        directory = resolve_model(str(model))
        check_record(directory)
        return Beginning(directory, CAUSAL)

    return train(begin, Path(out), config, resume=resume)
