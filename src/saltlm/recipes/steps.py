"""The steps of a recipe: each is done once, and again when what it was made of has changed."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltlm.errors import CheckpointError, SaltlmError, quoted
from saltlm.evaluation.results import hash_of, model_hash
from saltlm.files.atomic import replace_text
from saltlm.files.hashes import sha256
from saltlm.files.json_object import parse_json, read_text
from saltlm.files.leftovers import remove_dead

_SECTIONS = {step: step for step in ("pretrain", "transfer", "adapt")} | {"teacher": "pretrain"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Steps:
    """The steps of a run that are done.

    Attributes:
        run: its directory.
        results: of each step by name.
    """

    run: Path
    results: dict[str, dict[str, Any]]

    def do(
        self,
        name: str,
        made_of: Mapping[str, Any],
        work: Callable[[str], dict[str, Any]],
        makes: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return what a step came to, from its record if it was made of the same.

        Args:
            name: of the step.
            made_of: options and results that decide it.
            work: does it; gets ``auto`` to go on where it was killed, or ``never`` to start anew.
            makes: files and model directories that it leaves in the run, for the steps after it.

        Raises:
            CheckpointError: one of those is there, but no longer as the step left it.
        """
        file = self.run / "steps" / f"{name}.json"
        values = json.loads(json.dumps(made_of, sort_keys=True, default=str))
        key = hash_of(values)
        recorded = _read(file)
        is_same = recorded.get("key") == key
        if is_same and "result" in recorded and self._is_there(name, recorded["files"]):
            logger.info("saltlm recipe: %s is done", name)
        else:
            logger.info("saltlm recipe: %s", name)
            file.parent.mkdir(exist_ok=True)
            begun = {"key": key, "made_of": values}
            _write(file, begun)
            with _options_are_of(name):
                result = work("auto" if is_same or not recorded else "never")
            files = {one: _hash(self.run / one) for one in makes if (self.run / one).exists()}
            recorded = begun | {"result": result, "files": files}
            _write(file, recorded)
        self.results[name] = recorded["result"] | {"key": key}
        return self.results[name]

    def _is_there(self, name: str, files: Mapping[str, str]) -> bool:
        """Whether all is there that a step has made."""
        if not all((self.run / one).exists() for one in files):
            return False
        for one, old in files.items():
            if (new := _hash(self.run / one)) != old:
                record = self.run / "steps" / f"{name}.json"
                raise CheckpointError(
                    f"{self.run / one} was changed since the step {name} made it: SHA-256 was"
                    f" {old}, is {new}",
                    f"the same command makes it again after: rm {quoted(record)}",
                )
        return True


@contextmanager
def _options_are_of(name: str) -> Iterator[None]:
    """Say of a step's hint how a recipe is given the options that it names."""
    try:
        yield
    except SaltlmError as error:
        if "--" in error.hint and (section := _SECTIONS.get(name)):
            error.add_hint(f"in a recipe, options of {name} are --set {section}.KEY=VALUE")
        raise


def _hash(path: Path) -> str:
    """Return what identifies a file, or a model."""
    return model_hash(path) if path.is_dir() else sha256(path)


def _read(file: Path) -> dict[str, Any]:
    """Return the record of a step; nothing if there is none, or it is damaged."""
    remove_dead(file.parent)
    with suppress(OSError, ValueError, TypeError, KeyError):
        recorded = dict(parse_json(read_text(file)))
        if recorded.pop("seal") == hash_of(recorded):
            return recorded
    return {}


def _write(file: Path, record: dict[str, Any]) -> None:
    record = json.loads(json.dumps(record))
    sealed = record | {"seal": hash_of(record)}
    replace_text(file, json.dumps(sealed, indent=2, ensure_ascii=False) + "\n")
