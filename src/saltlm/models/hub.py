"""Turn what the user typed, a directory, a GGUF file or a Hub id, into a model directory."""

import logging
from pathlib import Path

from saltlm.errors import CheckpointError, quoted
from saltlm.files.atomic import put_back
from saltlm.files.leftovers import remove_dead_of
from saltlm.files.links import check_links
from saltlm.models.adapters import check_no_adapter

_LOG = logging.getLogger(__name__)

# Code is fetched with them; it runs only where the user trusts it.
_TEXT_SUFFIXES = (".json", ".jinja", ".model", ".txt", ".md", ".py", ".codes")
_TEMPLATES = "additional_chat_templates/"
_LICENCES = ("LICENSE", "NOTICE")


def resolve_model(ref: str, *, with_weights: bool = True) -> Path:
    """Find a model on disk, or fetch it from the Hugging Face Hub into its cache.

    Of a Hub repository only the top-level text files and the safetensors are fetched; ``.bin``
    weights only if there are no safetensors. A GGUF file is dequantised once, into saltlm's cache.

    Args:
        ref: a local directory, a GGUF file, or a Hub id such as ``HuggingFaceTB/SmolLM2-135M``.
        with_weights: False fetches the text files alone, which hold the tokenizer.

    Returns:
        The model directory.

    Raises:
        CheckpointError: a path that is no directory, a link out of it, an adapter, a GGUF file that
            cannot be read, or a model that is neither cached nor reachable.
        MissingExtraError: a GGUF file needs the ``gguf`` extra.
    """
    path = Path(ref).expanduser()
    if (directory := local_directory(path)) is not None:
        return directory
    if path.suffix.lower() == ".gguf":
        from saltlm.models.gguf import cached_directory

        return cached_directory(path)
    if path.exists():
        raise CheckpointError(
            f"{ref} is a file, not a model directory", f"give its directory: {path.parent}"
        )
    if ref.startswith((".", "/", "~")) or ref.count("/") > 1:
        raise CheckpointError(
            f"{ref} does not exist", "check the path, or give a Hub id such as owner/name"
        )
    fetched = _fetch(ref, with_weights=with_weights)
    check_no_adapter(fetched)
    return fetched


def local_directory(path: Path) -> Path | None:
    """Return a model directory on disk, put back if a killed run had moved it away; None: no such.

    What killed runs have left beside it and in it is removed or named.

    Raises:
        CheckpointError: a link in it leads elsewhere, or it holds an adapter.
    """
    put_back(path)
    if not path.is_dir():
        return None
    remove_dead_of(path)
    check_links(path)
    check_no_adapter(path)
    return path


def revision_of(directory: Path) -> str | None:
    """The commit of a directory in the Hub cache; None for any other directory."""
    return directory.name if directory.parent.name == "snapshots" else None


def _fetch(ref: str, *, with_weights: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError

    hint = f"where there is network: hf download {quoted(ref)} --local-dir DIR; then give DIR here"
    try:
        info = HfApi().model_info(ref, files_metadata=True)
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or []}
        files = _wanted(list(sizes), with_weights=with_weights)
        total = sum(sizes[name] for name in files)
        _LOG.info("%s at %s: %d files, %.2f GB", ref, info.sha, len(files), total / 1e9)
        return Path(snapshot_download(ref, allow_patterns=files))
    except HFValidationError:
        raise CheckpointError(
            f"{ref!r} is neither a directory nor a Hub id", "give a directory, or owner/name"
        ) from None
    except Exception as error:  # requests and httpx, one per hub version, share no parent
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, GatedRepoError):
            hint = f"accept its terms at https://huggingface.co/{ref}, then: hf auth login"
    try:
        return Path(snapshot_download(ref, local_files_only=True))
    except OSError:
        raise CheckpointError(
            f"cannot fetch config.json and the weights of {ref} from the Hub, and no copy is"
            f" cached: {reason}",
            hint,
        ) from None


def _wanted(files: list[str], *, with_weights: bool) -> list[str]:
    top = [name for name in files if "/" not in name or name.startswith(_TEMPLATES)]
    text = [name for name in top if name.endswith(_TEXT_SUFFIXES) or name.startswith(_LICENCES)]
    if not with_weights:
        return text
    weights = [name for name in top if name.startswith("model") and name.endswith(".safetensors")]
    if not weights:
        weights = [name for name in top if name.startswith("pytorch_") and name.endswith(".bin")]
    return text + weights
