"""Vocabularies in llama.cpp's terms: what each family becomes, and what has no name there."""

import base64

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel

from saltlm.errors import VocabularyError
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.llama_cpp import TokenKind, llama_cpp_vocabulary

N, U, C, D, P, B = (
    TokenKind.NORMAL,
    TokenKind.UNKNOWN,
    TokenKind.CONTROL,
    TokenKind.USER_DEFINED,
    TokenKind.UNUSED,
    TokenKind.BYTE,
)
# As they stand in the tokenizer.json of the models.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace("{1,3}", "")
NEMO = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern):
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def byte_level(steps, **model):
    letters = {letter: id for id, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(BPE(letters, [], **model))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


GPT_2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


@pytest.mark.parametrize(
    ("steps", "ignore_merges", "name"),
    [
        ([GPT_2], False, "gpt-2"),
        ([pre_tokenizers.Digits(individual_digits=True), GPT_2], False, "smollm"),
        (split(LLAMA_3), True, "llama-bpe"),
        (split(LLAMA_3), False, "dbrx"),
        (split(QWEN_2), False, "qwen2"),
        (split(NEMO), True, "tekken"),
        (split(GPT_4O), False, "gpt-4o"),
    ],
)
def test_the_pre_tokenizer_is_known_by_its_definition(steps, ignore_merges, name):
    tokenizer = byte_level(steps, ignore_merges=ignore_merges)
    found = llama_cpp_vocabulary(tokenizer, 256)
    assert (found.model, found.pre, set(found.kinds)) == ("gpt2", name, {N})


@pytest.mark.parametrize(
    ("steps", "ignore_merges"),
    [
        ([pre_tokenizers.ByteLevel(add_prefix_space=True)], False),
        ([pre_tokenizers.Digits(individual_digits=False), GPT_2], False),
        ([GPT_2], True),
        (split(QWEN_2 + "|x"), False),
        ([pre_tokenizers.Punctuation(), GPT_2], False),
    ],
)
def test_a_pre_tokenizer_without_a_name_is_refused(steps, ignore_merges):
    tokenizer = byte_level(steps, ignore_merges=ignore_merges)
    with pytest.raises(VocabularyError, match="no name for this pre-tokenizer: BPE.*ByteLevel"):
        llama_cpp_vocabulary(tokenizer, 256)


def test_a_kind_of_vocabulary_that_it_has_not_is_refused():
    tokenizer = Tokenizer(WordLevel({"a": 0}, "a"))
    with pytest.raises(VocabularyError, match="no tokenizer for a WordLevel of this kind"):
        llama_cpp_vocabulary(tokenizer, 1)
    tokenizer.pre_tokenizer = GPT_2
    with pytest.raises(VocabularyError, match="no tokenizer for a byte-level WordLevel"):
        llama_cpp_vocabulary(tokenizer, 1)


def test_unigram_keeps_scores_kinds_and_the_normalizers_table():
    table = base64.b64encode(b"\x04\0\0\0abcd\0").decode()
    definition = Definition.of(Tokenizer.from_str(UNIGRAM % table))
    found = llama_cpp_vocabulary(definition.tokenizer, 7)
    assert (found.model, found.pre) == ("t5", "default")
    assert found.tokens == ("<unk>", "▁a", "<0x61>", "<s>", "  ", "[PAD5]", "[PAD6]")
    assert found.kinds == (U, N, B, C, D, P, P)
    assert found.scores == (0.0, -1.5, -9.0, 0.0, 0.0, 0.0, 0.0)
    assert found.character_map == b"\x04\0\0\0abcd\0"
    assert found.flags == {"add_space_prefix": True, "remove_extra_whitespaces": False}
    cut = definition.replace(pre_tokenizer={"type": "WhitespaceSplit"}).tokenizer
    flags = {"add_space_prefix": False, "remove_extra_whitespaces": True}
    assert llama_cpp_vocabulary(cut, 7).flags == flags


UNIGRAM = """{
  "version": "1.0", "truncation": null, "padding": null, "decoder": null, "post_processor": null,
  "added_tokens": [
    {"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true},
    {"id": 4, "content": "  ", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": false}],
  "normalizer": {"type": "Precompiled", "precompiled_charsmap": "%s"},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                    "split": true},
  "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true,
            "vocab": [["<unk>", 0.0], ["▁a", -1.5], ["<0x61>", -9.0]]}}
"""


def test_word_piece_marks_the_beginnings_of_words(tokenizers_by_family):
    tokenizer = Tokenizer.from_str(tokenizers_by_family["wordpiece"].to_str())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=None)
    found = llama_cpp_vocabulary(tokenizer, tokenizer.get_vocab_size())
    assert found.flags == {"normalizer.lowercase": True, "normalizer.strip_accents": True}
    for id, (token, kind) in enumerate(zip(found.tokens, found.kinds, strict=True)):
        piece = tokenizer.id_to_token(id)
        if kind == N:
            assert token == (piece[2:] if piece.startswith("##") else f"▁{piece}")
        else:
            assert token == piece
    assert found.kinds[tokenizer.token_to_id("[UNK]")] == U
    assert found.kinds[tokenizer.token_to_id("[CLS]")] == C
