"""The directory of a comparison: what it is of, and results that are made once."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saltlm.adaptation.metrics import flatten
from saltlm.comparison.results import UNTOUCHED, AdaptedRun, MethodResult
from saltlm.errors import CheckpointError, ConfigError, SaltlmError, setting
from saltlm.files.atomic import replace_text
from saltlm.files.damage import reading
from saltlm.files.json_object import read_json
from saltlm.files.leftovers import remove_dead
from saltlm.methods.registry import Choice
from saltlm.scoring.holdout import FAILURES

logger = logging.getLogger(__name__)


def collect(out: Path, failed: Sequence[MethodResult | AdaptedRun] = ()) -> dict[str, MethodResult]:
    """Return all results that a comparison's directory holds, of whatever call, by method.

    Args:
        out: the directory.
        failed: what has just failed.

    Raises:
        CheckpointError: one of them is damaged.
    """
    files = sorted(out.glob("*.json"))
    found = [read_json(file) for file in files]
    found += [result.to_json() for result in failed]
    with reading(out, CheckpointError, "remove the damaged result, and give the command again"):
        return _by_method([result for result in found if "method" in result])


def _by_method(results: Sequence[Mapping[str, Any]]) -> dict[str, MethodResult]:
    first = {result["method"]: dict(result) for result in results if "seed" not in result}
    for result in results:
        if "seed" in result:
            first[result["method"]].setdefault("adapted", []).append(result)
    untouched = {UNTOUCHED: first.pop(UNTOUCHED)}
    return {name: MethodResult.from_json(data) for name, data in (untouched | first).items()}


def directory_name(choice: Choice) -> str:
    """Return a name for files: the method, with its options where they are not the defaults."""
    return re.sub(r"[^\w.+-]+", "_", str(choice))


def claim(file: Path, inputs: Mapping[str, Any], results: Sequence[Path]) -> bool:
    """Make sure that the results beside a file are of the same inputs.

    Args:
        file: holds the inputs of the results; it is made if there is none, and anew if there are
            no results.
        inputs: options, and the hash of the content of each file that is read.
        results: what was made of the inputs so far.

    Returns:
        Whether the file was made.

    Raises:
        ConfigError: an input is another one than it was.
    """
    wanted = json.loads(json.dumps(inputs))
    if file.is_file():
        held = read_json(file)
        old, new = (flatten(values, ".") for values in (held, wanted))
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        if not changed:
            return False
        if results or held.keys() != wanted.keys():
            said = ", ".join(
                f"{key} was {setting(old.get(key))}, is {setting(new.get(key))}"
                for key in changed[:5]
            )
            raise ConfigError(
                f"{file.parent} holds a comparison of other models, options or texts: {said}",
                "choose another --out, or remove this one to begin anew",
            )
    replace_text(file, json.dumps(wanted, indent=2) + "\n")
    return True


def results_of_methods(out: Path) -> list[Path]:
    """Return the results in a directory, but for that of the untouched source."""
    others = {"inputs", "adapt", "comparison", UNTOUCHED}
    files = [file for file in out.glob("*.json") if not file.name.endswith(".files.json")]
    return [file for file in files if file.stem not in others]


def is_made(file: Path) -> bool:
    """Whether a result is there, and the model that it is of.

    Raises:
        CheckpointError: it is damaged.
    """
    remove_dead(file.parent)
    if not file.is_file():
        return False
    with reading(file, CheckpointError, "remove it, and give the command again"):
        directory = read_json(file).get("directory")
        return directory is None or (file.parent / directory).is_dir()


def once(file: Path, make: Callable[[], MethodResult | AdaptedRun]) -> None:
    """Make a result and keep it, unless it is there with its model."""
    if is_made(file):
        logger.info("%s: already there", file.stem)
    else:
        replace_text(file, json.dumps(make().to_json(), indent=2) + "\n")


def try_once(file: Path, make: Callable[[], MethodResult | AdaptedRun]) -> str | None:
    """Do the same and return why it failed, if it did; the next call then tries again."""
    try:
        once(file, make)
    except FAILURES as error:
        reason = error.what if isinstance(error, SaltlmError) else str(error)
        logger.warning("%s failed: %s", file.stem, error)  # with its next command
        return reason
    return None
