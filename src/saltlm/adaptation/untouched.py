"""What the source of a transferred model makes of the same held-out text, to be beside it."""

import logging
from pathlib import Path

from saltlm.adaptation.config import AdaptConfig
from saltlm.errors import SaltlmError
from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.evaluate import load_subject
from saltlm.files.documents import first
from saltlm.record.manifest import read_manifest

logger = logging.getLogger(__name__)


def untouched_bits(directory: Path, config: AdaptConfig, context: int) -> dict[str, float]:
    """Return bits per byte of each held-out text by the source; empty where there is none.

    Args:
        directory: of an adapted model, whose record names the source.
        config: of its run.
        context: tokens in a window, as in the run.
    """
    if not config.heldout:
        return {}
    try:
        source = read_manifest(directory)["source"]["name"]
        subject = load_subject(source)
    except (KeyError, SaltlmError):  # not made by a transfer, or the source is not here any more
        return {}
    logger.info("measuring %s on the held-out text, to compare", source)
    return {
        name: bits_per_byte(
            subject.model,
            subject.tokenizer,
            first([file], config.eval_documents, "--heldout"),
            context=context,
            stride=max(1, context // 2),
            batch=config.micro_batch,
        ).value
        for name, file in config.heldout.items()
    }
