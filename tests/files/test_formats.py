"""Every format through every door: the documents that are in it, or a refusal with a way out."""

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import saltlm
from files import format_cases as cases
from saltlm.adaptation import packed_cache
from saltlm.adaptation.packing import Frame
from saltlm.auxiliary.fasttext_training import _write_words
from saltlm.errors import DataError
from saltlm.files import characters, json_rows, plain_text
from saltlm.files.documents import check_corpus, documents, first
from saltlm.files.parallel import first_pairs
from saltlm.files.source import fingerprint

SHELL = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def written(case, folder):
    (folder / case.name).write_bytes(case.data)
    return folder / case.name


def follow(hint, path, remedy):
    """Do what a hint says and return what to read then."""
    if named := re.search(r"(\S+#[\w:,-]*\w)", hint):
        return named[1]
    if command := re.search(r": ((?:python|sed|tr) .*)", hint):
        subprocess.run(command[1], shell=True, check=True, cwd=path.parent, env=SHELL)
        made = command[1].split()[-1]
        return made
    assert re.search("write|save|unpack it once|give --corpus|git -C", hint), hint
    mended = path.with_name("mended.jsonl")
    mended.write_text("".join(json.dumps(text) + "\n" for text in remedy), encoding="utf-8")
    return mended


def names(cases_):
    return [f"{case.kind}" for case in cases_]


GOOD = [case for case in cases.CASES if not isinstance(case.result, str)]
REFUSED = [case for case in cases.CASES if isinstance(case.result, str)]


@pytest.mark.parametrize("case", GOOD, ids=names(GOOD))
def test_what_is_in_a_file(case, tmp_path):
    assert list(documents([written(case, tmp_path)])) == case.result


@pytest.mark.parametrize("case", REFUSED, ids=names(REFUSED))
def test_a_refusal_has_a_way_out(case, tmp_path):
    file = written(case, tmp_path)
    with pytest.raises(DataError, match=case.result) as caught:
        check_corpus([file])
    made = follow(caught.value.hint, file, case.remedy)
    assert list(documents([made])) == case.remedy


@pytest.mark.parametrize("case", cases.PAIR_CASES, ids=names(cases.PAIR_CASES))
def test_pairs(case, tmp_path, caplog):
    file = written(case, tmp_path)
    if isinstance(case.result, str):
        with pytest.raises(DataError, match=case.result) as caught:
            first_pairs(file, 9)
        if "#" in (hint := caught.value.hint):
            assert first_pairs(follow(hint, file, None), 9) == case.remedy
        elif "two files" in hint:
            assert two_files(tmp_path) == case.remedy
        else:
            folder = Path(follow(hint, file, None))
            assert first_pairs(f"{folder}/x.en,{folder}/x.de", 9) == case.remedy
        return
    assert first_pairs(file, 9) == case.result
    assert first_pairs(file, 2) == case.result[:2]
    if "swapped: " in case.kind:
        assert "a.tsv: English stands second" in caplog.text


def two_files(folder):
    (folder / "en").write_text(cases.lines(cases.ENGLISH), encoding="utf-8")
    (folder / "de").write_bytes(cases.lines(cases.GERMAN).encode("utf-16"))
    return first_pairs(f"{folder}/en,{folder}/de", 9)


def test_a_language_stands_for_its_regions(tmp_path):
    (file := tmp_path / "a.tmx").write_bytes(cases.tmx(cases.PAIRS))
    assert first_pairs(f"{file}#english:EN,target:de", 9) == cases.PAIRS


def test_two_files_of_pairs_in_either_order(tmp_path):
    assert two_files(tmp_path) == cases.PAIRS
    assert first_pairs(f"{tmp_path}/de,{tmp_path}/en", 9) == cases.PAIRS
    (tmp_path / "de").write_text("ein\n")
    with pytest.raises(DataError, match=r"de has 1 lines, and .*en more"):
        first_pairs(f"{tmp_path}/en,{tmp_path}/de", 9)


def test_every_door_reads_the_same_documents(tmp_path, monkeypatch, tokenizers_by_family):
    """adapt's packing, fastText's training and the first of a held-out text, as documents does."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizers_by_family["bytelevel"])
    seen = []

    def tokenize(texts, *_):
        for text in texts:
            seen.append(text)
            yield [0], 1

    monkeypatch.setattr(packed_cache, "framed", tokenize)
    for number, case in enumerate(GOOD):
        (tmp_path / str(number)).mkdir()
        file = written(case, tmp_path / str(number))
        frame = Frame(0, None)
        packed_cache.pack_text(
            str(file), fingerprint(file), tokenizer, frame, cache=file.parent / "cache"
        )
        cut = []
        _write_words([file], tmp_path / "words", lambda text, cut=cut: cut.append(text) or [])
        assert seen == cut == first([file], 1000) == case.result
        seen.clear()


def test_no_verb_opens_text_by_itself():
    """Outside the room of files, nobody unpacks or cuts text into lines."""
    room = Path(saltlm.__file__).parent
    openers = Counter(
        file.relative_to(room).as_posix()
        for file in room.rglob("*.py")
        if re.search(
            r"^\s*import (gzip|bz2|lzma|csv)\b", file.read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert {name for name in openers if not name.startswith("files/")} <= {
        "auxiliary/containers.py",  # vectors, not text
        "auxiliary/writing.py",
    }


def test_folders_and_patterns_in_the_order_of_names(tmp_path):
    for name in ("b.txt", "a.jsonl", "sub/c.txt", "README.md", ".hidden", "sub/_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"{name}"\n' if name.endswith("jsonl") else f"{name}\n")
    assert list(documents([tmp_path])) == ["a.jsonl", "b.txt", "sub/c.txt"]
    assert list(documents([f"{tmp_path}/*.txt"])) == ["b.txt"]
    assert list(documents([f"{tmp_path}/**/*.txt"])) == ["b.txt", "sub/c.txt"]
    with pytest.raises(DataError, match="holds no file"):
        list(documents([f"{tmp_path}/*.parquet"]))


def test_a_saved_dataset_is_its_texts_and_several_splits_are_refused(tmp_path):
    import datasets

    one = datasets.Dataset.from_dict({"text": cases.TEXTS})
    datasets.DatasetDict({"test": one}).save_to_disk(tmp_path)
    with pytest.raises(DataError, match="holds several splits: test") as caught:
        list(documents([tmp_path]))
    split = caught.value.hint.rpartition(" ")[2]
    assert list(documents([split])) == cases.TEXTS


def test_a_pipe_is_refused_since_it_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device"):
        list(documents([tmp_path / "pipe"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("x:y", "'x:y' says nothing about a text"),
        ("", "'' says nothing"),
        ("layout:pages", "layout is 'pages'"),
        ("encoding:utf-9", "there is no encoding 'utf-9'"),
        ("bad:2", "bad is '2'"),
    ],
)
def test_what_stands_behind_a_name_is_checked(tmp_path, options, message):
    (tmp_path / "a").write_text("a\n")
    with pytest.raises(DataError, match=message):
        list(documents([f"{tmp_path}/a#{options}"]))


def test_a_name_with_a_number_sign_is_a_name(tmp_path):
    (tmp_path / "a#b").write_text("a\n")
    assert list(documents([tmp_path / "a#b"])) == ["a"]
    assert list(documents([f"{tmp_path}/a#b#layout:lines"])) == ["a"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x" * 100, "has a line of more than 64 characters"),
        (b'[{"text": "' + b"x" * 200, "has an item of more than 64 characters"),
        (b"a\nb\n\n" * 3 + b"xxxx\n" * 20, "has a paragraph of more than 64 characters"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch, data, message):
    for module in (characters, json_rows, plain_text):
        monkeypatch.setattr(module, "LONGEST", 64)
    monkeypatch.setattr(json_rows, "_CHUNK", 16)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match=message.replace("64", r"[\d,]+")):
        list(documents([tmp_path / "a"]))


def test_a_named_field_that_is_not_there(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "id": "b"}\n')
    with pytest.raises(DataError, match="has no field 'body'; it has text, id") as caught:
        list(documents([f"{tmp_path}/a.jsonl#body"]))
    assert list(documents([caught.value.hint.rpartition(" ")[2]])) == ["a"]


def test_a_file_of_a_folder_that_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"b\.png is a PNG image") as caught:
        list(documents([tmp_path]))
    assert caught.value.hint.endswith(f"; or take b.png out of {tmp_path}")
    (tmp_path / "b.png").unlink()
    assert list(documents([tmp_path])) == ["a"]


def test_a_cut_array_gives_what_it_has_and_is_told(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "b"}, {"te')
    reader = documents([tmp_path / "a.json"])
    with pytest.raises(DataError, match="is not a whole JSON array: it breaks at item 3"):
        list(reader)
    (tmp_path / "a.txt").write_text('["Ja", sagte er.]\n')
    with pytest.raises(DataError, match="it breaks at item 2") as caught:
        list(documents([tmp_path / "a.txt"]))
    remedy = caught.value.hint.rpartition(" ")[2]
    assert list(documents([remedy])) == ['["Ja", sagte er.]']


some_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=30)
@given(texts=st.lists(some_text.filter(str.strip), min_size=1, max_size=5))
def test_rows_come_back_whatever_is_in_them(tmp_path_factory, texts):
    folder = tmp_path_factory.getbasetemp()
    rows = [{"text": text} for text in texts]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "b.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        encoding="utf-16",
        newline="",
    )
    (folder / "a.json").write_text(json.dumps(rows))
    parquet.write_table(pyarrow.table({"text": texts}), folder / "a.parquet")
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "text"], *([1, text.replace("\r", "")] for text in texts)])
    for name in ("a.jsonl", "b.jsonl", "a.json", "a.parquet"):
        assert list(documents([folder / name])) == [text.strip() for text in texts], name
    kept = [text.replace("\r", "").strip() for text in texts]
    assert list(documents([f"{folder}/a.csv#bad:1"])) == [text for text in kept if text]
