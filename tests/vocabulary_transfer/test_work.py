"""What a transfer does once stays done once: counted, not timed."""

import sys
from collections import Counter

import pytest

from saltlm.files import documents
from saltlm.models.checkpoint import Checkpoint
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import write_pair

PARSED, WRITTEN = {"Tokenizer.from_str", "Tokenizer.from_file"}, {"Tokenizer.to_str"}
DONE = {
    "replace": {"parsed": 6, "written": 5, "read": 2, "passes": 7},
    "swap": {"parsed": 9, "written": 6, "read": 2, "passes": 7},
}
"""What a transfer may do; who needs less, lowers it. Passes are openings of the corpus: most end at
its first documents."""


@pytest.mark.parametrize("mode", DONE)
def test_a_transfer_does_no_work_twice(tmp_path, tokenizers_by_family, corpus, monkeypatch, mode):
    """Tokenizers parsed and written out, tables read, and passes over the corpus."""
    pair = write_pair(tmp_path, tokenizers_by_family)
    (tmp_path / "text").write_text("\n".join(corpus))
    done: Counter[str] = Counter()

    def seen(_frame, event, called):
        if event == "c_call":
            name = getattr(called, "__qualname__", "")
            done["parsed"] += name in PARSED
            done["written"] += name in WRITTEN

    read, rows = Checkpoint.read, documents._rows

    def counted_read(checkpoint, name):
        done["read"] += 1
        return read(checkpoint, name)

    def counted_rows(source):
        done["passes"] += 1
        return rows(source)

    monkeypatch.setattr(Checkpoint, "read", counted_read)
    monkeypatch.setattr(documents, "_rows", counted_rows)
    options = {"prune_to": 300} if mode != "swap" else {}
    sys.setprofile(seen)
    try:
        transfer(*pair, tmp_path / "out", corpus=[tmp_path / "text"], mode=mode, **options)
    finally:
        sys.setprofile(None)
    assert dict(done) == DONE[mode]
