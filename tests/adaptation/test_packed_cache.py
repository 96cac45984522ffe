"""A text of several files is packed by several processes as by one, also after a kill."""

import json
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from transformers import AutoTokenizer

from saltlm.adaptation import packed_cache
from saltlm.adaptation.packed_cache import pack_text
from saltlm.adaptation.packing import Frame, framed, open_packed, pack, unpack
from saltlm.errors import DataError
from saltlm.files.documents import documents
from saltlm.files.locks import take
from saltlm.files.source import fingerprint

FRAME = Frame(7, 9)


@pytest.fixture
def tokenizer(tokenizers_by_family, save_tokenizer_dir, tmp_path):
    directory = save_tokenizer_dir(
        tokenizers_by_family["bytelevel"],
        tmp_path / "tokenizer",
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )
    return AutoTokenizer.from_pretrained(directory)


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
    assert len(list(cache.iterdir())) == 4
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
    part = next(path for path in cache.iterdir() if (path / "tokens.bin").stat().st_size)
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
    with ThreadPoolExecutor(2) as both:
        first, second = [worker.result() for worker in [both.submit(work) for _ in range(2)]]
    assert first == second
    assert shares.total() == 6
    assert len(shares) == 2
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


def test_a_file_that_another_process_has_is_waited_for(texts, tokenizer, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    waited, locks = [], []

    def let_go(seconds):
        waited.append(seconds)
        if locks:
            packed_cache.os.close(locks.pop())

    made = packed_cache._folder_of

    def held(key, place):
        folder = made(key, place)
        if key.get("part") == 4 and not waited and not locks:
            locks.append(take(folder.with_suffix(".lock")))
        return folder

    monkeypatch.setattr(packed_cache, "_folder_of", held)
    monkeypatch.setattr(packed_cache.time, "sleep", let_go)
    packed(texts, tokenizer, cache)
    assert waited
    assert files_in(cache) == by_one(texts, tokenizer, tmp_path / "one")


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
        assert pack((([1, 2, 3], 5) for _ in range(n_documents)), folder, 10) == n_documents
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10)  # what is imported and cached once
    few, many = peak(1_000), peak(20_000)
    assert many < few + 20_000
