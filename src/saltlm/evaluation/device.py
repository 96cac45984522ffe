"""Where models are measured."""

import torch

from saltlm.errors import ConfigError


def chosen_device(asked: str | None) -> str:
    """Return a device that is here: the one that was asked for, or the first GPU, or the CPU.

    Raises:
        ConfigError: torch does not have it.
    """
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"there is no device {asked} here: {reason}", "--device cpu") from error
    return asked
