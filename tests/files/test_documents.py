"""One reader: the documents of every kind of text; bad rows are counted and named."""

import gzip
import json
import logging
import sys
from itertools import islice
from types import SimpleNamespace

import pytest

from saltlm.errors import DataError, MissingExtraError
from saltlm.files.documents import check_corpus, documents, first, whole_text
from saltlm.files.source import fingerprint


def read(name, **options):
    """The documents of a text of which any share may be bad."""
    written = ",".join(f"{key}:{value}" for key, value in {"bad": 1, **options}.items())
    return list(documents([f"{name}#{written}"]))


def test_lines_plain_and_gzipped_whatever_the_name(tmp_path):
    raw = "Straße\r\n\n zwei\u2028Zeilen\x0b3\x1c \n".encode()
    for name, data in (("a.txt", raw), ("b", gzip.compress(raw))):
        (tmp_path / name).write_bytes(data)
        assert list(documents([tmp_path / name])) == ["Straße", "zwei\u2028Zeilen\x0b3"]


def test_bad_lines_are_named(tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes("gut\nStraße\n\0\n".encode() + "Straße\n".encode("latin-1"))
    assert read(tmp_path / "a.txt", encoding="utf-8") == ["gut", "Straße"]
    assert (
        "left out 2 of 4 rows (1 a zero byte, 1 broken characters), the first are line 3 (a zero"
        " byte), line 4 (broken characters)"
    ) in caplog.text


def test_bad_rows_are_named_when_the_rest_is_not_read(tmp_path, caplog):
    """As of a Hub dataset, of which a run needs a part, and of held-out text."""
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": "gut"}\n{"text": "besser"}\n')
    assert first([tmp_path / "a.jsonl"], 1) == ["gut"]
    assert "a.jsonl: left out 1 of 2 rows (1 empty), the first are line 1 (empty)" in caplog.text


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson", "a"])
def test_json_lines(tmp_path, caplog, name):
    lines = [
        json.dumps({"text": "ein\nzwei", "id": 1}).encode(),
        b"{broken",
        b'{"other": "x"}',
        b'{"text": 3}',
        b'["text"]',
        b"",
        b'{"text": " "}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'"nur Text"',
        b"[" * 10_000,
        '{"text": "drëi"}'.encode(),
    ]
    data = b"\n".join(lines) + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read(tmp_path / name) == ["ein\nzwei", "nur Text", "drëi"]
    assert (
        "left out 8 of 11 rows (3 no text in the field 'text', 2 not JSON, 2 broken characters, 1"
        in caplog.text
    )
    assert read(tmp_path / name, field="other") == ["x", "nur Text"]


def test_parquet(tmp_path, caplog):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"id": ["a", "b", "c"], "text": ["eins", None, "zwei"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    for name in ("a.parquet", "b.gz"):
        assert read(tmp_path / name) == ["eins", "zwei"]
        assert read(tmp_path / name, field="id") == ["a", "b", "c"]
    assert (
        "left out 1 of 3 rows (1 no text in the field 'text'), the first are row 2" in caplog.text
    )
    with pytest.raises(DataError, match=r"a\.parquet has no field 'body'; it has id, text\nhint: "):
        read(tmp_path / "a.parquet", field="body")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"b\.parquet cannot be read"):
        read(tmp_path / "b.parquet")


def test_too_many_bad_rows_are_fatal_at_the_end(tmp_path):
    (tmp_path / "a.jsonl").write_text('"gut"\n' * 98 + '""\n' * 2)
    assert len(list(documents([f"{tmp_path}/a.jsonl#bad:0.02"]))) == 98
    with pytest.raises(DataError, match=r"a\.jsonl has too many bad rows: 2 of 100 row") as caught:
        list(documents([tmp_path / "a.jsonl"]))
    remedy = caught.value.hint.rpartition(" ")[2]
    assert remedy == f"{tmp_path}/a.jsonl#bad:0.022"
    assert len(list(documents([remedy]))) == 98


def test_a_big_file_with_the_wrong_field_is_not_read_to_its_end(tmp_path):
    rows = '{"text": "x", "body": "y"}\n' * 100 + '{"body": "y"}\n' * 9_901
    (tmp_path / "a.jsonl").write_text(rows)
    with pytest.raises(DataError, match="9900 of 10000 rows"):
        read(tmp_path / "a.jsonl", field="text", bad=0.5)


def test_missing_and_broken_files(tmp_path):
    for reads in (fingerprint, lambda one: list(documents([one]))):
        with pytest.raises(DataError, match=r"missing\.txt does not exist"):
            reads(tmp_path / "missing.txt")
    whole = gzip.compress(b"line\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.gz cannot be read: Compressed file ended"):
        read(tmp_path / "cut.gz")


def test_no_text(tmp_path):
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "text").write_text("Text\n")
    check_corpus([tmp_path / "text"])
    for check in (check_corpus, lambda files: first(files, 1)):
        with pytest.raises(DataError, match=r"no text \(.*empty\)"):
            check([tmp_path / "empty"])
        with pytest.raises(DataError, match=r"no text \(none was given\)"):
            check([])
    with pytest.raises(DataError, match=r"no text \(.*empty\)"):
        check_corpus([tmp_path / "text", tmp_path / "empty"])


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("x")
    b.write_text("x")
    before = fingerprint(a)
    assert before == fingerprint(b)
    assert before != fingerprint(f"{a}#layout:paragraphs")
    assert before == fingerprint(f"{a}#bad:0.5"), "what is put up with changes no document"
    b.write_text("y")
    assert before != fingerprint(b)
    folder = fingerprint(tmp_path)
    a.write_text("z")
    assert folder != fingerprint(tmp_path)


def test_a_dataset_of_the_hub_is_streamed(tmp_path, monkeypatch, caplog):
    """By the library itself, only that the file lies here and not on the Hub."""
    import datasets

    (tmp_path / "a.jsonl").write_text('{"text": "eins"}\n{"text": null}\n{"text": " zwei"}\n')
    calls, load = [], datasets.load_dataset

    def load_dataset(*args, **named):
        calls.append((args, named))
        return load("json", data_files={named["split"]: str(tmp_path / "a.jsonl")}, **named)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read("wiki/media:20231101.de:test") == ["eins", "zwei"]
    assert calls == [(("wiki/media", "20231101.de"), {"split": "test", "streaming": True})]
    assert (
        "left out 1 of 3 rows (1 no text in the field 'text'), the first are row 2" in caplog.text
    )
    (tmp_path / "a.jsonl").write_text('{"url": "x", "id": "y"}\n')
    with pytest.raises(DataError, match="media::validation has no field that is known to hold"):
        read("wiki/media::validation")


def test_a_dataset_that_cannot_be_reached(monkeypatch):
    def load_dataset(*args, **named):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match="wiki/media cannot be read from the Hub: no route to host"):
        read("wiki/media")
    with pytest.raises(DataError, match="wiki/media is neither a file nor a dataset"):
        fingerprint("wiki/media")


@pytest.mark.parametrize(
    ("module", "name", "data"),
    [
        ("datasets", "wiki/media", b""),
        ("pyarrow", "a.parquet", b"PAR1"),
        ("backports.zstd", "a.zst", b"\x28\xb5\x2f\xfd"),
        ("defusedxml.ElementTree", "a.tmx", b"<tmx/>"),
        ("mwparserfromhell", "a.xml", b"<mediawiki/>"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, tmp_path, module, name, data):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    if data:
        (tmp_path / name).write_bytes(data)
        name = tmp_path / name
    with pytest.raises(MissingExtraError, match="needs the 'text' extra"):
        list(documents([name]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("b.txt.gz", []),
        ("b.txt", ["one document a line, packed by gzip"]),
    ],
)
def test_a_packing_is_told_where_the_name_does_not(tmp_path, caplog, name, said):
    caplog.set_level("INFO")
    (tmp_path / name).write_bytes(gzip.compress(b"ein Haus\n"))
    assert list(documents([tmp_path / name])) == ["ein Haus"]
    assert [line.partition(", ")[2] for line in caplog.messages] == said


WESTERN = [
    "Größe und Straße: „schön“, „Öl“",
    "Où est la nouvelle maison ? Ça va très bien, à bientôt !",
    "El niño está aquí mañana. ¿Dónde?",
    "La città è più bella perché c'è il sole.",
    "São Paulo não é a capital; você está aqui amanhã?",
    "Människor är födda fria och lika i värde på två små öar.",
    "Alle mennesker er født frie og lige i værdighed på øen.",
    "Hver maður er borinn frjáls og jafn öðrum að virðingu. Það er þannig.",
]


@pytest.mark.parametrize("text", WESTERN)
def test_latin_1_is_told_by_the_letters_of_one_language(tmp_path, text, caplog):
    (tmp_path / "a.txt").write_bytes(f"{text}\n{text}\n".encode("cp1252"))
    assert list(documents([tmp_path / "a.txt"])) == [text] * 2
    assert "is read as text, one document a line, in cp1252" in caplog.text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Minden szép erdő és hűvös folyó öröme.", "cp1250"),
        ("Wszyscy ludzie rodzą się wolni i równi; zażółć gęślą jaźń.", "iso8859-2"),
        ("Příliš žluťoučký kůň pěl ďábelské ódy.", "cp1250"),
        ("Toate fiinţele umane se nasc libere şi egale în demnitate.", "cp1250"),
        ("Bütün insanlar hür, haklar bakımından eşit doğarlar; çocuk.", "cp1254"),
        ("Visi žmonės gimsta laisvi ir lygūs savo orumu, sąžinė.", "cp1257"),
        ("Čovjek će ići; ljudska bića rađaju se.", "cp1250"),
        ("Все люди рождаются свободными", "koi8-r"),
        ("すべての人間は、生まれながらにして自由であり", "shift-jis"),
        ("يولد جميع الناس أحرارا", "cp1256"),
    ],
)
def test_other_old_encodings_are_to_be_named(tmp_path, text, encoding):
    (tmp_path / "a.txt").write_bytes(f"{text}\n".encode(encoding))
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8.*\nhint: name its encoding: .*#enc"):
        list(documents([tmp_path / "a.txt"]))
    assert read(tmp_path / "a.txt", encoding=encoding) == [text]


def test_one_document_at_a_time(tmp_path):
    """A generator that is left holds no file open, and says what it has met."""
    (tmp_path / "a.txt").write_text("eins\nzwei\n")
    reader = documents([tmp_path / "a.txt"])
    assert list(islice(reader, 1)) == ["eins"]
    reader.close()


def test_how_a_file_is_read_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "a.txt").write_bytes("Straße\n".encode("utf-16"))
    assert [list(documents([tmp_path / "a.txt"])) for _ in range(2)] == [["Straße"]] * 2
    assert caplog.text.count("a.txt is read as text, one document a line, in utf-16-le") == 1
    assert whole_text(tmp_path / "a.txt") == "Straße\n"
