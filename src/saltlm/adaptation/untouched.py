"""What the source of a transferred model makes of the same held-out text, to be beside it."""

import logging

from saltlm.adaptation.config import AdaptConfig
from saltlm.adaptation.result import AdaptResult
from saltlm.errors import SaltlmError
from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.evaluate import load_subject
from saltlm.files.atomic import replace_text
from saltlm.files.documents import first
from saltlm.record.card import model_card
from saltlm.record.manifest import read_manifest, write_manifest

logger = logging.getLogger(__name__)


def measure_untouched(result: AdaptResult, config: AdaptConfig) -> dict[str, float]:
    """Measure the source on each held-out text, and enter it into the adapted model's record.

    Returns:
        bits per byte of each text; empty where there is no text or no source.

    Args:
        result: of a run; the record of its model names the source.
        config: of the run.
    """
    directory, context = result.directory, result.context
    if not config.heldout:
        return {}
    try:
        manifest = read_manifest(directory)
        source = manifest["source"]["name"]
        subject = load_subject(source)
    except (KeyError, SaltlmError):  # not made by a transfer, or the source is not here any more
        return {}
    logger.info("measuring %s on the held-out text, to compare", source)
    found = {
        name: bits_per_byte(
            subject.model,
            subject.tokenizer,
            first([file], result.documents, "--heldout"),
            context=context,
            stride=max(1, context // 2),
            batch=config.micro_batch,
        ).value
        for name, file in config.heldout.items()
    }
    manifest["adaptations"][-1]["untouched"] = found
    write_manifest(directory, manifest)
    replace_text(directory / "README.md", model_card(directory.name, manifest))
    return found
