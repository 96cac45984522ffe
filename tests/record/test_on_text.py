"""What two tokenizers make of text is counted as they cut it."""

import torch

from saltlm.record.arrays import Origin
from saltlm.record.on_text import text_record
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.kinds import script_of
from saltlm.tokenizer.vocabulary import read_vocabulary


def test_the_counts_are_those_of_cutting_each_text(tokenizers_by_family, corpus):
    source, new = (tokenizers_by_family[name] for name in ("bytelevel", "unigram"))
    vocabularies = [read_vocabulary(Definition.of(one)) for one in (source, new)]
    origin = torch.zeros(len(vocabularies[1]), dtype=torch.uint8)
    origin[::2] = Origin.MADE
    found = text_record(corpus, (source, vocabularies[0]), (new, vocabularies[1]), origin)

    cut = [new.encode(text, add_special_tokens=False).ids for text in corpus]
    ids = [id for one in cut for id in one]
    assert found["new_tokens"] == len(ids)
    old = [source.encode(text, add_special_tokens=False).ids for text in corpus]
    assert found["source_tokens"] == sum(map(len, old))
    assert (found["documents"], found["words"]) == (
        len(corpus),
        sum(len(text.split()) for text in corpus),
    )
    assert found["origins"] == {
        "made": sum(id % 2 == 0 for id in ids),
        "shared": sum(id % 2 == 1 for id in ids),
    }
    latin = [id for id in ids if script_of(vocabularies[1].forms[id]) == "Latin"]
    assert sum(found["scripts"]["Latin"].values()) == len(latin)

    savings = [one["count"] * (one["pieces"] - 1) for one in found["earners"]]
    assert savings == sorted(savings, reverse=True)
    assert all(
        one["id"] % 2 == 0 and one["count"] == ids.count(one["id"]) for one in found["earners"]
    )
    assert found["samples"]
    for sample in found["samples"]:
        assert any(sample["text"] in text for text in corpus)
        assert sample["ids"] == new.encode(sample["text"], add_special_tokens=False).ids
        assert "".join(sample["new"]).replace("␣", " ").strip() == sample["text"]


def test_of_much_text_a_part_is_read(tokenizers_by_family, monkeypatch):
    tokenizer = tokenizers_by_family["bytelevel"]
    side = (tokenizer, read_vocabulary(Definition.of(tokenizer)))
    origin = torch.zeros(len(side[1]), dtype=torch.uint8)
    monkeypatch.setattr("saltlm.record.on_text._MOST_CHARACTERS", 100)
    monkeypatch.setattr("saltlm.record.on_text._LONGEST", 40)
    endless = ("a b " * 20 for _ in iter(int, 1))
    found = text_record(endless, side, side, origin)
    assert (found["documents"], found["bytes"]) == (3, 120)
