"""What a transfer takes where nothing is chosen, and why, in words."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from saltlm.config.reading import given, read_values, validated
from saltlm.config.transfer import PRESETS, TransferConfig

_CHOICES = {
    *("preset", "method", "aux", "mode", "vocabulary", "prune_to", "target_tokenizer"),
    *("plm_vectors", "copy_shared", "calibration", "fasttext"),
}
"""With one of these given, the user has chosen how, and all else is as docs/options.md says."""


def load_recommended(
    config: TransferConfig | str | Path | None = None,
    assignments: Iterable[str] = (),
    **options: Any,
) -> TransferConfig:
    """Return the options of a transfer; where nothing is chosen and there is a corpus, the best.

    Args:
        config: a YAML file with the fields of `TransferConfig`, or one.
        assignments: ``key=value`` or ``section.key=value``; the value is read as YAML.
        **options: fields given as flags; None or empty means not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    values = read_values(config, assignments) | given(options)
    if values.get("corpus") and not _CHOICES & values.keys():
        values["preset"] = "best"
    return validated(TransferConfig, values)


def in_one_line_each(config: TransferConfig) -> Iterator[str]:
    """Say what a preset chose, why, and how to have it otherwise."""
    if not config.corpus and not _CHOICES & config.model_fields_set:
        yield "no --corpus: SALT with the whole vocabulary of the PLM, nothing fitted to text"
        yield "with --corpus FILE you get what was best in our trials: docs/two_sides.md"
    if config.preset != "best":
        return
    alone = "" if config.budget is None else " (without --budget)"
    best = PRESETS["best"]
    if config.method == best["method"] and config.fits.input and config.fits.head:
        yield (
            "method: rows for both sides, fitted to the corpus, the best in our trials"
            f" (docs/two_sides.md); SALT as published: --preset paper{alone}"
        )
    if config.mode == "extend":
        yield (
            "mode: extend, which cuts English as before; the PLM's tokens in place of the source's:"
            f" --preset best --mode replace{alone}"
        )
    if config.vocabulary == "auto":
        budget = config.budget
        length = "one pass over the corpus" if budget is None else f"{budget:,} tokens"
        yield (
            f"vocabulary: new tokens for a training of {length} (--budget N for another length);"
            f" all of the PLM's: --preset best --vocabulary plm{alone}"
        )
