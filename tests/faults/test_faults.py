"""The quick part of the harness: a few kills and damages of each kind, in children that are forked.

The long one, with the same functions, is ``benchmarks/faults.py``.
"""

import errno
import json
import os
import random

import pytest

from faults import campaigns
from faults.campaigns import GIB, KEPT, Verdict, every_kill, fuzz, judged, kill, targets
from faults.mutations import STRANGE, damage, damage_bytes, damage_json
from faults.room import VERBS, Room, make_room
from faults.trials import Outcome, lasting, outcome_of, preload, trial


@pytest.fixture(scope="module")
def room(tmp_path_factory, _few_english):
    preload()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saltlm.alignment.align.OWN_ENGLISH", _few_english)  # as in every test
        room = make_room(tmp_path_factory.mktemp("room"))
        # What a transfer in peace makes is there already; how many changes it takes is not asked.
        made = outcome_of(room.folder / "inputs" / "made")
        room.references.update({"transfer": (0, made), "force": (0, made)})
        yield room


def test_a_killed_transfer_that_replaces_a_model_loses_nothing(room):
    assert kill(room, "force", 20) == Verdict("killed")


@pytest.mark.parametrize("target", ["source tokenizer.json", "options of transfer"])
def test_damage_is_refused_by_name_or_harmless(room, target):
    found = fuzz(room, target, random.Random(5))
    assert found.fault is None
    assert found.kind in ("accepted", "refused")


def test_too_small_a_disk_is_told_and_nothing_is_left(room):
    out = room.fresh()
    short = trial(*room.command("transfer", out), file_size=20_000)
    assert short.code == 1
    assert "File too large" in short.err
    assert "hint: free some space" in short.err
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_breaks_is_told(room, number):
    out = room.fresh()
    broken = trial(*room.command("transfer", out), broken=(6, number))
    assert broken.code == 1
    assert os.strerror(number) in broken.err
    assert "hint: free some space" in broken.err
    assert not out.exists()


def test_a_fault_is_seen():
    told = "error: what\nhint: do this\n"
    assert judged(Outcome(1, 0, "", told, 0, False)) == Verdict("refused")
    assert judged(Outcome(0, 0, "", "", 0, False)) == Verdict("accepted")
    assert "no next command" in judged(Outcome(1, 0, "", "error: what\n", 0, False)).fault
    assert (
        "this should not"
        in judged(Outcome(1, 0, "", "error: x\nhint: this should not happen", 0, False)).fault
    )
    assert "traceback" in judged(Outcome(1, 0, "", "Traceback (most recent", 0, False)).fault
    assert judged(Outcome(-11, 0, "", "", 0, False)).kind == "died"
    assert judged(Outcome(-9, 0, "", "", 0, True)).kind == "hung"


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_seeded_and_is_damage(seed, tmp_path):
    value = {"a": [1, {"b": None}], "c": "text"}
    once, twice = (damage_json(value, random.Random(seed)) for _ in range(2))
    assert json.dumps(once) == json.dumps(twice)
    assert value == {"a": [1, {"b": None}], "c": "text"}
    data = b"some bytes " * 50
    assert damage_bytes(data, random.Random(seed)) == damage_bytes(data, random.Random(seed))
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert damage(tmp_path / "a.json", random.Random(seed)) in ("structure", "bytes")
    assert len(STRANGE) > 20


def test_what_two_runs_share_is_without_times(tmp_path):
    assert lasting({"seconds": 1, "loss": [{"tokens_per_second": 3, "n": 2}]}) == {
        "loss": [{"n": 2}]
    }
    assert lasting({"metric": "bytes per second", "places": [1]}) == {"metric": "bytes per second"}
    (tmp_path / "a.json").write_text('{"seconds": 3, "x": 1}')
    (tmp_path / "b.bin").write_bytes(b"1")
    (tmp_path / "c.jsonl").write_bytes(b"\xe6{")
    assert outcome_of(tmp_path) == {"a.json": {"x": 1}, "b.bin": b"1", "c.jsonl": b"\xe6{"}


def test_every_change_of_every_verb_is_a_kill_once_the_verbs_in_turn(tmp_path):
    room = Room(tmp_path, {"transfer": (2, {}), "adapt": (4, {})})
    kills = list(every_kill(room, ["transfer", "adapt"]))
    assert sorted(kills) == [("adapt", i) for i in (1, 2, 3, 4)] + [("transfer", i) for i in (1, 2)]
    assert [verb for verb, _ in kills[:4]] == ["transfer", "adapt"] * 2


def test_the_names_of_the_cases_are_of_files_that_are_there(room):
    later = {"source.gguf", "subwords.bin"}
    for name in {name for name, _ in targets().values()} - later:
        assert (room.inputs / name.replace("adapted/", "made/")).is_file(), name
    assert {verb for verb, _ in KEPT.values()} <= {*VERBS}
    for verb, name in campaigns.CHANGED:
        assert (room.inputs / name).is_file()
        assert room.command(verb, room.folder)[0] == verb
    assert GIB == 2**30
