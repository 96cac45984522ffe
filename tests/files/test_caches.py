"""Where things are kept between runs, what lies there, and how it is cleared."""

import json

import pytest
from click.testing import CliRunner

from saltlm.cli.main import cli
from saltlm.errors import ConfigError
from saltlm.files.caches import KINDS, cache, cache_folder


def test_caches_lie_where_the_desktop_standard_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("gguf") == tmp_path / "saltlm" / "gguf"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_folder("gguf") == tmp_path / "home" / ".cache" / "saltlm" / "gguf"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache with two texts, a model, and what a killed run left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for kind, name, size in (("packed", "a", 10), ("packed", "b", 20), ("gguf", "m", 5)):
        folder = tmp_path / "saltlm" / kind / name
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(bytes(size))
    left = tmp_path / "saltlm" / "packed" / ".saltlm-partial-x"
    left.mkdir()
    (left / "lock").write_text("1 of-another-boot")
    (tmp_path / "saltlm" / "mine").write_text("not of a kind")
    return tmp_path / "saltlm"


ALL = [*["packed"] * 3, "gguf"]


def names(found):
    return [(entry.kind, entry.path.name, entry.n_bytes, entry.is_left) for entry in found.entries]


def test_it_is_listed(kept):
    assert names(cache()) == [
        ("packed", "b", 20, False),
        ("packed", ".saltlm-partial-x", 17, True),
        ("packed", "a", 10, False),
        ("gguf", "m", 5, False),
    ]
    assert repr(cache()) == f"Cache({kept}: 4 entries, 0.0 MB)"
    shown = CliRunner().invoke(cli, ["cache"])
    assert shown.exit_code == 0
    assert ".saltlm-partial-x (left by a killed run)" in shown.output


@pytest.mark.parametrize(("clear", "rest"), [("packed", ["gguf"]), (["all"], []), ("demo", ALL)])
def test_kinds_are_cleared(kept, clear, rest):
    removed = cache(clear=clear)
    assert removed.is_cleared
    assert [entry.kind for entry in cache().entries] == (rest or ["packed"] * 3 + ["gguf"]) * (
        rest != []
    )
    assert (kept / "mine").is_file()
    assert len(removed.entries) == {"packed": 3, "demo": 0}.get(str(clear), 4)


def test_the_command_clears_and_prints_json(kept):
    shown = CliRunner().invoke(cli, ["cache", "--clear", "gguf", "--json"])
    assert json.loads(shown.output)["is_cleared"]
    assert not (kept / "gguf" / "m").exists()


def test_an_unknown_kind(kept):
    with pytest.raises(ConfigError, match="the cache has no 'x'") as caught:
        cache(clear="x")
    assert all(kind in caught.value.hint for kind in KINDS)
