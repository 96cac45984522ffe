"""saltlm gives an English-centric LLM a new language by recycling a small model of that language.

The names below load on first use, so that ``import saltlm`` stays instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

from saltlm.version import __version__

if TYPE_CHECKING:
    from saltlm.config.transfer import TransferConfig
    from saltlm.errors import SaltlmError
    from saltlm.vocabulary_transfer.result import TransferResult
    from saltlm.vocabulary_transfer.transfer import transfer, transfer_embeddings

_HOMES = {
    "SaltlmError": "saltlm.errors",
    "TransferConfig": "saltlm.config.transfer",
    "TransferResult": "saltlm.vocabulary_transfer.result",
    "transfer": "saltlm.vocabulary_transfer.transfer",
    "transfer_embeddings": "saltlm.vocabulary_transfer.transfer",
}

__all__ = [
    "SaltlmError",
    "TransferConfig",
    "TransferResult",
    "__version__",
    "transfer",
    "transfer_embeddings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saltlm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
