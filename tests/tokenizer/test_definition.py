"""A definition says what its file says, is parsed once, and is never edited."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

import saltlm
from saltlm.tokenizer.definition import Definition
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import write_pair

SOURCES = Path(saltlm.__file__).parent
FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_it_says_is_what_the_tokenizer_does(tokenizers_by_family, corpus, family):
    tokenizer = tokenizers_by_family[family]
    definition = Definition.of(tokenizer)
    assert dict(definition.ids) == tokenizer.get_vocab()
    assert dict(definition.pieces) == {
        id: piece for piece, id in tokenizer.get_vocab(with_added_tokens=False).items()
    }
    assert list(definition.pieces) == sorted(definition.pieces)
    assert definition.tokenizer is tokenizer
    built = definition.build()
    assert built is not tokenizer
    # Not the text: reading a score and writing it again may change its last digit.
    for line in corpus:
        assert built.encode(line).ids == tokenizer.encode(line).ids
    unknown = definition.unknown_id
    assert unknown == -1 or tokenizer.id_to_token(unknown) == definition.unknown


@pytest.mark.parametrize(
    ("family", "unknown", "prefix", "mark", "bytes_spelled"),
    [
        ("bytelevel", None, "", "Ġ", True),
        ("sentencepiece", "<unk>", "", "▁", True),
        ("metaspace", "<unk>", "", "▁", False),
        ("unigram", "<unk>", "", "▁", False),
        ("wordpiece", "[UNK]", "##", "", False),
    ],
)
def test_properties(tokenizers_by_family, family, unknown, prefix, mark, bytes_spelled):
    definition = Definition.of(tokenizers_by_family[family])
    found = (definition.unknown, definition.prefix, definition.mark, definition.spells_everything)
    assert found == (unknown, prefix, mark, bytes_spelled)


def test_steps_are_unfolded():
    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    inner = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "_")])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), inner])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("_", " "), decoders.Fuse()])
    definition = Definition.of(tokenizer)
    types = [step["type"] for step in definition.normalizer_steps]
    assert types == ["Lowercase", "NFC", "Replace"]
    assert [step["type"] for step in definition.pre_tokenizer_steps] == ["Whitespace"]
    assert [step["type"] for step in definition.decoder_steps] == ["Replace", "Fuse"]
    assert definition.post_processor_steps == ()
    assert definition.mark == "_"
    assert repr(definition) == "Definition(BPE, 1 pieces, 0 added)"


def test_a_changed_definition_is_a_new_one(tokenizers_by_family):
    definition = Definition.of(tokenizers_by_family["unigram"])
    before = json.dumps(definition.json)
    changed = definition.with_model(unk_id=0).replace(normalizer=None)
    assert (changed.unknown, changed.normalizer_steps) == ("<s>", ())
    assert changed.model["vocab"] is definition.model["vocab"]
    assert changed.tokenizer.normalizer is None
    assert json.dumps(definition.json) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        definition.json = {}


def test_a_transfer_parses_each_tokenizer_once(tokenizers_by_family, tmp_path, monkeypatch):
    """The source's, the PLM's, the pruned one, the new one, and what transformers loads of it."""
    parsed = []
    original = Definition.of.__func__
    monkeypatch.setattr(
        Definition,
        "of",
        classmethod(lambda cls, tokenizer: parsed.append(1) or original(cls, tokenizer)),
    )
    source, plm = write_pair(tmp_path, tokenizers_by_family)
    (tmp_path / "de.txt").write_text("Das kleine Modell der Zielsprache\n")
    options = {"corpus": [tmp_path / "de.txt"], "prune_to": 600, "min_shared": 5}
    transfer(source, plm, tmp_path / "out", **options)
    assert len(parsed) == 5


def test_only_a_definition_parses():
    """A hash of the text is not a parse."""
    places = {
        str(file.relative_to(SOURCES))
        for file in SOURCES.rglob("*.py")
        if re.search(
            r"loads\([^)]*to_str\(|loads\([^)]*read_text[^)]*tokenizer\.json", file.read_text()
        )
    }
    assert places == {"tokenizer/definition.py"}
