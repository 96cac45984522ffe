"""saltlm's command line in a child of its own: killed at a chosen change, short of disk or memory.

Children are forked from a process that has imported everything and has no second thread, so that
one takes a tenth of a second and is a real process all the same. One that is not forked is
``python -m faults.trials FOLDER ARGUMENTS``.
"""

import errno
import gc
import importlib
import io
import json
import os
import pkgutil
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import saltlm

CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
LOADED = ("torch", *(f"transformers.models.{name}.modeling_{name}" for name in ("llama", "bert")))
_BROKEN = 98
_PATIENCE = 30  # a machine may be busy, or stop what is nice to others


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit status; minus the signal that killed it.
        seconds: by the clock.
        out: what it wrote to stdout.
        err: likewise stderr.
        n_changes: of files that Python made, as far as it got.
        is_hung: it was stopped after its time.
    """

    code: int
    seconds: float
    out: str
    err: str
    n_changes: int
    is_hung: bool

    @property
    def has_traceback(self) -> bool:
        """Whether the user saw a traceback, or was told of a mistake of saltlm's."""
        return "Traceback (most" in self.err or "this should not happen" in self.err

    @property
    def error(self) -> str:
        """The message of an error in one line."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error: ", "hint: "))]
        return " / ".join(lines)[:400]


def preload(folder: Path | None = None) -> None:
    """Import all that commands import, so that a fork has it, out of the way of the collector.

    A collection in a fork would write to every object, which copies the memory they lie in.

    Args:
        folder: for what makes cases small; not given, they are left as they are.
    """
    everything = pkgutil.walk_packages(saltlm.__path__, "saltlm.")
    for name in (*LOADED, *(found.name for found in everything)):
        if name != "saltlm.__main__":
            importlib.import_module(name)
    import torch
    import tqdm

    torch.set_num_threads(1)
    tqdm.tqdm.monitor_interval = 0  # its thread
    re._MAXCACHE = 100_000  # type: ignore[attr-defined]  # transformers makes a thousand a model
    if folder is not None:
        _make_small(folder)
    gc.collect()
    gc.freeze()


def warm_up(*arguments: object) -> None:
    """Run a command in this process, so that forks find made what is made once.

    Raises:
        RuntimeError: it failed, or has left a thread, which a fork would lose.
    """
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        code = _run([str(one) for one in arguments])
    tasks = Path("/proc/self/task")
    if code or (tasks.is_dir() and len(list(tasks.iterdir())) > 1):
        raise RuntimeError(f"{arguments}: {code}, {said.getvalue()}")
    gc.collect()
    gc.freeze()


def _make_small(folder: Path) -> None:
    """Shorten what takes time and reads or writes no file of its own."""
    from saltlm.alignment import align
    from saltlm.evaluation import generation, quick, speed
    from saltlm.pretraining.sizes import SIZES, Size

    english = folder / "few-english.txt"
    english.write_text("Open the file and read the first line.\n" * 6, encoding="utf-8")
    vars(align)["OWN_ENGLISH"] = english
    for module in (generation, quick, speed):
        vars(module)["N_NEW"] = 2
    SIZES["mini"] = Size("mini", 16, 2, 2, 64, 1e-2)


def trial(
    *arguments: object,
    kill_at: int | None = None,
    memory: int | None = None,
    file_size: int | None = None,
    broken: tuple[int, int] | None = None,
    seconds: float = 60,
    environment: dict[str, str] | None = None,
) -> Outcome:
    """Run a command.

    Args:
        *arguments: of ``saltlm``.
        kill_at: SIGKILL before this change of a file, counted from 1.
        memory: bytes of address space beyond what the fork begins with.
        file_size: bytes of the largest file that can be written.
        broken: from this change of a file on, changes fail with this error number.
        seconds: of processor time, after which it counts as hung.
        environment: more variables.
    """
    with tempfile.TemporaryDirectory(prefix="saltlm-trial-") as folder:
        places = [Path(folder, name) for name in ("out", "err", "changes")]
        begun = time.monotonic()
        child = start(
            [str(one) for one in arguments],
            places,
            kill_at=kill_at,
            memory=memory,
            file_size=file_size,
            broken=broken,
            environment=environment,
        )
        is_hung = not _ends(child, seconds)
        if is_hung:
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0) if is_hung else (0, _ENDED.pop(child))
        out, err = (place.read_text(encoding="utf-8", errors="replace") for place in places[:2])
        return Outcome(
            code=os.waitstatus_to_exitcode(status),
            seconds=time.monotonic() - begun,
            out=out,
            err=err,
            n_changes=places[2].stat().st_size,
            is_hung=is_hung,
        )


_ENDED: dict[int, int] = {}


def _ends(child: int, seconds: float) -> bool:
    """Wait for a child; False if it takes more than its time, or 30 times that by the clock."""
    begun = time.monotonic()
    while time.monotonic() - begun < _PATIENCE * seconds:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            _ENDED[child] = status
            return True
        time.sleep(0.02)
        if Path("/proc").is_dir():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > seconds:
                return False
    return False


def start(
    arguments: Sequence[str],
    places: Sequence[Path],
    *,
    kill_at: int | None = None,
    memory: int | None = None,
    file_size: int | None = None,
    broken: tuple[int, int] | None = None,
    environment: dict[str, str] | None = None,
) -> int:
    """Fork a command; its streams and a byte for each change go into the three places."""
    sys.stdout.flush()
    for place in places:
        place.touch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some Pythons warn of forks
        child = os.fork()
    if child:
        return child
    code = _BROKEN
    try:
        os.setsid()
        os.environ.update({"TQDM_DISABLE": "1", **(environment or {})})
        for number, place in enumerate(places[:2], 1):
            os.dup2(os.open(place, os.O_WRONLY), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        _count_changes(os.open(places[2], os.O_WRONLY | os.O_APPEND), kill_at, broken)
        _limit(memory, file_size)
        code = _run(arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _run(arguments: Sequence[str]) -> int:
    import logging

    from saltlm.cli.main import main

    logging.root.handlers = []
    try:
        main(list(arguments))
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    return 0


def _limit(memory: int | None, file_size: int | None) -> None:
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))


_FREEING = {"os.rename", "os.remove", "os.rmdir", "os.truncate"}  # what a full disk lets pass


def _count_changes(counter: int, kill_at: int | None, broken: tuple[int, int] | None) -> None:
    """Write a byte for each change of a file, and die before the one that is chosen, or refuse."""
    n = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n
        if event not in CHANGES or str(arguments[0]).startswith(("/proc", os.devnull)):
            return
        if event == "open":
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            if not (arguments[2] or 0) & writes:
                return
        n += 1
        if n == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(counter, b".")
        from_then, error = broken or (n + 1, 0)
        if n >= from_then and (error == errno.EROFS or event not in _FREEING):
            raise OSError(error, os.strerror(error), str(arguments[0]))

    sys.addaudithook(hook)


# Made of what is compared, and of times.
WITH_TIMES = {"lock", "evaluation.md", "report.html"}
PASSING = ("said", "second", "fast", "processor", "peak_memory", "environment", "speed")
PASSING += ("per_second", "threads", "seal")  # which is of seconds too


def lasting(value: Any) -> Any:
    """Return JSON without what differs between two runs of the same: times, memory, speed."""
    if isinstance(value, dict):
        if any(word in str(value.get("metric")) for word in PASSING):
            return {"metric": value["metric"]}
        return {
            key: lasting(item)
            for key, item in value.items()
            if not any(word in key for word in PASSING)
        }
    return [lasting(item) for item in value] if isinstance(value, list) else value


def outcome_of(out: Path) -> dict[str, object]:
    """Return what a command has made: of JSON what lasts, of other files the bytes."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {
        str(file.relative_to(out)): _lasting_of(file)
        for file in files
        if file.name not in WITH_TIMES
    }


def _lasting_of(file: Path) -> object:
    data = file.read_bytes()
    try:
        if file.suffix == ".json":
            return lasting(json.loads(data))
        if file.suffix == ".jsonl":
            return [lasting(json.loads(line)) for line in data.splitlines()]
    except ValueError:  # damaged
        pass
    return data


if __name__ == "__main__":
    _make_small(Path(sys.argv[1]))
    sys.exit(_run(sys.argv[2:]))
