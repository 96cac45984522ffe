"""What is done to saltlm, case by case, and what would be a fault of it.

A case is a name; it and the seed decide all that happens in it. A fault is: a traceback, a hang, a
death that was not asked for, an error without its next command, something lost or left behind, or a
result that is not that of a run in peace.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conftest import CORPUS, TRAINERS
from faults.mutations import damage
from faults.trials import Outcome, outcome_of, start, trial
from tiny_pairs import write_pair

SETTINGS = ("batch_tokens=64", "sequence_length=32", "micro_batch=2", "save_every=2")
SETTINGS += ("eval_every=2", "eval_documents=2", "dtype=float32")
GIB = 2**30
_SLOW = 10  # seconds of processor time that a refusal may take


@dataclass(frozen=True)
class Verdict:
    """What a case came to.

    Attributes:
        kind: in a word, to be counted: refused, accepted, killed, whole ...
        fault: what is wrong about it, in a line; None: nothing.
    """

    kind: str
    fault: str | None = None


@dataclass(frozen=True)
class Room:
    """Inputs of all cases, made once, and a scratch folder for one case at a time."""

    folder: Path

    @cached_property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def command(self, verb: str, out: Path, inputs: Path | None = None) -> list[Any]:
        """Return a command line that writes into `out`."""
        at = inputs or self.folder / "inputs"
        cache = ["--set", f"cache={self.scratch / 'cache'}"]
        sets = [part for setting in SETTINGS for part in ("--set", setting)]
        held = ["--heldout", at / "held.txt"]
        pair = [at / "source", at / "plm"]
        return {
            "transfer": ["transfer", *pair, "--out", out],
            "force": ["transfer", *pair, "--out", out, "--force"],
            "adapt": [
                *("adapt", at / "made", "--data", at / "corpus.txt", *held),
                *("--steps", "4", "--out", out, *sets, *cache),
            ],
            "compare": [
                *("compare", *pair, "--methods", "fvt,mean", *held, "--documents", "3"),
                *("--corpus", at / "corpus.txt", "--out", out),
            ],
            "evaluate": ["evaluate", at / "made", *held, "--limit", "2", "--out", out],
        }[verb]

    @cached_property
    def references(self) -> dict[str, tuple[int, dict[str, object]]]:
        return {}

    def reference(self, verb: str) -> tuple[int, dict[str, object]]:
        """Return how many changes of files a command makes in peace, and what it has made."""
        if verb not in self.references:
            out = self.fresh(verb)
            done = trial(*self.command(verb, out))
            assert done.code == 0, done.err
            self.references[verb] = done.n_changes, outcome_of(out)
        return self.references[verb]

    def fresh(self, verb: str = "") -> Path:
        """Return the place for the output of a new case; for ``force`` a model lies there."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        (self.scratch / "place").mkdir(parents=True)
        out = self.scratch / "place" / "made"  # a card has the name of its folder
        if verb == "force":
            shutil.copytree(self.folder / "inputs" / "made", out)
        return out

    def copy(self) -> Path:
        """Return a copy of the inputs, to be damaged."""
        inputs = self.scratch / "inputs"
        shutil.copytree(self.folder / "inputs", inputs)
        return inputs


def make_room(folder: Path) -> Room:
    """Write the inputs; they are the same for the same version of saltlm."""
    room, inputs = Room(folder), folder / "inputs"
    if (folder / "ready").is_file():
        return room
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    write_pair(inputs, {family: train() for family, train in TRAINERS.items()})
    lines = [line.replace("\n", " ") for line in CORPUS]
    (inputs / "corpus.txt").write_text("\n".join(lines * 3) + "\n", encoding="utf-8")
    (inputs / "held.txt").write_text("\n".join(lines[6:12]) + "\n", encoding="utf-8")
    words = ["das", "haus", "der", "und", "ist", "die", "Hund", "neue"]
    rows = [
        f"{word} {' '.join(f'{len(word) * i % 7 / 3:.3f}' for i in range(6))}" for word in words
    ]
    (inputs / "v.vec").write_text("8 6\n" + "\n".join(rows) + "\n")
    (inputs / "options.yaml").write_text("seed: 3\nfasttext:\n  epochs: 2\nmatch: exact\n")
    (inputs / "adapt.yaml").write_text("lr:\n  new: 1e-3\nseed: 1\nstages: [full]\n")
    done = trial("transfer", inputs / "source", inputs / "plm", "--out", inputs / "made")
    assert done.code == 0, done.err
    (folder / "ready").touch()
    return room


# ---- kills


def kill(room: Room, verb: str, change: int) -> Verdict:
    """Kill a command before a change of a file; the same command again must end as in peace."""
    _, wanted = room.reference(verb)
    out = room.fresh(verb)
    first = trial(*room.command(verb, out), kill_at=change)
    if first.code == 0:
        return Verdict("whole")
    if first.code != -9:
        return Verdict("killed", f"ended with {first.code}: {first.error}")
    if verb == "force":
        seen = trial("explain", out, "Haus")
        if seen.code or not (out / "config.json").is_file():
            return Verdict("killed", f"no model under either name: {seen.error}")
    again = trial(*room.command(verb, out))
    if again.code and not (verb == "transfer" and outcome_of(out) == wanted):
        return Verdict("killed", f"the same command again: {again.code}, {again.error}")
    return Verdict("killed", _amiss(room, out, wanted, again))


def _amiss(room: Room, out: Path, wanted: dict[str, object], last: Outcome) -> str | None:
    if last.has_traceback:
        return f"traceback: {last.err[-300:]}"
    found = outcome_of(out)
    if found != wanted:
        differing = [
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        ]
        return f"other results: {sorted(differing)[:5]}"
    left = [path.name for path in out.parent.iterdir() if path != out]
    left += [path.name for path in room.scratch.rglob("*partial*")]
    return f"left behind: {left}" if left else None


# ---- fuzz


MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
_SOURCE = ("generation_config.json", "README.md")
_RECORD = ("saltlm/manifest.json", "saltlm/provenance.safetensors")


def targets() -> dict[str, tuple[str, str]]:
    """Return name -> (file among the inputs, verb that reads it)."""
    found = {f"source {name}": (f"source/{name}", "transfer") for name in (*MODEL_FILES, *_SOURCE)}
    found |= {f"plm {name}": (f"plm/{name}", "transfer") for name in MODEL_FILES}
    found |= {f"made {name}": (f"made/{name}", "explain") for name in ("tokenizer.json", *_RECORD)}
    found |= {f"checked {name}": (f"made/{name}", "check") for name in (*MODEL_FILES, *_RECORD)}
    found |= {f"adapted {name}": (f"made/{name}", "adapt") for name in (*MODEL_FILES, *_RECORD)}
    found |= {"text corpus": ("corpus.txt", "inspect"), "options": ("options.yaml", "options")}
    found |= {"options of adapt": ("adapt.yaml", "adapt options"), "vectors": ("v.vec", "vectors")}
    return found


def fuzz(room: Room, target: str, chance: random.Random) -> Verdict:
    """Damage one file that a command reads: it refuses by name or ends well, in time and room."""
    out = room.fresh()
    name, verb = targets()[target]
    inputs = room.copy()
    damage(inputs / name, chance)
    done = trial(*_reader(room, verb, out, inputs, inputs / name), memory=GIB, seconds=_SLOW)
    return judged(done)


def _reader(room: Room, verb: str, out: Path, inputs: Path, file: Path) -> list[Any]:
    transfer = room.command("transfer", out, inputs)
    if verb == "options":
        return [*transfer, "--config", file]
    if verb == "adapt options":
        return [*room.command("adapt", out, inputs), "--config", file]
    if verb == "vectors":
        return [*transfer, "--aux", f"vectors:{file}", "--set", "min_shared=1"]
    if verb == "inspect":
        return ["inspect", inputs / "source", inputs / "plm", "--corpus", file]
    if verb == "explain":
        return ["explain", inputs / "made", "Haus", "#7"]
    if verb == "check":
        return ["check", inputs / "made"]
    return room.command(verb, out, inputs)


def judged(done: Outcome) -> Verdict:
    """Say what became of a command whose inputs were damaged."""
    kind = "accepted" if done.code == 0 else "refused"
    if done.is_hung:
        return Verdict("hung", f"no end after {done.seconds:.0f} s")
    if done.has_traceback:
        return Verdict(kind, f"traceback: {done.error or done.err[-300:]}")
    if done.code not in (0, 1, 2):
        return Verdict("died", f"ended with {done.code}: {done.err[-200:]}")
    is_told = "outcome" in done.out or "\nhint: " in done.err or "Usage" in done.err
    if done.code and not is_told:
        return Verdict(kind, f"no next command: {done.err[-300:]}")
    return Verdict(kind)


def fuzz_kept(room: Room, target: str, chance: random.Random) -> Verdict:
    """Damage what a run keeps for the next (checkpoint, packed text, results), and go on."""
    verb, pattern = KEPT[target]
    kept = room.folder / f"kept-{verb}"
    if not kept.is_dir():
        _keep(room, verb, kept)
    _, wanted = room.reference(verb)
    shutil.rmtree(room.scratch)
    shutil.copytree(kept, room.scratch)
    out = room.scratch / "place" / "made"
    files = sorted(path for path in room.scratch.glob(pattern) if path.is_file())
    file = chance.choice(files)
    damage(file, chance)
    done = trial(*room.command(verb, out), memory=GIB, seconds=_SLOW)
    verdict = judged(done)
    if done.code or verdict.fault:
        return verdict
    found = outcome_of(out)
    models = [name for name in wanted if name.endswith(".safetensors") and "saltlm/" not in name]
    if any(found.get(name) != wanted[name] for name in models):
        return Verdict("accepted", f"another model after damage to {file.name}")
    return verdict


def _keep(room: Room, verb: str, kept: Path) -> None:
    """Run a command, and keep all that it left; of ``adapt`` when it was killed half-way."""
    n, _ = room.reference(verb)
    for last in range(n // 2, n) if verb == "adapt" else (None,):
        out = room.fresh()
        trial(*room.command(verb, out), kill_at=last)
        if verb != "adapt" or any(out.glob("saltlm/checkpoints/step-*/state.json")):
            break
    shutil.copytree(room.scratch, kept)


KEPT = {
    "checkpoint": ("adapt", "place/made/saltlm/checkpoints/*/*"),
    "run": ("adapt", "place/made/saltlm/*.json*"),
    "packed text": ("adapt", "cache/*/*"),
    "evaluation": ("evaluate", "place/made/**/*.json"),
    "comparison": ("compare", "place/made/*.json"),
}


# ---- inputs changed between runs


def change(room: Room, verb: str, name: str, chance: random.Random) -> Verdict:
    """Change an input after a run: the same command must not take it for the old one."""
    out = room.fresh()
    inputs = room.copy()
    first = trial(*room.command(verb, out, inputs))
    assert first.code == 0, first.err
    before = outcome_of(out)
    _nudge(inputs / name, chance)
    again = trial(*room.command(verb, out, inputs))
    verdict = judged(again)
    if verdict.fault is None and again.code == 0:
        is_anew = verb == "evaluate" and len(outcome_of(out)) > len(before)
        return (
            Verdict("measured anew")
            if is_anew
            else Verdict("taken", f"{name} was changed, and taken")
        )
    return verdict


def _nudge(file: Path, chance: random.Random) -> None:
    """Change what a file means, and leave it whole."""
    if file.suffix == ".safetensors":
        data = bytearray(file.read_bytes())
        data[-1 - 4 * chance.randrange(200)] ^= 1  # the sign or exponent of a number is left alone
        data[-3 - 4 * chance.randrange(200)] ^= 1 << chance.randrange(7)
        file.write_bytes(bytes(data))
    elif file.suffix == ".json":
        data = json.loads(file.read_text())
        data[f"changed_{chance.randrange(10**6)}"] = 1
        file.write_text(json.dumps(data))
    else:
        lines = file.read_text(encoding="utf-8").splitlines()
        lines[chance.randrange(len(lines))] += f" neu{chance.randrange(10**6)}"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


CHANGED = [
    *(("adapt", f"made/{name}") for name in ("model.safetensors", "config.json", "tokenizer.json")),
    *(("adapt", name) for name in ("made/saltlm/provenance.safetensors", "corpus.txt")),
    *(("compare", f"{side}/model.safetensors") for side in ("source", "plm")),
    *(("compare", f"{side}/config.json") for side in ("source", "plm")),
    *(("compare", name) for name in ("corpus.txt", "held.txt")),
    *(("evaluate", name) for name in ("made/model.safetensors", "held.txt")),
]


# ---- too little disk or memory, two writers


def short_of(room: Room, verb: str, what: str, chance: random.Random) -> Verdict:
    """Give a command too little of something; the same command with enough ends as in peace."""
    _, wanted = room.reference(verb)
    out = room.fresh(verb)
    limits: dict[str, Any] = (
        {"file_size": chance.choice((8_000, 20_000, 50_000, 120_000, 200_000))}
        if what == "disk"
        else {"memory": chance.randrange(0, 400) * 2**20}
    )
    first = trial(*room.command(verb, out), **limits)
    verdict = judged(first)
    if verdict.fault and not (what == "memory" and first.code in (-6, -9, -11)):
        return verdict  # a library in Rust or C ends the process when it gets no memory
    if verb in ("transfer", "force") and first.code:
        left = [path.name for path in out.parent.iterdir() if path != out]
        if left and first.code > 0:
            return Verdict(verdict.kind, f"left behind: {left}")
    if first.code == 0 and verb in ("transfer",):
        return Verdict("whole", _amiss(room, out, wanted, first))
    again = trial(*room.command(verb, out))
    if again.code:
        return Verdict(verdict.kind, f"with enough of it: {again.error}")
    return Verdict(verdict.kind, _amiss(room, out, wanted, again))


def every_kill(room: Room, verbs: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield each change of a file at which each verb can be killed."""
    for verb in verbs:
        n, _ = room.reference(verb)
        yield from ((verb, change) for change in range(1, n + 1))


def two_writers(room: Room, verb: str, chance: random.Random) -> Verdict:
    """Start a command twice into one place: one of them ends as in peace, or both do."""
    _, wanted = room.reference(verb)
    out = room.fresh(verb)
    arguments = [str(part) for part in room.command(verb, out)]
    folders = [room.scratch / name for name in ("first", "second")]
    children = []
    for folder in folders:
        folder.mkdir()
        places = [folder / name for name in ("out", "err", "changes")]
        children.append((start(arguments, places), places))
        time.sleep(chance.random() * 0.6)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
    errors = [places[1].read_text(encoding="utf-8", errors="replace") for _, places in children]
    for folder in folders:
        shutil.rmtree(folder)
    ends = [
        Outcome(code, 0, "", error, 0, False) for code, error in zip(codes, errors, strict=True)
    ]
    for end in ends:
        if (found := judged(end)).fault:
            return found
    if 0 not in codes:
        return Verdict("neither", f"both refused: {[end.error for end in ends]}")
    return Verdict("one" if 1 in codes else "both", _amiss(room, out, wanted, ends[0]))


def elsewhere(room: Room, verb: str, chance: random.Random) -> Verdict:
    """Run a command in a process of its own, with other threads and another hash seed."""
    _, wanted = room.reference(verb)
    out = room.fresh(verb)
    environment = {"PYTHONHASHSEED": str(chance.randrange(1, 10**6))}
    threads = chance.choice((1, 2, 4)) if verb == "transfer" else 1
    environment |= {"OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "saltlm", *(str(part) for part in room.command(verb, out))]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    end = Outcome(done.returncode, 0, done.stdout, done.stderr, 0, False)
    if end.code:
        return Verdict("refused", end.error)
    return Verdict("whole", _amiss(room, out, wanted, end))
