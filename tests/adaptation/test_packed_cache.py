"""A text of several files is packed by several processes as by one, also after a kill."""

import json
import os
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saltlm.adaptation import packed_cache
from saltlm.adaptation.packed_cache import pack_text, tokenizer_hash
from saltlm.adaptation.packing import Frame, framed, join_packed, open_packed, pack, unpack
from saltlm.errors import DataError
from saltlm.files import bad_rows, locks
from saltlm.files.documents import documents
from saltlm.files.leftovers import left_in, named_leftover
from saltlm.files.locks import take
from saltlm.files.source import fingerprint

FRAME = Frame(7, 9)


@pytest.fixture
def texts(tmp_path):
    """A folder of six files; the third has no document, the fourth is that of before again."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, lines in enumerate([3, 1, 0, 1, 5, 2]):
        text = [f"Haus {line} und Fluss\n" for line in range(lines)]
        (folder / f"{number}.txt").write_text("".join(text), encoding="utf-8")
    return folder


def packed(source, tokenizer, cache):
    return pack_text(source, fingerprint(source), tokenizer, FRAME, cache=cache)


def files_in(cache):
    """Return the packed text's files and their bytes, its record aside; nothing else is there."""
    (folder,) = cache.iterdir()
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "meta.json"}


def by_one(source, tokenizer, folder):
    folder.mkdir()
    pack(framed(documents([source]), tokenizer, FRAME), folder, len(tokenizer))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_files_make_the_bytes_of_one_text_wherever_a_process_begins(
    texts, tokenizer, tmp_path, monkeypatch
):
    expected = by_one(texts, tokenizer, tmp_path / "one")
    for first in range(6):
        monkeypatch.setattr(packed_cache.zlib, "crc32", lambda _, first=first: first)
        cache = tmp_path / f"cache {first}"
        found = packed(texts, tokenizer, cache)
        assert files_in(cache) == expected
        assert list(unpack(found)) == list(unpack(open_packed(tmp_path / "one", "", "")))
        assert int(found.byte_starts[-1]) == sum(len(t.encode()) for t in documents([texts]))


def test_a_killed_run_goes_on_with_the_files_that_are_left(texts, tokenizer, tmp_path, monkeypatch):
    cache, done = tmp_path / "cache", []

    def until_killed(rows, folder, n_ids, **named):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(folder)
        return pack(rows, folder, n_ids, **named)

    monkeypatch.setattr(packed_cache, "pack", until_killed)
    with pytest.raises(KeyboardInterrupt):
        packed(texts, tokenizer, cache)
    (left,) = cache.iterdir()
    assert left_in(cache) == [left]
    assert len([part for part in left.iterdir() if part.is_dir()]) == 4
    monkeypatch.setattr(packed_cache, "pack", lambda *a, **n: done.append(0) or pack(*a, **n))
    packed(texts, tokenizer, cache)
    assert len(done) == 6
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_a_part_that_is_damaged_is_packed_again(texts, tokenizer, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packed_cache, "join_packed", killed)
        with pytest.raises(KeyboardInterrupt):
            packed(texts, tokenizer, cache)
    (left,) = cache.iterdir()
    part = left / "000004"
    assert (part / "tokens.bin").stat().st_size
    (part / "tokens.bin").write_bytes(b"\0" * (part / "tokens.bin").stat().st_size)
    packed(texts, tokenizer, cache)
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_several_share_the_files_of_a_text(texts, tokenizer, tmp_path, monkeypatch):
    """Threads stand for processes: a lock belongs to the file that was opened, not to a process."""
    directory, cache, shares = tokenizer.name_or_path, tmp_path / "cache", Counter()
    begin = threading.Barrier(2)

    def slowly(*args, **named):
        shares[threading.get_ident()] += 1
        time.sleep(0.05)
        return pack(*args, **named)

    def work():
        own = AutoTokenizer.from_pretrained(directory)
        begin.wait(timeout=60)
        return list(unpack(packed(texts, own, cache)))

    monkeypatch.setattr(packed_cache, "pack", slowly)
    monkeypatch.setattr(locks, "_LOOK", 0.0)  # else who waits for a short part is one behind
    with ThreadPoolExecutor(2) as both:
        first, second = [worker.result() for worker in [both.submit(work) for _ in range(2)]]
    assert first == second
    assert shares.total() == 6
    assert len(shares) == 2
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_a_file_that_another_process_has_is_waited_for(
    texts, tokenizer, tmp_path, monkeypatch, caplog
):
    cache, waited, locks = tmp_path / "cache", [], []

    def held(folder):
        left = named_leftover(folder)
        left.mkdir()
        locks.append(take(left / "000004.lock"))
        return left

    def let_go(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            packed_cache.os.close(locks.pop())

    monkeypatch.setattr(packed_cache, "named_leftover", held)
    monkeypatch.setattr(packed_cache.time, "sleep", let_go)
    caplog.set_level("INFO")
    packed(texts, tokenizer, cache)
    assert len(waited) == 3
    assert caplog.text.count("waiting for other processes that cut") == 1
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_who_was_held_up_finds_the_whole_text_and_packs_no_more(
    texts, tokenizer, tmp_path, monkeypatch
):
    """While one packs its second file, another does all, joins and tidies up."""
    cache, calls = tmp_path / "cache", []

    def overtaken(*args, **named):
        calls.append(args[1])
        if len(calls) == 2:
            with monkeypatch.context() as patch:
                patch.setattr(packed_cache, "take", lambda path: os.open(path, os.O_CREAT))
                patch.setattr(packed_cache, "pack", pack)
                packed(texts, tokenizer, cache)
        return pack(*args, **named)

    monkeypatch.setattr(packed_cache, "pack", overtaken)
    packed(texts, tokenizer, cache)
    assert len(calls) == 2
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_without_locks_two_may_join_at_once(texts, tokenizer, tmp_path, monkeypatch):
    cache, begun = tmp_path / "cache", []

    def overtaken(parts, folder):
        if not begun:
            begun.append(folder)
            packed(texts, tokenizer, cache)  # and removes the parts
        return join_packed(parts, folder)

    monkeypatch.setattr(packed_cache, "take", lambda path: os.open(path, os.O_CREAT))
    monkeypatch.setattr(packed_cache, "join_packed", overtaken)
    packed(texts, tokenizer, cache)
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_parts_that_a_kill_left_beside_the_whole_text_go(texts, tokenizer, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(packed_cache, "shutil", SimpleNamespace(rmtree=lambda *_, **__: None))
        packed(texts, tokenizer, cache)
    assert len(list(cache.iterdir())) == 2
    for path in cache.iterdir():
        os.utime(path, (0, 0))
    packed(texts, tokenizer, cache)
    assert len(list(cache.iterdir())) == 1


def test_a_tokenizer_that_shortens_texts_has_one_hash_and_cuts_whole_texts(texts, tmp_path):
    made = Tokenizer(models.WordLevel({"Haus": 0, "und": 1, "Fluss": 2, "?": 3}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.enable_truncation(2)
    made.enable_padding(length=9)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    before = tokenizer_hash(tokenizer)
    found = packed(texts, tokenizer, tmp_path / "cache")
    assert next(unpack(found)) == [7, 0, 3, 1, 2, 9]
    assert tokenizer_hash(tokenizer) == before
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 2
    assert tokenizer.backend_tokenizer.padding["length"] == 9


def test_bad_rows_are_judged_over_all_files(tokenizer, tmp_path, caplog):
    good = [json.dumps({"text": f"Haus {number}"}) for number in range(300)]
    (tmp_path / "texts").mkdir()
    for name, rows in {"a": good, "b": [*good[:50], '{"text": 1}'], "c": good}.items():
        (tmp_path / "texts" / f"{name}.jsonl").write_text("\n".join(rows))
    source = str(tmp_path / "texts" / "*.jsonl")
    found = packed(source, tokenizer, tmp_path / "cache")  # 1 of 51 in its file, of 651 in all
    assert len(found.starts) == 651
    assert "left out 1 of 651 rows" in caplog.text
    assert "b.jsonl line 51" in caplog.text
    for name in "ac":
        (tmp_path / "texts" / f"{name}.jsonl").write_text("\n".join(good[:20]))
    with pytest.raises(DataError, match=r"too many bad rows: 1 of 91 .*\nhint: .*bad:0.012"):
        packed(source, tokenizer, tmp_path / "cache")


def test_a_wrong_field_is_told_before_all_is_read(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    for name in "abc":
        (tmp_path / "texts" / f"{name}.jsonl").write_text('{"text": ""}\n' * 50)
    monkeypatch.setattr(bad_rows, "_JUDGED_AFTER", 20)
    with pytest.raises(DataError, match="too many bad rows: 20 of 20 rows"):
        packed(str(tmp_path / "texts"), tokenizer, tmp_path / "cache")


def test_files_without_a_document(tokenizer, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("\n")
    with pytest.raises(DataError, match="holds no document"):
        packed(f"{tmp_path}/?.txt", tokenizer, tmp_path / "cache")


def test_memory_does_not_grow_with_the_text(tmp_path):
    def peak(n_documents):
        folder = tmp_path / str(n_documents)
        folder.mkdir()
        tracemalloc.start()
        pack((([1, 2, 3], 5) for _ in range(n_documents)), folder, 10)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10)  # what is imported and cached once
    few, many = peak(1_000), peak(20_000)
    assert many < few + 20_000
