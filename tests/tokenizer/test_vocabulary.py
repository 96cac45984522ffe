"""Canonical forms: what a token stands for does not depend on how its family spells it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from saltlm.errors import VocabularyError
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import BYTE, HOLE, SPECIAL, TEXT, Form, read_vocabulary

FAMILIES = {
    "bytelevel": "byte-level BPE",
    "sentencepiece": "SentencePiece BPE",
    "metaspace": "SentencePiece BPE",
    "unigram": "Unigram",
    "wordpiece": "WordPiece",
}


def gpt2_letters() -> dict[int, str]:
    """GPT-2's byte alphabet, from its published definition."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + rank) for rank, byte in enumerate(others)}


def bpe(pieces: list[str], **options: object) -> Tokenizer:
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    return Tokenizer(models.BPE(vocab=vocabulary, merges=[], **options))


def byte_level(pieces: list[str]) -> Tokenizer:
    tokenizer = bpe(pieces)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def form(text: str) -> Form:
    return Form(text.removeprefix(" ").encode(), text.startswith(" "))


@pytest.mark.parametrize("family", FAMILIES)
def test_family_is_read_from_the_definition(tokenizers_by_family, family):
    assert read_vocabulary(Definition.of(tokenizers_by_family[family])).family == FAMILIES[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", [" für", " Haus", " في", " ở", "人", ",", "?"])
def test_families_agree_on_a_form(tokenizers_by_family, family, text):
    tokenizer = tokenizers_by_family[family]
    last = tokenizer.encode("das" + text, add_special_tokens=False).ids[-1]
    assert read_vocabulary(Definition.of(tokenizer)).forms[last] == form(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_forms_spell_the_text(tokenizers_by_family, corpus, family):
    """The forms of a line's tokens, written one after the other, are the line."""
    tokenizer = tokenizers_by_family[family]
    vocabulary = read_vocabulary(Definition.of(tokenizer))
    for line in corpus[:20]:
        ids = tokenizer.encode(line, add_special_tokens=False).ids
        forms = [vocabulary.forms[id] for id in ids]
        text = b"".join(b" " * form.begins_word + form.text for form in forms).decode().strip()
        if family == "wordpiece":  # does not say whether a space stood before a comma
            text, line = text.replace(" ", ""), line.replace(" ", "")
        assert text == line


@given(st.lists(st.binary(min_size=1, max_size=6), unique=True, max_size=40))
@settings(deadline=None, max_examples=60)
def test_byte_level_vocabulary_never_collapses(tokens):
    letters = gpt2_letters()
    vocabulary = read_vocabulary(
        Definition.of(byte_level(["".join(letters[b] for b in t) for t in tokens]))
    )
    written = [b" " * form.begins_word + form.text for form in vocabulary.forms]
    assert written == tokens
    assert len(set(vocabulary.forms)) == len(tokens)
    assert vocabulary.duplicates == {}


def test_partial_characters_stay_bytes():
    vocabulary = read_vocabulary(Definition.of(byte_level(["Ã", "ĠðŁ", "Ġ", "ĠĠ"])))
    assert vocabulary.forms == (
        Form(b"\xc3", False),
        Form(b"\xf0\x9f", True),
        Form(b"", True),
        Form(b" ", True),
    )


def test_byte_level_piece_outside_the_alphabet_is_literal():
    assert read_vocabulary(Definition.of(byte_level(["a b", "▁"]))).forms == (
        Form(b"a b", False),
        Form("▁".encode(), False),
    )


def test_byte_fallback_only_where_the_model_has_it(tokenizers_by_family):
    vocabulary = read_vocabulary(Definition.of(tokenizers_by_family["sentencepiece"]))
    id = vocabulary.strings.index("<0xC3>")
    assert vocabulary.kinds[id] == BYTE
    assert vocabulary.forms[id] == Form(b"\xc3", False)
    assert vocabulary.kinds.count(BYTE) == 256

    without = bpe(["▁a", "<0xC3>"])
    without.pre_tokenizer = pre_tokenizers.Metaspace()
    vocabulary = read_vocabulary(Definition.of(without))
    assert vocabulary.kinds[1] == TEXT
    assert vocabulary.forms[1] == Form(b"<0xC3>", False)


def test_mark_is_the_one_of_the_definition():
    tokenizer = bpe(["_a", "▁a", "__"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="_")
    assert read_vocabulary(Definition.of(tokenizer)).forms == (form(" a"), form("▁a"), form("  "))
    tokenizer = bpe(["▁a"])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    assert read_vocabulary(Definition.of(tokenizer)).forms == (form(" a"),)


def test_wordpiece_isolates_what_its_pre_tokenizer_isolates():
    pieces = ["[UNK]", ",", "##,", "人", "##人", "a", "##a", "##", "é"]
    tokenizer = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    inside = [Form(text.encode(), False) for text in (",", ",", "人", "人")]
    letters = [form(" a"), form("a"), form(" ##"), form(" é")]
    vocabulary = read_vocabulary(Definition.of(tokenizer))
    assert list(vocabulary.forms) == [None, *inside, *letters]
    assert vocabulary.duplicates == {form(","): (1, 2), form("人"): (3, 4)}

    tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    assert read_vocabulary(Definition.of(tokenizer)).forms[3] == form(" 人")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert read_vocabulary(Definition.of(tokenizer)).forms[1] == form(" ,")
    tokenizer.pre_tokenizer = None
    assert read_vocabulary(Definition.of(tokenizer)).forms[1] == form(" ,")


def test_added_tokens_are_literal_text():
    tokenizer = byte_level(["ĠĠ", "Ã©", "a"])
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("é"), AddedToken("Ġ")])
    vocabulary = read_vocabulary(Definition.of(tokenizer))
    assert vocabulary.forms[3:] == (form("  "), form("é"), form("Ġ"))
    assert vocabulary.duplicates == {form("  "): (0, 3), form("é"): (1, 4)}


def test_added_pieces_of_sentencepiece_keep_the_models_spelling():
    tokenizer = bpe(["▁▁", "a"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("\n\n")])
    assert read_vocabulary(Definition.of(tokenizer)).forms == (form("  "), form("a"), form("\n\n"))


def test_special_tokens_have_no_form(tokenizers_by_family):
    vocabulary = read_vocabulary(Definition.of(tokenizers_by_family["unigram"]))
    special = {
        string
        for string, kind, form in zip(
            vocabulary.strings, vocabulary.kinds, vocabulary.forms, strict=True
        )
        if kind == SPECIAL and form is None
    }
    assert special == {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
    named = read_vocabulary(
        Definition.of(tokenizers_by_family["unigram"]), special=["▁das", "not there"]
    )
    assert named.kinds.count(SPECIAL) == 6
    assert named.forms[named.strings.index("▁das")] is None


def test_unk_of_the_model_is_special_without_being_marked():
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert read_vocabulary(Definition.of(tokenizer)).kinds == bytes([SPECIAL, TEXT])


def test_unused_ids_are_holes():
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 3}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    vocabulary = read_vocabulary(Definition.of(tokenizer))
    assert vocabulary.kinds == bytes([TEXT, HOLE, HOLE, TEXT])
    assert vocabulary.strings == ("a", "", "", "b")
    assert vocabulary.forms[1] is None
    assert len(vocabulary) == 4


def test_error_no_mark():
    tokenizer = bpe(["a", "b"])
    tokenizer.normalizer = normalizers.Replace("\u200d", " ")  # as XLM-R: it marks nothing
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(VocabularyError, match="BPE tokenizer has no mark for where words begin"):
        read_vocabulary(Definition.of(tokenizer))


def test_pieces_that_end_words_count_as_beginning_them():
    read = read_vocabulary(Definition.of(bpe(["a", "a</w>"], end_of_word_suffix="</w>")))
    assert read.family == "BPE with ends of words"
    assert read.forms[-2:] == (Form(b"a", False), Form(b"a", True))


def test_error_word_level():
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(VocabularyError, match="the tokenizer is a WordLevel model"):
        read_vocabulary(Definition.of(tokenizer))
