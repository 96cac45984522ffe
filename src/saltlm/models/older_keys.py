"""Settings of ``config.json`` under the names that readers of before transformers 5 know.

transformers 5 writes the base of rotary positions into ``rope_parameters`` and the dtype into
``dtype``. transformers 4, and what follows it (mlx-lm, CTranslate2), looks for ``rope_theta``,
``rope_scaling`` and ``torch_dtype``, and where they are missing takes a base of 10,000 in silence:
the model then writes other text. transformers 5 reads a file with both names as one with the new.
"""

import copy
from typing import Any

from saltlm.models.config_json import sections

_LOCAL = "rope_local_base_freq"  # of the layers with a sliding window, in the Gemma 3 family
_GPT_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}


def with_older_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` with every setting that has two names under both.

    What is there already stays.

    Args:
        values: of the file, with or without a ``text_config``.
    """
    complete = copy.deepcopy(values)
    for section in sections(complete):
        for key, value in _older(section).items():
            section.setdefault(key, value)
    return complete


def missing_older_keys(values: dict[str, Any]) -> list[str]:
    """Return what `with_older_keys` would add that a reader does not do right without.

    A base of 10,000 is what readers take where none is given.
    """
    return [
        key
        for section in sections(values)
        for key, value in _older(section).items()
        if key not in section and key not in ("dtype", "torch_dtype") and value != 10_000
    ]


def _older(section: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (dtype := section.get("dtype") or section.get("torch_dtype")) is not None:
        found |= {"dtype": dtype, "torch_dtype": dtype}
    rope = section.get("rope_parameters")
    if isinstance(rope, dict):
        found |= _older_rope(rope, str(section.get("model_type", "")))
    return found


def _older_rope(rope: dict[str, Any], model_type: str) -> dict[str, Any]:
    by_layer = {name: part for name, part in rope.items() if isinstance(part, dict)}
    found: dict[str, Any] = {}
    if by_layer:
        bases = {name: part.get("rope_theta") for name, part in by_layer.items()}
        if model_type.startswith("gemma3") and "sliding_attention" in bases:
            found[_LOCAL] = bases.pop("sliding_attention")
        if len({*bases.values()}) != 1:
            return found  # no older name says this
        rope = next(by_layer[name] for name in bases)
    for key in ("rope_theta", "partial_rotary_factor"):
        if rope.get(key) is not None:
            found[_GPT_NEOX[key] if model_type == "gpt_neox" else key] = rope[key]
    scaling = {key: value for key, value in rope.items() if key not in found and value is not None}
    if scaling.get("rope_type", "default") != "default":
        scaling.pop("rope_theta", None)
        found["rope_scaling"] = scaling
    return found
