"""Code: short functions that a model completes, run in a process of their own with limits.

The limits are on time, memory and files' sizes; they are no wall. What the model writes can read
files, start processes and reach the network as the user can, so nothing runs unless it is asked
for.
"""

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from saltlm.config.reading import Section, read_yaml, validated
from saltlm.evaluation.results import hash_of, ratio
from saltlm.evaluation.task import ENGINE, Measured, Subject, Task, Work
from saltlm.evaluation.written import write_after
from saltlm.files.leftovers import temporary

_OWN = Path(__file__).with_name("functions.yaml")
_SECONDS = 5
_BYTES = 2**29
_LONGEST = 128  # tokens
_NEXT = re.compile(r"\n(?=\S)")  # a line that is no longer of the function


class Function(Section):
    """The beginning of a function, and the statements that test it."""

    begin: str = Field(min_length=1)
    test: str = Field(min_length=1)


class Functions(Section):
    """The functions of a file."""

    functions: tuple[Function, ...] = Field(min_length=1)


def read_functions(file: Path | None) -> tuple[Function, ...]:
    """Return the functions of a file; without one, saltlm's own.

    Raises:
        ConfigError: it cannot be read, or is laid out otherwise.
    """
    return validated(Functions, read_yaml(file or _OWN)).functions


def code_task(functions: Sequence[Function], seed: int) -> Task:
    """Return the task: functions that a model completes pass their tests."""

    def measure(subject: Subject) -> Measured:
        made = [completed(subject, function.begin) for function in functions]
        passed = [
            passes(code, function.test) for code, function in zip(made, functions, strict=True)
        ]
        shown = [{"code": code, "passed": one} for code, one in zip(made, passed, strict=True)]
        return Measured(
            {"functions that pass": ratio(list(map(float, passed)), better="higher", seed=seed)},
            {"functions": shown},
        )

    data = hash_of([function.model_dump() for function in functions])
    work = Work([function.begin for function in functions], n_written=_LONGEST * len(functions))
    return Task("code", "1", ENGINE, {"most tokens": _LONGEST}, data, seed, measure, work)


def completed(subject: Subject, begin: str) -> str:
    """Return a function with the body that a model gives it, cut where the next thing begins."""
    prompt = begin.rstrip("\n")  # line ends and indentation are one token to most models
    written = write_after(subject.model, subject.tokenizer, prompt, most=_LONGEST)
    return prompt + _NEXT.split(written.text, maxsplit=1)[0] + "\n"


def passes(code: str, test: str) -> bool:
    """Tell whether a program ends well, in a process of its own, within its limits."""
    with temporary() as folder:
        try:
            program = subprocess.Popen(
                [sys.executable, "-I", "-c", f"{code}\n{test}\n"],
                cwd=folder,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=_limit,
                start_new_session=True,
            )
        except ValueError:  # a null byte is no program
            return False
        try:
            return program.wait(2 * _SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)  # and what it has started
            program.wait()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
