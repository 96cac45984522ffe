"""Rows of every kind of text file; bad ones are counted and named."""

import gzip
import json
import logging
import sys
from itertools import islice
from types import SimpleNamespace

import pytest

from saltlm.errors import DataError, MissingExtraError
from saltlm.files.corpus import Source, documents, fingerprint


def source(name, **options) -> Source:
    return Source(str(name), **{"max_bad_share": 1.0, **options})


def test_lines_plain_and_gzipped_whatever_the_name(tmp_path):
    raw = "Straße\r\n zwei\u2028Zeilen \n".encode()
    for name, data in (("a.txt", raw), ("b", gzip.compress(raw))):
        (tmp_path / name).write_bytes(data)
        assert list(documents(source(tmp_path / name))) == ["Straße", "zwei\u2028Zeilen"]


def test_bad_lines_are_named(tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes("gut\n\nStraße\n".encode() + "Straße\n".encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert list(documents(source(tmp_path / "a.txt"))) == ["gut", "Straße"]
    assert (
        "a.txt: left out 2 of 4 rows (1 empty, 1 not UTF-8), the first are line 2 (empty),"
        " line 4 (not UTF-8)"
    ) in caplog.text


def test_bad_lines_are_named_when_the_rest_is_not_read(tmp_path, caplog):
    """As of a Hub dataset, of which a run needs a part, and of held-out text."""
    (tmp_path / "a.txt").write_text("\ngut\nbesser\n\n")
    assert list(islice(documents(source(tmp_path / "a.txt")), 1)) == ["gut"]
    assert "a.txt: left out 1 of 2 rows (1 empty), the first are line 1 (empty)" in caplog.text


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson"])
def test_json_lines(tmp_path, caplog, name):
    lines = [
        json.dumps({"text": "ein\nzwei", "id": 1}).encode(),
        b"{broken",
        b'{"other": "x"}',
        b'{"text": 3}',
        b'["text"]',
        b'{"text": " "}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'{"text": "drei"}',
    ]
    data = b"\n".join(lines) + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert list(documents(source(tmp_path / name))) == ["ein\nzwei", "drei"]
    assert "left out 7 of 9 rows (3 no text in the field 'text', 1 not JSON, 1 empty" in caplog.text
    assert list(documents(source(tmp_path / name, text_field="other"))) == ["x"]


def test_parquet(tmp_path, caplog):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": ["eins", None, "zwei"], "id": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert list(documents(source(tmp_path / "a.parquet"))) == ["eins", "zwei"]
    assert (
        "left out 1 of 3 rows (1 no text in the field 'text'), the first are row 2" in caplog.text
    )
    with pytest.raises(DataError, match=r"has no column 'body'; it has text, id\nhint: name the"):
        list(documents(source(tmp_path / "a.parquet", text_field="body")))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"b\.parquet cannot be read"):
        list(documents(source(tmp_path / "b.parquet")))


def test_too_many_bad_rows_are_fatal_at_the_end(tmp_path):
    (tmp_path / "a.txt").write_text("gut\n" * 98 + "\n" * 2)
    assert len(list(documents(source(tmp_path / "a.txt", max_bad_share=0.02)))) == 98
    with pytest.raises(DataError, match=r"a\.txt has too many bad rows: 2 of 100 rows") as caught:
        list(documents(source(tmp_path / "a.txt", max_bad_share=0.01)))
    assert caught.value.hint.endswith("--set max_bad_share=0.022")


def test_a_big_file_with_the_wrong_field_is_not_read_to_its_end(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n' * 10_001)
    with pytest.raises(DataError, match="10000 of 10000 rows"):
        list(documents(source(tmp_path / "a.jsonl", max_bad_share=0.5)))


def test_missing_and_broken_files(tmp_path):
    for read in (fingerprint, lambda one: list(documents(one))):
        with pytest.raises(DataError, match=r"missing\.txt does not exist"):
            read(source(tmp_path / "missing.txt"))
    whole = gzip.compress(b"line\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.gz cannot be read: Compressed file ended"):
        list(documents(source(tmp_path / "cut.gz")))
    with pytest.raises(DataError, match="cannot be read: .*Is a directory"):
        fingerprint(source(tmp_path))


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("x")
    b.write_text("x")
    before = fingerprint(source(a))
    assert before == fingerprint(source(b))
    b.write_text("y")
    assert before != fingerprint(source(b))


def test_a_dataset_of_the_hub_is_streamed(tmp_path, monkeypatch, caplog):
    """By the library itself, only that the file lies here and not on the Hub."""
    import datasets

    (tmp_path / "a.jsonl").write_text('{"text": "eins"}\n{"text": null}\n{"text": " zwei"}\n')
    calls, load = [], datasets.load_dataset

    def load_dataset(*args, **named):
        calls.append((args, named))
        return load("json", data_files={named["split"]: str(tmp_path / "a.jsonl")}, **named)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(documents(source("wiki/media:20231101.de", split="test"))) == ["eins", "zwei"]
    assert calls == [(("wiki/media", "20231101.de"), {"split": "test", "streaming": True})]
    assert (
        "left out 1 of 3 rows (1 no text in the field 'text'), the first are row 2" in caplog.text
    )


def test_a_dataset_that_cannot_be_reached(monkeypatch):
    def load_dataset(*args, **named):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match="wiki/media cannot be read from the Hub: no route to host"):
        list(documents(source("wiki/media")))
    with pytest.raises(DataError, match="wiki/media is neither a file nor a dataset"):
        fingerprint(source("wiki/media"))


@pytest.mark.parametrize(("module", "name"), [("datasets", "wiki/media"), ("pyarrow", "a.parquet")])
def test_a_missing_extra_is_named(monkeypatch, tmp_path, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    if name == "a.parquet":
        name = tmp_path / name
        name.touch()
    with pytest.raises(MissingExtraError, match="needs the 'adapt' extra"):
        list(documents(source(name)))
