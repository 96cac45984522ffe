"""Outputs appear whole or not at all."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import saltlm.files.atomic
import saltlm.files.locks
from saltlm.errors import OutputError
from saltlm.files.atomic import left_by_killed_run, new_directory, put_back, replace_text
from saltlm.models.hub import resolve_model


def listing(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() if path.is_file() else "/"
        for path in sorted(directory.rglob("*"))
    }


def make(
    out: Path,
    *,
    force: bool = False,
    size: int = 0,
    files: dict[str, str] | None = None,
    failure: BaseException | None = None,
) -> None:
    """Writes a new directory and, if told so, fails at the end."""
    with new_directory(out, force=force, expected_bytes=size) as fresh:
        for name, text in (files or {}).items():
            (fresh / name).write_text(text)
        if failure is not None:
            raise failure


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A model directory that is already there."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("old")
    return tmp_path / "out"


def test_a_text_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        replace_text(tmp_path / "a.json", "{}")
    assert list(tmp_path.iterdir()) == []


def full_disk(path, *_, **__):
    path.touch()
    raise OSError(28, "No space left on device")


def test_the_directory_appears_complete_at_the_end(tmp_path):
    out = tmp_path / "out"
    with new_directory(out, force=False, expected_bytes=10) as fresh:
        assert fresh.parent.parent == tmp_path
        (fresh / "sub").mkdir()
        (fresh / "sub" / "a").write_text("text")
        assert not out.exists()
    assert listing(tmp_path) == {"out": "/", "out/sub": "/", "out/sub/a": "text"}


def test_force_replaces_a_model_directory(old):
    with new_directory(old, force=True, expected_bytes=0) as fresh:
        (fresh / "config.json").write_text("new")
        assert listing(old) == {"config.json": "old"}
    assert listing(old.parent) == {"out": "/", "out/config.json": "new"}


@pytest.mark.parametrize("failure", [ValueError("in the body"), KeyboardInterrupt()])
def test_a_failure_leaves_everything_as_it_was(old, failure):
    before = listing(old.parent)
    with pytest.raises(type(failure)):
        make(old, force=True, files={"config.json": "new"}, failure=failure)
    assert listing(old.parent) == before


def test_a_failed_rename_puts_the_old_directory_back(old, monkeypatch):
    before, rename = listing(old.parent), Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if self.name == "model":
            raise OSError(errno.EIO, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(OSError, match="no"):
        make(old, force=True)
    assert listing(old.parent) == before


def test_an_existing_directory_needs_force(old):
    with pytest.raises(OutputError, match="out exists") as caught:
        make(old)
    assert "--force" in caught.value.hint
    assert listing(old.parent) == {"out": "/", "out/config.json": "old"}


@pytest.mark.parametrize("kind", ["file", "other directory"])
def test_force_replaces_nothing_but_models(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(OutputError, match="is not a model directory, so --force"):
        make(out, force=True)
    assert listing(tmp_path) == before


def test_a_directory_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    out, sync = tmp_path / "out", saltlm.files.atomic.sync

    def sync_while_another_writes(fresh: Path) -> None:
        sync(fresh)
        out.mkdir()
        (out / "theirs").write_text("theirs")

    monkeypatch.setattr(saltlm.files.atomic, "sync", sync_while_another_writes)
    with pytest.raises(OutputError, match="was made by someone else meanwhile"):
        make(out)
    assert listing(tmp_path) == {"out": "/", "out/theirs": "theirs"}


def test_the_parent_must_exist(tmp_path):
    out = tmp_path / "no" / "out"
    with pytest.raises(OutputError, match="no is not a directory") as caught:
        make(out)
    assert caught.value.hint == f"mkdir -p {tmp_path / 'no'}"


def test_the_parent_must_be_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="is not writable"):
        make(tmp_path / "out")


def test_the_disk_must_have_room(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OutputError, match=r"has [\d.]+ GB free, but [\d.]+ GB are needed"):
        make(tmp_path / "out", size=free + 10**12)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        Exception("I/O error: No space left on device (os error 28)"),
    ],
    ids=["full", "read-only", "full, from Rust"],
)
def test_a_full_or_read_only_disk_is_said_in_one_line(tmp_path, failure):
    with pytest.raises(OutputError, match=r"cannot write .*out: .* \([\d.]+ GB free\)"):
        make(tmp_path / "out", files={"half": "half"}, failure=failure)
    assert listing(tmp_path) == {}


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(PermissionError, match="elsewhere"):
        make(tmp_path / "out", failure=PermissionError(errno.EACCES, "elsewhere"))


def test_two_runs_into_one_place_do_not_mix(tmp_path):
    out = tmp_path / "out"
    with new_directory(out, force=False, expected_bytes=0) as fresh:
        with pytest.raises(OutputError, match="is being written by another run"):
            make(out)
        (fresh / "a").write_text("first")
    assert listing(tmp_path) == {"out": "/", "out/a": "first"}


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(saltlm.files.locks.fcntl, "flock", refuse)
    make(tmp_path / "out")
    assert listing(tmp_path) == {"out": "/"}
    assert f"nothing in {tmp_path} can be locked" in caplog.text


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from saltlm.files.atomic import left_by_killed_run, new_directory
    with new_directory(Path(sys.argv[1]), force=True, expected_bytes=0) as fresh:
        (fresh / sys.argv[3]).write_text("half")
        if sys.argv[2] == "between the renames":
            Path.rename = lambda self, target, rename=Path.rename: (
                rename(self, target), os.kill(os.getpid(), signal.SIGKILL))
        else:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["in the body", "between the renames"])
def test_a_killed_run_leaves_a_hidden_sibling_that_the_next_one_removes(old, moment):
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(old), moment, "config.json"]
    assert subprocess.run(script).returncode == -signal.SIGKILL
    assert {path.name for path in old.parent.iterdir()} - {"out"} == {".out.saltlm-partial"}
    assert old.exists() == (moment == "in the body")
    with pytest.raises(OutputError, match="exists"):
        make(old)
    assert listing(old.parent) == {"out": "/", "out/config.json": "old"}


def test_a_run_killed_after_its_last_rename_is_no_obstacle(old):
    """The new model is under its name then, and the one that it replaced still hidden."""
    hidden = old.parent / ".out.saltlm-partial"
    shutil.copytree(old, hidden / "previous")
    (hidden / "previous" / "config.json").write_text("replaced")
    with new_directory(old, force=True, expected_bytes=0) as fresh:
        (fresh / "config.json").write_text("new")
    assert listing(old.parent) == {"out": "/", "out/config.json": "new"}


def test_the_next_command_of_any_kind_puts_an_old_model_back(old, caplog):
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(old), "between the renames", "a"]
    assert subprocess.run(script).returncode == -signal.SIGKILL
    assert not old.exists()
    assert resolve_model(str(old)) == old
    assert (old / "config.json").read_text() == "old"
    assert f"{old} is put back: a run that was to replace it was killed" in caplog.text
    with new_directory(old, force=True, expected_bytes=0) as fresh:
        (fresh / "config.json").write_text("new")
    assert listing(old.parent) == {"out": "/", "out/config.json": "new"}


def test_a_run_between_its_renames_is_left_alone(old):
    with new_directory(old, force=True, expected_bytes=0) as fresh:
        previous = fresh.parent / "previous"
        old.rename(previous)
        put_back(old)
        assert not old.exists()
        previous.rename(old)


def test_weights_of_killed_runs_are_set_aside_and_their_room_is_counted(tmp_path, monkeypatch):
    out = tmp_path / "out"
    for name in ("a.safetensors", "b.safetensors"):
        script = [sys.executable, "-c", textwrap.dedent(KILLED), str(out), "in the body", name]
        assert subprocess.run(script).returncode == -signal.SIGKILL
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with new_directory(out, force=False, expected_bytes=108) as fresh:
        assert listing(fresh) == {}
        earlier = left_by_killed_run(fresh)
        assert listing(earlier) == {"a.safetensors": "half", "b.safetensors": "half"}
    assert listing(tmp_path) == {"out": "/"}
    with new_directory(tmp_path / "new", force=False, expected_bytes=100) as fresh:
        assert left_by_killed_run(fresh) is None
    with pytest.raises(OutputError, match="GB are needed"):
        make(tmp_path / "other", size=101)


def test_a_disk_too_full_for_the_lock_keeps_nothing(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("saltlm.files.atomic.take", full)
    with pytest.raises(OutputError, match="No space left on device"):
        make(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
