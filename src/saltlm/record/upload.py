"""A model directory goes to the Hugging Face Hub, without what only a run needs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from saltlm.errors import CheckpointError, OutputError, shown
from saltlm.models.hub import local_directory
from saltlm.record.card import languages_of, licence_of
from saltlm.record.manifest import FOLDER

_PATH = re.compile(r'"((?:/|~/)[^"]+)"')
_STAYS = ("checkpoints", "start", "lock", "run.json", "report.html")  # in the record folder


@dataclass(frozen=True, repr=False)
class Push:
    """What was put on the Hub, or would be.

    Attributes:
        directory: of the model.
        repo: its name there, ``owner/name``.
        is_private: whether only its owner sees it.
        files: path in the directory -> bytes.
        licence: that its card states; None if it states none.
        to_know: before others see it, a sentence each.
        url: of the commit; None for a dry run.
    """

    directory: Path
    repo: str
    is_private: bool
    files: dict[str, int]
    licence: str | None
    to_know: tuple[str, ...] = ()
    url: str | None = None

    def __repr__(self) -> str:
        done = "would be put" if self.url is None else "put"
        size = sum(self.files.values()) / 1e6
        kind = "private" if self.is_private else "public"
        return f"Push({len(self.files)} files, {size:,.1f} MB, {done} into {self.repo}, {kind})"


def push(directory: str | Path, repo: str, *, public: bool = False, dry_run: bool = False) -> Push:
    """Put a model directory on the Hugging Face Hub.

    Checkpoints and locks of runs stay here; the record of how the model was made goes along.

    Args:
        directory: of a model.
        repo: ``owner/name``; made if it is not there.
        public: let everybody see it.
        dry_run: only say what would go.

    Raises:
        CheckpointError: there is no model in the directory.
        OutputError: the Hub does not take it.
    """
    place = local_directory(Path(directory))
    if place is None or not (place / "config.json").is_file():
        raise CheckpointError(f"{directory} is no model directory", "saltlm check DIR says more")
    files = {
        str(path.relative_to(place)): path.stat().st_size
        for path in sorted(place.rglob("*"))
        if path.is_file() and _goes(path.relative_to(place))
    }
    found = Push(place, repo, not public, files, licence_of(place), tuple(_to_know(place)))
    if dry_run:
        return found
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repo, private=not public, exist_ok=True)
        url = api.upload_folder(
            repo_id=repo,
            folder_path=place,
            allow_patterns=list(files),
            commit_message="A model made by saltlm",
        )
    except Exception as error:  # requests and httpx, one per hub version, share no parent
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise OutputError(f"the Hub does not take {repo}: {reason}", "hf auth login") from error
    return replace(found, url=str(url))


def _to_know(place: Path) -> Iterator[str]:
    """Yield what the owner should look at before others see a model."""
    if licence_of(place) is None:
        yield "the card states no licence: look up those of both parents"
    if not languages_of(place):
        yield "the card names no language: write language: into its first lines"
    record = place / FOLDER / "manifest.json"
    if record.is_file() and (path := _PATH.search(record.read_text(encoding="utf-8"))):
        yield f"{FOLDER}/manifest.json names folders of this machine, such as {shown(path[1])}"


def _goes(path: Path) -> bool:
    if any(part.startswith(".") for part in path.parts):
        return False
    return path.parts[0] != FOLDER or path.parts[1] not in _STAYS
