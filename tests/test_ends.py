"""The directory that a next line names."""

import os

import pytest

from saltlm.cli.ends import free_name


@pytest.mark.parametrize(
    ("model", "is_writable", "name"),
    [
        ("me/llm", True, "llm-adapted"),  # of the Hub
        ("below/llm/", True, "below/llm-adapted"),
        ("below/llm", False, "llm-adapted-2"),  # the first is there
        ("below/llm.gguf", True, "below/llm-adapted"),
        (".", True, "{here}-adapted"),
        ("below/..", True, "{here}-adapted"),
    ],
)
def test_a_name_can_be_made_and_is_free(tmp_path, monkeypatch, model, is_writable, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below/llm").mkdir(parents=True)
    (tmp_path / "below/llm.gguf").touch()
    if not is_writable:
        (tmp_path / "llm-adapted").mkdir()
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert free_name(model, "adapted") == name.format(here=tmp_path)
