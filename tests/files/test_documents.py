"""Reading documents."""

import gzip

import pytest

from saltlm.errors import ConfigError
from saltlm.files.documents import check_corpus, documents


def test_lines_without_blanks_plain_and_gzipped(tmp_path):
    plain, packed = tmp_path / "a.txt", tmp_path / "b"
    plain.write_text("Straße\r\n\n  \nzwei\u2028Zeilen\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(b"ba\n"))
    assert list(documents([plain, packed])) == ["Straße", "zwei\u2028Zeilen", "ba"]


def test_no_text(tmp_path):
    (tmp_path / "empty").write_text("\n \n")
    with pytest.raises(ConfigError, match=r"the corpus has no text \(.*empty\)"):
        check_corpus([tmp_path / "empty"])
    with pytest.raises(ConfigError, match=r"no text \(none was given\)"):
        check_corpus([])


def test_missing_broken_and_wrongly_encoded(tmp_path):
    with pytest.raises(ConfigError, match="missing cannot be read: .*No such file"):
        check_corpus([tmp_path / "missing"])
    (tmp_path / "latin").write_bytes("Straße\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="latin is not UTF-8: .* at byte 4"):
        check_corpus([tmp_path / "latin"])
    whole = gzip.compress(b"line\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"cut\.gz cannot be read"):
        list(documents([tmp_path / "cut.gz"]))
