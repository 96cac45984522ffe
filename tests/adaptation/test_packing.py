"""Packing loses nothing, and positions and bytes follow the documents."""

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from saltlm.adaptation import packed_cache
from saltlm.adaptation.packed_cache import pack_text
from saltlm.adaptation.packing import (
    Frame,
    bytes_before,
    frame_of,
    open_packed,
    pack,
    positions,
    sequence,
    unpack,
)
from saltlm.errors import DataError, OutputError
from saltlm.files.source import fingerprint

ids = st.lists(st.integers(0, 69_999), min_size=1, max_size=12)
framed = st.lists(st.tuples(ids, st.integers(0, 40)), min_size=1, max_size=12)


def prepared(file, tokenizer, frame, cache, **options):
    written = ",".join(f"{key}:{value}" for key, value in options.items())
    source = f"{file}#{written}" if written else file
    return pack_text(source, fingerprint(source), tokenizer, frame, cache=cache)


@given(framed, st.sampled_from([60_000, 70_000]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_unpacking_gives_the_documents_back(tmp_path, documents, n_ids):
    documents = [([id % n_ids for id in ids], n_bytes) for ids, n_bytes in documents]
    pack(documents, tmp_path, n_ids)
    packed = open_packed(tmp_path, "x", "x")
    assert list(unpack(packed)) == [ids for ids, _ in documents]
    assert packed.tokens.dtype == (np.uint16 if n_ids == 60_000 else np.uint32)
    assert bytes_before(packed, len(packed.tokens)) == sum(n for _, n in documents)
    for place, start in enumerate(packed.starts[:-1].tolist()):
        assert bytes_before(packed, start) == sum(n for _, n in documents[:place])


@given(framed, st.integers(1, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sequences_are_the_text_and_positions_restart(tmp_path, documents, length):
    pack(documents, tmp_path, 70_000)
    packed = open_packed(tmp_path, "x", "x")
    stream = [id for ids, _ in documents for id in ids]
    inside = [place for ids, _ in documents for place in range(len(ids))]
    for number in range(packed.n_sequences(length)):
        first = number * length
        assert sequence(packed, number, length).tolist() == stream[first : first + length + 1]
        expected = [min(inside[place], place - first) for place in range(first, first + length)]
        assert positions(packed, number, length).tolist() == expected
    used = packed.n_sequences(length) * length
    assert len(stream) - 1 - used < length


def test_packing_stops_after_the_document_that_reaches_the_limit(tmp_path):
    documents = iter([([1, 2, 3], 3), ([4, 5], 2), ([6], 1)])
    pack(documents, tmp_path, 10, max_tokens=4)
    assert open_packed(tmp_path, "", "").starts.tolist() == [0, 3, 5]
    assert next(documents) == ([6], 1)


def test_documents_are_framed_and_special_tokens_are_not_doubled(tmp_path, tokenizer):
    file = tmp_path / "a.txt"
    file.write_text("Das Haus.\nÖl\n", encoding="utf-8")
    packed = prepared(file, tokenizer, Frame(7, 9), tmp_path / "cache")
    texts = [
        [7, *tokenizer(text, add_special_tokens=False)["input_ids"], 9]
        for text in ("Das Haus.", "Öl")
    ]
    assert list(unpack(packed)) == texts
    assert packed.byte_starts.tolist() == [0, 9, 12]


def test_frames(tokenizer):
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=900, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    eos = tokenizer.eos_token_id
    assert frame_of(model, tokenizer) == Frame(eos, None)
    tokenizer.eos_token, tokenizer.bos_token = "<|im_end|>", "<|im_start|>"
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") == eos
    assert frame_of(model, tokenizer) == Frame(eos, None)  # and not the end of a chat's turn


def test_the_cache_is_used_again_and_its_key_is_text_tokenizer_and_frame(
    tmp_path, tokenizer, monkeypatch
):
    file, cache = tmp_path / "a.txt", tmp_path / "cache"
    file.write_text("Das Haus.\n")
    calls = []
    monkeypatch.setattr(
        packed_cache, "pack", lambda *args, **named: calls.append(1) or pack(*args, **named)
    )

    def again(start=0, **options):
        prepared(file, tokenizer, Frame(start, None), cache, **options)
        return len(calls)

    assert [again(), again()] == [1, 1]
    assert again(start=1) == 2
    file.write_text("Das Haus!\n")
    assert again() == 3
    tokenizer.add_tokens(["Haus"])
    assert [again(), again()] == [4, 4]
    assert again(layout="paragraphs") == 5
    assert not list(cache.glob(".saltlm-partial*"))


def test_a_killed_preparation_is_not_taken_for_a_finished_one(tmp_path, tokenizer, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "Das Haus."}) + "\n")

    def killed(documents, folder, n_ids, **named):
        pack(documents, folder, n_ids)
        raise KeyboardInterrupt

    monkeypatch.setattr(packed_cache, "pack", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared(file, tokenizer, Frame(0, None), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_what_a_killed_packing_left_is_removed_though_nothing_is_packed(tmp_path, tokenizer):
    file, cache = tmp_path / "a.txt", tmp_path / "cache"
    file.write_text("Haus und Fluss\n")
    prepared(file, tokenizer, Frame(0, None), cache)
    left = cache / ".saltlm-partial-abc"
    left.mkdir()
    os.utime(left, (0, 0))
    prepared(file, tokenizer, Frame(0, None), cache)
    assert not left.exists()


def test_no_document(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="a.txt holds no document"):
        prepared(tmp_path / "a.txt", tokenizer, Frame(0, None), tmp_path / "c")


def test_a_full_disk_and_a_place_that_is_none_are_named(tmp_path, tokenizer, monkeypatch):
    (tmp_path / "a.txt").write_text("Das Haus.\n")
    with pytest.raises(OutputError, match="a.txt/c: Not a directory\nhint: .* --set cache=DIR"):
        prepared(tmp_path / "a.txt", tokenizer, Frame(0, None), tmp_path / "a.txt" / "c")

    def full(documents, folder, n_ids, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packed_cache, "pack", full)
    with pytest.raises(OutputError, match="No space left .*\nhint: free some space, or .* cache="):
        prepared(tmp_path / "a.txt", tokenizer, Frame(0, None), tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())
