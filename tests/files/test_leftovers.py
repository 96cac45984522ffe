"""What a process that died has left is known, removed or named; what a live one holds is not."""

import fcntl
import os
import shutil
from contextlib import suppress

import pytest

from saltlm.comparison.store import is_made
from saltlm.errors import CheckpointError, OutputError
from saltlm.evaluation.results import read_result
from saltlm.files import leftovers, locks
from saltlm.files.atomic import check_place, new_directory
from saltlm.files.leftovers import LOCK, aside, left_in, temporary
from saltlm.files.locks import is_held, take
from saltlm.models.hub import resolve_model
from saltlm.recipes.steps import _read as read_step


def dead(folder, name, owner="1 of-another-boot"):
    (folder / name).mkdir()
    (folder / name / LOCK).write_text(owner)
    (folder / name / "half").write_text("x" * 1000)
    return folder / name


def test_a_folder_aside_is_held_and_goes_away(tmp_path):
    with aside(tmp_path) as folder:
        (folder / "text").write_text("whole")
        assert left_in(tmp_path) == []
        with aside(tmp_path):
            assert len(list(tmp_path.iterdir())) == 2
        folder.rename(tmp_path / "done")
    assert [path.name for path in tmp_path.rglob("*")] == ["done", "text"]


def test_what_nobody_goes_on_with_is_removed(tmp_path, caplog):
    caplog.set_level("INFO")
    left = dead(tmp_path, ".saltlm-partial-abc")
    with aside(tmp_path):
        assert not left.exists()
    assert f"{left} is removed: a run that was killed had left it" in caplog.text


@pytest.mark.parametrize("read", [read_result, is_made, read_step])
def test_who_reads_what_a_run_has_kept_removes_what_died_beside_it(read, tmp_path):
    left = dead(tmp_path, ".saltlm-partial-abc")
    with suppress(CheckpointError):  # only the folder matters here
        read(tmp_path / "kept.json")
    assert not left.exists()


def test_a_folder_whose_lock_cannot_be_made_goes_away(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "take", lambda _: {}["full"])
    with pytest.raises(KeyError), aside(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_died_among_temporary_files_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers.tempfile, "tempdir", str(tmp_path))
    left = dead(tmp_path, ".saltlm-partial-abc")
    with temporary() as folder:
        assert folder.is_relative_to(tmp_path)
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_a_model_removes_what_died_there_and_names_the_rest(tmp_path, caplog):
    nameless = dead(tmp_path, ".saltlm-partial-abc")
    named = dead(tmp_path, ".other.saltlm-partial")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saltlm").mkdir()
    within = dead(tmp_path / "model", ".saltlm-partial-def")
    deeper = dead(tmp_path / "model" / "saltlm", ".saltlm-partial-ghi")
    assert resolve_model(str(tmp_path / "model")) == tmp_path / "model"
    assert not nameless.exists()
    assert not within.exists()
    assert not deeper.exists()
    assert named.exists()
    assert f"has left {named}" in caplog.text


def test_what_a_run_had_finished_with_is_removed(tmp_path):
    done, begun = dead(tmp_path, ".done.saltlm-partial"), dead(tmp_path, ".begun.saltlm-partial")
    (begun / leftovers.FRESH).mkdir()
    for name in ("done", "begun"):
        (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="done exists"):
        check_place(tmp_path / "done", force=False)
    assert (done.exists(), begun.exists()) == (False, True)


def test_what_cannot_be_removed_is_not_said_to_be(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(leftovers.shutil, "rmtree", lambda *_, **__: None)
    dead(tmp_path, ".saltlm-partial-abc")
    leftovers.remove_dead(tmp_path)
    assert caplog.text == ""


def test_what_the_same_command_goes_on_with_is_named(tmp_path, caplog):
    left = dead(tmp_path, ".other.saltlm-partial")
    for name in ("out", "again"):
        with new_directory(tmp_path / name, force=False, expected_bytes=0):
            pass
    assert left.exists()
    said = f"has left {left} (0.0 MB): the same command takes it over"
    assert caplog.text.count(said) == 1


def test_one_without_a_lock_is_left_alone_for_a_minute(tmp_path):
    young = tmp_path / ".saltlm-partial-young"
    young.mkdir()
    assert left_in(tmp_path) == []
    (young / LOCK).touch()  # just being taken
    assert left_in(tmp_path) == []
    os.utime(young, (0, 0))
    assert left_in(tmp_path) == [young]


def test_a_lock_says_whose_it_is(tmp_path):
    lock = take(tmp_path / LOCK)
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()} {locks._boot()} {os.uname().nodename}\n"
    assert is_held(tmp_path / LOCK)
    with pytest.raises(BlockingIOError):
        take(tmp_path / LOCK)
    os.close(lock)
    assert not is_held(tmp_path / LOCK)
    assert not is_held(tmp_path / "no")


def test_who_only_looks_keeps_nobody_from_a_lock(tmp_path, monkeypatch):
    looking = take(tmp_path / LOCK)
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.close(looking))
    os.close(take(tmp_path / LOCK))


def test_a_lock_that_cannot_say_whose_it_is_is_let_go(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            take(tmp_path / LOCK)
    assert not is_held(tmp_path / LOCK)


@pytest.mark.parametrize(
    ("owner", "held"),
    [
        ("{pid} {boot}", True),
        ("{pid} {boot} {machine}", True),
        ("{pid} another", False),
        ("{pid} another {machine}", False),
        ("{pid} another elsewhere", True),  # nobody knows
        ("99999999 {boot}", False),
        ("x", False),
    ],
)
def test_without_locks_the_pid_and_the_boot_tell(tmp_path, monkeypatch, owner, held):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / LOCK).write_text(
        owner.format(pid=os.getpid(), boot=locks._boot(), machine=os.uname().nodename)
    )
    assert is_held(tmp_path / LOCK) == held


def test_what_vanishes_meanwhile_is_not_counted(tmp_path, monkeypatch):
    left = dead(tmp_path, "a")
    assert leftovers.size_of(left) == 1000 + len("1 of-another-boot")
    shutil.rmtree(left)
    assert leftovers.size_of(left) == 0
