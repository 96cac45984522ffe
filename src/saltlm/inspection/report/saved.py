"""What the stages have saved in a directory, as plain data.

The report reads the files alone: their layouts are numbered, and no stage is imported here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltlm.errors import CheckpointError
from saltlm.files.json_object import parse_json, read_json
from saltlm.record.manifest import FOLDER, Manifest, read_manifest
from saltlm.version import __version__

_COMPARISON_LAYOUT = 1


@dataclass(frozen=True)
class SavedFiles:
    """What a directory holds; of each kind there may be none.

    Attributes:
        directory: where it is.
        manifest: how a model was made.
        metrics: of a run of adaptation, a row for each step.
        comparison: ``comparison.json``.
        runs: of a comparison, the metrics of each adaptation, by method and seed.
        evaluation: ``evaluation.json``.
        results: the files of single results, with their details.
    """

    directory: Path
    manifest: Manifest | None = None
    metrics: tuple[Mapping[str, Any], ...] = ()
    comparison: Mapping[str, Any] | None = None
    runs: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]] | None = None
    evaluation: Mapping[str, Any] | None = None
    results: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.directory.resolve().name

    @property
    def has_vocabulary(self) -> bool:
        """Whether there is a new vocabulary, and how its rows came about."""
        files = ("tokenizer.json", f"{FOLDER}/provenance.safetensors")
        return self.manifest is not None and all((self.directory / f).is_file() for f in files)


def last_part(name: str) -> str:
    """Return the last part of a model's name: of a path, or of a Hub id."""
    return name.rstrip("/").rpartition("/")[2]


def read_saved_files(directories: Sequence[Path]) -> list[SavedFiles]:
    """Return what directories hold; of a comparison, its models as well.

    A directory that only holds others, as that of the demo, stands for them.

    Raises:
        CheckpointError: saltlm has saved nothing there, or a file is damaged or of another version.
    """
    return [saved for directory in directories for saved in _read(directory)]


def _read(directory: Path) -> Iterator[SavedFiles]:
    own = _read_one(directory)
    if own is not None:
        yield own
        results = (own.comparison or {}).get("results", {}).values()
        inner = [directory / one["directory"] for one in results if one.get("directory")]
    else:
        inner = sorted(directory.iterdir(), key=_made_at) if directory.is_dir() else []
    found = [saved for path in inner if path.is_dir() and (saved := _read_one(path)) is not None]
    if own is None and not found:
        raise CheckpointError(
            f"saltlm has saved nothing in {directory}",
            "give a directory that transfer, adapt, compare, evaluate or demo has made",
        )
    yield from found


def _made_at(directory: Path) -> tuple[int, str]:
    """Order models as they were made: one that was adapted stands behind the one before."""
    file = directory / FOLDER / "manifest.json"
    return len(read_json(file).get("adaptations", ())), directory.name


def _read_one(directory: Path) -> SavedFiles | None:
    folder = directory / FOLDER
    metrics = tuple(_lines(folder / "metrics.jsonl"))
    has_manifest = (folder / "manifest.json").is_file()
    comparison = read_json(directory / "comparison.json")
    evaluation = read_json(directory / "evaluation.json")
    if comparison and comparison.get("schema") != _COMPARISON_LAYOUT:
        raise CheckpointError(
            f"{directory / 'comparison.json'} has the layout {comparison.get('schema')!r};"
            f" saltlm {__version__} reads {_COMPARISON_LAYOUT}",
            "use the version of saltlm that made it, or make the directory again",
        )
    is_run = bool(metrics) or (folder / "run.json").is_file()
    if not (has_manifest or is_run or comparison or evaluation):
        return None
    return SavedFiles(
        directory=directory,
        manifest=read_manifest(directory) if has_manifest else None,
        metrics=metrics,
        comparison=comparison or None,
        runs=_runs(directory, comparison),
        evaluation=evaluation or None,
        results=tuple(_results(directory)) if evaluation else (),
    )


def _runs(
    directory: Path, comparison: Mapping[str, Any]
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    return {
        (name, run["seed"]): rows
        for name, result in comparison.get("results", {}).items()
        for run in result.get("adapted", ())
        if (rows := _lines(directory / str(run.get("directory")) / FOLDER / "metrics.jsonl"))
    }


def _results(directory: Path) -> Iterator[Mapping[str, Any]]:
    for file in sorted(directory.glob("*/*.json")):
        result = read_json(file)
        if {"model", "task", "metrics"} <= result.keys():
            yield result


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines; one that is being written is left out."""
    if not file.is_file():
        return []
    try:
        return [parse_json(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: {error}", "look at the line named") from error
