"""What is told of files as they are read: each thing once, however often they are read."""

import logging

logger = logging.getLogger(__name__)

_SAID: set[str] = set()


def say_once(message: str, level: int = logging.INFO) -> None:
    """Log a message unless it was logged before."""
    if message not in _SAID:
        _SAID.add(message)
        logger.log(level, "%s", message)
