"""Where things are kept between runs."""

from saltlm.files.caches import cache_folder


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
