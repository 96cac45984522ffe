"""Inputs of all cases, made once, and the command lines that read them."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import CORPUS, TRAINERS
from faults.trials import Outcome, outcome_of, trial
from tiny_pairs import write_pair

SHORT = ("sequence_length=16", "batch_tokens=64", "save_every=2", "dtype=float32")
_ENGINE = (*SHORT, "micro_batch=2", "eval_every=2", "eval_documents=2")
LINES = [line.replace("\n", " ") for line in CORPUS]


def _sets(settings: tuple[str, ...], section: str = "") -> list[str]:
    return [part for setting in settings for part in ("--set", section + setting)]


@dataclass(frozen=True)
class Room:
    """Inputs of all cases, and a scratch folder for one case at a time.

    Attributes:
        folder: where they are.
        references: how many changes of files each verb makes in peace, and what it has made.
    """

    folder: Path
    references: dict[str, tuple[int, dict[str, object]]] = field(default_factory=dict)

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def command(self, verb: str, out: Path, inputs: Path | None = None) -> list[Any]:
        """Return a command line that writes into `out`."""
        return _COMMANDS[verb](inputs or self.inputs, out, f"cache={self.scratch / 'cache'}")

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
        for name in ("place", "tmp"):
            (self.scratch / name).mkdir(parents=True)
        out = self.scratch / "place" / "made"  # a card has the name of its folder
        if verb == "force":
            shutil.copytree(self.inputs / "made", out)
        return out

    def copy(self) -> Path:
        """Return a copy of the inputs, to be damaged."""
        return Path(shutil.copytree(self.inputs, self.scratch / "inputs"))


def _transfer(at: Path, out: Path, cache: str) -> list[Any]:
    return ["transfer", at / "source", at / "plm", "--out", out]


def _adapt(at: Path, out: Path, cache: str) -> list[Any]:
    given = ["--data", at / "corpus.txt", "--heldout", at / "held.txt", "--steps", "4"]
    return ["adapt", at / "made", *given, "--out", out, *_sets((*_ENGINE, "samples=1", cache))]


def _pretrain(at: Path, out: Path, cache: str) -> list[Any]:
    given = ["--corpus", at / "corpus.txt", "--heldout", at / "held.txt", "--arch", "gpt"]
    return ["pretrain", *given, "--steps", "4", "--out", out, *_sets((*_ENGINE, cache))]


def _merge(at: Path, out: Path, cache: str) -> list[Any]:
    texts = ["--heldout", at / "held.txt", "--english", at / "english.txt", "--documents", "1"]
    return ["merge", at / "source", at / "adapted", "--out", out, "--select", *texts]


def _compare(at: Path, out: Path, cache: str) -> list[Any]:
    texts = ["--corpus", at / "corpus.txt", "--heldout", at / "held.txt", "--documents", "3"]
    return ["compare", at / "source", at / "plm", "--methods", "fvt,mean", *texts, "--out", out]


def _evaluate(at: Path, out: Path, cache: str) -> list[Any]:
    texts = ["--heldout", at / "held.txt", "--limit", "2"]
    return ["evaluate", at / "made", *texts, "--out", out]


def _recipe(at: Path, out: Path, cache: str) -> list[Any]:
    given = ["recipe", "german", "--corpus", at / "long.txt", "--source", at / "source"]
    sets = _sets(("heldout_documents=3", "transfer.method=mean", "pretrain.steps=2"))
    sets += [*_sets((*SHORT, cache), "pretrain."), *_sets((*SHORT, cache), "adapt.")]
    return [*given, "--arch", "gpt", "--budget", "200", "--out", out, *sets]


_COMMANDS: dict[str, Callable[[Path, Path, str], list[Any]]] = {
    "transfer": _transfer,
    "force": lambda *given: [*_transfer(*given), "--force"],
    "adapt": _adapt,
    "compare": _compare,
    "evaluate": _evaluate,
    "check": lambda at, *_: ["check", at / "made"],
    "merge": _merge,
    "pretrain": _pretrain,
    "recipe": _recipe,
}
VERBS = tuple(_COMMANDS)


def make_room(folder: Path) -> Room:
    """Write the inputs; they are the same for the same version of saltlm."""
    room = Room(folder)
    if not (folder / "ready").is_file():
        shutil.rmtree(room.inputs, ignore_errors=True)
        room.inputs.mkdir(parents=True)
        write_pair(room.inputs, {family: train() for family, train in TRAINERS.items()})
        _write_texts(room.inputs)
        _done(
            "transfer", room.inputs / "source", room.inputs / "plm", "--out", room.inputs / "made"
        )
        (folder / "ready").touch()
    return room


def make_more(room: Room) -> Room:
    """Write what only the long campaigns read: an adapted model, a GGUF file."""
    at = room.inputs
    if not (room.folder / "more").is_file():
        _done(*room.command("adapt", at / "adapted"), "--no-report")
        shutil.rmtree(at / "adapted" / "saltlm" / "checkpoints", ignore_errors=True)
        _done("export", "gguf", at / "source", "--out", at / "source.gguf")
        corpus = ["--corpus", at / "corpus.txt", "--set", "dimension=4", "--set", "epochs=1"]
        _done("vectors", "train", *corpus, "--out", at / "subwords.bin")
        (room.folder / "more").touch()
    return room


def _done(*command: object) -> Outcome:
    done = trial(*command)
    assert done.code == 0, done.err
    return done


def _write_texts(at: Path) -> None:
    words = ["das", "haus", "der", "und", "ist", "die", "Hund", "neue"]
    numbers = [[len(word) * i % 7 / 3 for i in range(6)] for word in words]
    rows = [
        f"{word} {' '.join(f'{x:.3f}' for x in row)}"
        for word, row in zip(words, numbers, strict=True)
    ]
    draw = random.Random(0)
    known = sorted({word for line in LINES[6:12] for word in line.split()})
    long = [" ".join(draw.choices(known, k=14)) for _ in range(60)]
    texts = {
        "corpus.txt": "\n".join(LINES * 3),
        "long.txt": "\n".join(long),
        "held.txt": "\n".join(LINES[6:12]),
        "english.txt": "\n".join(LINES[:6]),
        "corpus.jsonl": "\n".join(json.dumps({"text": line, "id": 3}) for line in LINES),
        "corpus.csv": "id,text\n"
        + "\n".join(f'{i},"{line}"' for i, line in enumerate(LINES[6:12])),
        "pairs.tsv": "\n".join(f"{LINES[i]}\t{LINES[i + 6]}" for i in range(6)),
        "v.vec": "\n".join(["8 6", *rows]),
        "transfer.yaml": "seed: 3\nfasttext:\n  epochs: 2\nmatch: exact",
        "adapt.yaml": "lr:\n  new: 1e-3\nseed: 1\nstages: [full]",
        "pretrain.yaml": "arch: gpt\nvocab_size: 500\nsteps: 1\nseed: 2",
        "recipe.yaml": "language: german\nheldout_documents: 3\nadapt:\n  seed: 1\nbudget: 200",
    }
    for name, text in texts.items():
        (at / name).write_text(text + "\n", encoding="utf-8")
    binary = [
        f"{word} ".encode() + struct.pack("<6f", *row)
        for word, row in zip(words, numbers, strict=True)
    ]
    (at / "v.bin").write_bytes(b"8 6\n" + b"".join(binary))
