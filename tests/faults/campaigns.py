"""What is done to saltlm, case by case, and what would be a fault of it.

A case is a name; it and the seed decide all that happens in it. A fault is: a traceback, a hang, a
death that was not asked for, an error without its next command, something lost or left behind, or a
result that is not that of a run in peace.
"""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.mutations import damage
from faults.room import Room
from faults.trials import WITH_TIMES, Outcome, outcome_of, start, trial

GIB = 2**30
_ONCE = ("transfer", "merge")  # refuse to make again what is there
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
    _age(room)
    again = trial(*room.command(verb, out))
    if again.code and not (verb in _ONCE and outcome_of(out) == wanted):
        return Verdict("killed", f"the same command again: {again.code}, {again.error}")
    return Verdict("killed", _amiss(room, out, wanted, again))


def _age(room: Room) -> None:
    """Let a minute go by, for which what has no lock yet is left alone."""
    for path in room.scratch.rglob(".*saltlm-partial*"):
        os.utime(path, (0, 0))


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
    left += [path.name for path in room.scratch.rglob("*partial*") if path.name not in WITH_TIMES]
    return f"left behind: {left}" if left else None


# ---- fuzz


MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
_SOURCE = ("generation_config.json", "README.md")
_RECORD = ("saltlm/manifest.json", "saltlm/provenance.safetensors")


def targets() -> dict[str, tuple[str, str]]:
    """Return name -> (file among the inputs, what reads it)."""
    found = {f"source {name}": (f"source/{name}", "transfer") for name in (*MODEL_FILES, *_SOURCE)}
    found |= {f"plm {name}": (f"plm/{name}", "transfer") for name in MODEL_FILES}
    found |= {f"made {name}": (f"made/{name}", "explain") for name in ("tokenizer.json", *_RECORD)}
    found |= {f"checked {name}": (f"made/{name}", "check") for name in (*MODEL_FILES, *_RECORD)}
    found |= {f"adapted {name}": (f"made/{name}", "adapt") for name in (*MODEL_FILES, *_RECORD)}
    found |= {f"base {name}": (f"source/{name}", "merge") for name in MODEL_FILES}
    found |= {f"merged {name}": (f"adapted/{name}", "merge") for name in (*MODEL_FILES, *_RECORD)}
    found |= {f"continued {name}": (f"source/{name}", "continue") for name in MODEL_FILES[1:3]}
    found |= {f"text {name}": (name, "inspect") for name in ("corpus.txt", "corpus.jsonl")}
    found |= {"text corpus.csv": ("corpus.csv", "pretrain"), "pairs": ("pairs.tsv", "pairs")}
    found |= {"learned": ("corpus.txt", "pretrain"), "gguf": ("source.gguf", "gguf")}
    found |= {f"options of {verb}": (f"{verb}.yaml", f"{verb} options") for verb in _WITH_OPTIONS}
    found |= {"vectors": ("v.vec", "vectors"), "converted": ("v.vec", "convert")}
    found |= {f"converted {name}": (name, "convert") for name in ("v.bin", "subwords.bin")}
    return found


_WITH_OPTIONS = ("transfer", "adapt", "pretrain", "recipe")


def fuzz(room: Room, target: str, chance: random.Random) -> Verdict:
    """Damage one file that a command reads: it refuses by name or ends well, in time and room."""
    out = room.fresh()
    name, verb = targets()[target]
    inputs = room.copy()
    damage(inputs / name, chance)
    done = trial(*_reader(room, verb, out, inputs, inputs / name), memory=GIB, seconds=_SLOW)
    return judged(done)


def _reader(room: Room, verb: str, out: Path, at: Path, file: Path) -> list[Any]:
    """Return a command that reads a file and does little more."""
    pair, transfer = [at / "source", at / "plm"], room.command("transfer", out, at)
    if verb == "recipe options":
        return [*room.command("recipe", out, at), "--plan", "--config", file]
    if verb.endswith(" options"):
        verb = verb.removesuffix(" options")
        short = [] if verb == "transfer" else ["--steps", "1"]
        return [*room.command(verb, out, at), *short, "--config", file]
    return {
        "transfer": [*transfer, "--no-report"],
        "vectors": [*transfer, "--aux", f"vectors:{file}", "--set", "min_shared=1", "--no-report"],
        "gguf": ["transfer", file, at / "plm", "--out", out, "--no-report"],
        "inspect": ["inspect", *pair, "--corpus", file],
        "explain": ["explain", at / "made", "Haus", "#7"],
        "check": ["check", at / "made"],
        "adapt": [*room.command("adapt", out, at), "--steps", "1", "--no-report"],
        "merge": ["merge", at / "source", at / "adapted", "--out", out],
        "continue": [*room.command("pretrain", out, at), "--continue-tokenizer", at / "source"],
        "pretrain": ["pretrain", "--corpus", file, "--steps", "1", "--out", out],
        "pairs": [*room.command("evaluate", out, at), "--parallel", file, "--no-report"],
        "convert": ["vectors", "convert", file, "--out", out.with_suffix(".vec")],
    }[verb]


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
    before = file.read_bytes()
    damage(file, chance)
    done = trial(*room.command(verb, out), memory=GIB, seconds=_SLOW)
    verdict = judged(done)
    if done.code or verdict.fault:
        return verdict
    found = outcome_of(out)
    models = [name for name in wanted if name.endswith(".safetensors") and "saltlm/" not in name]
    if any(found.get(name) != wanted[name] for name in models):
        return Verdict("accepted", f"another model after damage to {file.name}")
    if target == "texts of a recipe" and file.suffix == ".jsonl" and file.read_bytes() != before:
        return Verdict("accepted", f"{file.name} was damaged, and taken")
    return verdict


def _keep(room: Room, verb: str, kept: Path) -> None:
    """Run a command, and keep all that it left; of a training when it was killed half-way."""
    n, _ = room.reference(verb)
    is_training = verb in ("adapt", "pretrain")
    for last in range(n // 2, n) if is_training else (None,):
        out = room.fresh()
        trial(*room.command(verb, out), kill_at=last)
        if not is_training or any(out.glob("saltlm/checkpoints/step-*/state.json")):
            break
    shutil.copytree(room.scratch, kept)


KEPT = {
    "checkpoint": ("adapt", "place/made/saltlm/checkpoints/*/*"),
    "run": ("adapt", "place/made/saltlm/*.json*"),
    "packed text": ("adapt", "cache/*/*"),
    "evaluation": ("evaluate", "place/made/**/*.json"),
    "comparison": ("compare", "place/made/*.json"),
    "checkpoint of pretrain": ("pretrain", "place/made/saltlm/checkpoints/*/*"),
    "start of pretrain": ("pretrain", "place/made/saltlm/start/*"),
    "steps of a recipe": ("recipe", "place/made/steps/*.json"),
    "texts of a recipe": ("recipe", "place/made/corpus/*"),
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
        found = outcome_of(out)
        is_anew = verb == "evaluate" and len(found) > len(before)
        is_anew |= verb == "recipe" and found["steps/adapt.json"] != before["steps/adapt.json"]
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
        first = 2 if file.name == "held.txt" else len(lines)  # no more of it is measured
        lines[chance.randrange(first)] += f" neu{chance.randrange(10**6)}"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


CHANGED = [
    *(("adapt", f"made/{name}") for name in ("model.safetensors", "config.json", "tokenizer.json")),
    *(("adapt", name) for name in ("made/saltlm/provenance.safetensors", "corpus.txt")),
    *(("compare", f"{side}/model.safetensors") for side in ("source", "plm")),
    *(("compare", f"{side}/config.json") for side in ("source", "plm")),
    *(("compare", name) for name in ("corpus.txt", "held.txt")),
    *(("evaluate", name) for name in ("made/model.safetensors", "held.txt")),
    *(("pretrain", name) for name in ("corpus.txt", "held.txt")),
    *(("recipe", name) for name in ("long.txt", "source/model.safetensors")),
]


# ---- too little disk or memory, two writers


def short_of(room: Room, verb: str, what: str, chance: random.Random) -> Verdict:
    """Give a command too little of something; the same command with enough ends as in peace."""
    n, wanted = room.reference(verb)
    out = room.fresh(verb)
    limits: dict[str, Any] = {"memory": chance.randrange(0, 400) * 2**20}
    if what == "disk":
        number = chance.choice((errno.ENOSPC, errno.EROFS))
        sizes = (8_000, 20_000, 50_000, 120_000, 200_000)
        limits = {"file_size": chance.choice(sizes)}
        if chance.random() < 0.6:
            limits = {"broken": (chance.randrange(1, n + 1), number)}
    first = trial(*room.command(verb, out), **limits)
    verdict = judged(first)
    if verdict.fault and not (what == "memory" and first.code in (-6, -9, -11)):
        return verdict  # a library in Rust or C ends the process when it gets no memory
    if verb in ("transfer", "force") and first.code:
        left = [path.name for path in out.parent.iterdir() if path != out]
        is_removable = limits.get("broken", (0, 0))[1] != errno.EROFS
        if left and first.code > 0 and is_removable:
            return Verdict(verdict.kind, f"left behind: {left}")
    is_stuck = limits.get("broken", (0, 0))[1] == errno.EROFS  # then nothing can be removed
    if first.code == 0 and not is_stuck:
        return Verdict("whole", _amiss(room, out, wanted, first))
    _age(room)
    again = trial(*room.command(verb, out))
    if again.code and not (verb in _ONCE and outcome_of(out) == wanted):
        return Verdict(verdict.kind, f"with enough of it: {again.error}")
    return Verdict(verdict.kind, _amiss(room, out, wanted, again))


def every_kill(room: Room, verbs: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each change of a file at which each verb can be killed, the verbs in turn."""
    left = {verb: list(range(1, room.reference(verb)[0] + 1)) for verb in verbs}
    for changes in left.values():
        random.Random(0).shuffle(changes)
    while left:
        for verb in list(left):
            yield verb, left[verb].pop()
            if not left[verb]:
                del left[verb]


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
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "faults.trials", room.folder, *room.command(verb, out)]
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    end = Outcome(done.returncode, 0, done.stdout, done.stderr, 0, False)
    if end.code:
        return Verdict("refused", end.error)
    return Verdict("whole", _amiss(room, out, wanted, end))
