"""Matching: a token takes the source row of the token that stands for the same text."""

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from saltlm.alignment.match import VocabularyMatch, match_vocabularies
from saltlm.config.transfer import SpecialTokensConfig
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.replace import replace_vocabulary
from saltlm.tokenizer.special_tokens import special_tokens_of
from saltlm.tokenizer.tokens import read_tokens
from saltlm.tokenizer.vocabulary import HOLE, SPECIAL, Vocabulary, read_vocabulary

FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]


def permuted(tokenizer: Tokenizer, seed: int) -> tuple[Tokenizer, list[int]]:
    """Return a copy whose ids are shuffled, and the old id of each new one."""
    definition = json.loads(tokenizer.to_str())
    model = definition["model"]
    old = list(range(len(model["vocab"])))
    random.Random(seed).shuffle(old)
    new = {id: place for place, id in enumerate(old)}
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][id] for id in old]
        model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = {piece: new[id] for piece, id in model["vocab"].items()}
    for token in definition["added_tokens"]:
        token["id"] = new.get(token["id"], token["id"])
    old += range(len(old), tokenizer.get_vocab_size())
    return Tokenizer.from_str(json.dumps(definition)), old


def match(plm: Vocabulary, source: Vocabulary, **options: object) -> VocabularyMatch:
    return match_vocabularies(
        plm,
        source,
        plm_ids=torch.arange(len(plm)),
        source_special_ids=torch.full((len(plm),), -1),
        **{"n_rows": len(source), **options},
    )


def matched(plm: Tokenizer, source: Tokenizer, **options: object) -> dict[str, str]:
    """Return the pairs as strings."""
    plm, source = read_vocabulary(Definition.of(plm)), read_vocabulary(Definition.of(source))
    ids = match(plm, source, **options).source_ids.tolist()
    return {plm.strings[i]: source.strings[id] for i, id in enumerate(ids) if id >= 0}


def bpe(pieces: list[str], *, byte_fallback: bool = False) -> Tokenizer:
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def byte_level(pieces: list[str]) -> Tokenizer:
    tokenizer = bpe(pieces)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    return tokenizer


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=5)
def test_permuted_copy_matches_itself(tokenizers_by_family, family, seed):
    tokenizer = tokenizers_by_family[family]
    copy, old = permuted(tokenizer, seed)
    plm, source = read_vocabulary(Definition.of(copy)), read_vocabulary(Definition.of(tokenizer))
    expected = [id if plm.kinds[new] != SPECIAL else -1 for new, id in enumerate(old)]
    assert match(plm, source).source_ids.tolist() == expected
    assert expected.count(-1) == plm.kinds.count(SPECIAL)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_with_its_permuted_copy_has_every_row_once(tokenizers_by_family, family):
    """With the special tokens by role, no token of the composed vocabulary is new."""
    tokenizer = tokenizers_by_family[family]
    copy, _ = permuted(tokenizer, seed=3)
    special = special_tokens_of(tokenizer)
    target = replace_vocabulary(
        read_tokens(Definition.of(copy), special_tokens_of(copy)),
        read_tokens(Definition.of(tokenizer), special),
        SpecialTokensConfig(),
    )
    found = match_vocabularies(
        read_vocabulary(Definition.of(copy)),
        read_vocabulary(Definition.of(tokenizer)),
        plm_ids=target.plm_ids,
        source_special_ids=target.source_special_ids,
        n_rows=tokenizer.get_vocab_size(),
    )
    assert sorted(found.source_ids.tolist()) == list(range(tokenizer.get_vocab_size()))
    names = [tokenizer.id_to_token(id) for id in found.source_ids.tolist()]
    assert names == [target.tokenizer.id_to_token(id) for id in range(len(names))]
    assert int(found.is_special.sum()) == len(special.tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_matched_tokens_have_one_form(tokenizers_by_family, family):
    source = read_vocabulary(Definition.of(tokenizers_by_family["bytelevel"]))
    plm = read_vocabulary(Definition.of(tokenizers_by_family[family]))
    found = match(plm, source).source_ids.tolist()
    assert all(plm.forms[i] == source.forms[id] for i, id in enumerate(found) if id >= 0)
    forms = set(source.forms) - {None}
    assert [id >= 0 for id in found] == [form in forms for form in plm.forms]
    assert sum(id >= 0 for id in found) > 300


def test_wordpiece_twins_keep_their_spelling(tokenizers_by_family):
    copy, _ = permuted(tokenizers_by_family["wordpiece"], seed=1)
    pairs = matched(copy, tokenizers_by_family["wordpiece"])
    assert pairs[","] == ","
    assert pairs["##,"] == "##,"
    assert matched(bpe(["▁a", ","]), copy)[","] == ","


def test_text_goes_before_byte_fallback():
    source = bpe(["<0x21>", "<0xC3>", "!", "▁"], byte_fallback=True)
    assert matched(bpe(["▁", "!"]), source) == {"▁": "▁", "!": "!"}
    assert matched(source, source)["<0x21>"] == "<0x21>"
    assert matched(byte_level(["!", "Ã", "Ġ"]), source) == {"!": "!", "Ã": "<0xC3>", "Ġ": "▁"}
    assert matched(byte_level(["!"]), bpe(["<0x21>"], byte_fallback=True)) == {"!": "<0x21>"}


def test_byte_fallback_finds_the_byte_of_a_byte_level_vocabulary():
    plm = bpe(["<0xC3>", "<0x0A>", "<0xFF>"], byte_fallback=True)
    assert matched(plm, byte_level(["Ã", "Ċ"])) == {"<0xC3>": "Ã", "<0x0A>": "Ċ"}


def test_lowest_id_of_equal_forms():
    source = byte_level(["a", "ĠĠ"])
    source.add_tokens(["  "])
    assert match(
        read_vocabulary(Definition.of(bpe(["▁▁"]))), read_vocabulary(Definition.of(source))
    ).source_ids.tolist() == [1]


def test_tokens_beyond_the_rows_have_nothing_to_copy():
    source = byte_level(["a", "b", "c"])
    assert matched(source, source, n_rows=2) == {"a": "a", "b": "b"}


def test_holes_match_nothing():
    holey = Tokenizer(models.BPE(vocab={"a": 0, "b": 2}, merges=[]))
    holey.pre_tokenizer = pre_tokenizers.ByteLevel()
    vocabulary = read_vocabulary(Definition.of(holey))
    assert vocabulary.kinds[1] == HOLE
    assert match(vocabulary, vocabulary).source_ids.tolist() == [0, -1, 2]


def test_symbols_match_regardless_of_the_space():
    plm, source = bpe(["▁7", "7", "▁,", "▁a", "▁€9"]), byte_level(["7", "Ġ,", "a", "âĤ¬9"])
    assert matched(plm, source) == {"7": "7", "▁,": "Ġ,"}
    assert matched(plm, source, mode="symbols") == {
        "▁7": "7",
        "7": "7",
        "▁,": "Ġ,",
        "▁€9": "âĤ¬9",
    }
    assert matched(bpe([","]), source, mode="symbols") == {",": "Ġ,"}


def test_exact_match_goes_before_symbols():
    source = byte_level(["7", "Ġ7"])
    assert matched(bpe(["▁7", "7"]), source, mode="symbols") == {"▁7": "Ġ7", "7": "7"}


def test_casefold_matches_after_exact():
    plm, source = bpe(["▁haus", "▁Haus", "Straße", "b"]), byte_level(["ĠHAUS", "ĠHaus", "strasse"])
    assert matched(plm, source) == {"▁Haus": "ĠHaus"}
    assert matched(plm, source, mode="casefold") == {
        "▁haus": "ĠHAUS",
        "▁Haus": "ĠHaus",
        "Straße": "strasse",
    }
    half = byte_level(["Ã"])  # has no case, and is no text
    assert matched(half, half, mode="casefold") == {"Ã": "Ã"}
    assert matched(half, byte_level(["ł"]), mode="symbols") == {}


def test_carried_special_tokens_take_their_own_row():
    plm = read_vocabulary(Definition.of(bpe(["▁a", "▁b"])))
    source = read_vocabulary(Definition.of(byte_level(["x", "Ġb", "Ġa"])))
    found = match_vocabularies(
        plm,
        source,
        plm_ids=torch.tensor([1, 0, -1]),
        source_special_ids=torch.tensor([-1, 0, 2]),
        n_rows=3,
    )
    assert found.source_ids.tolist() == [1, 0, 2]
    assert found.is_special.tolist() == [False, True, True]
    assert found.plm_ids.tolist() == [1, 0, -1]
