"""What a tokenizer does not give back is named, with what becomes of it."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from saltlm.tokenizer.losses import Loss, in_words, losses, new_losses
from saltlm.tokenizer.probes import PROBES


def byte_level(normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return tokenizer


def test_bytes_lose_nothing():
    assert losses(byte_level()) == []


@pytest.mark.parametrize(
    ("normalizer", "kinds"),
    [
        (normalizers.Replace("\n", " "), {"line breaks", "tabs", "code", "chat"}),
        (normalizers.Replace("\t", " "), {"tabs"}),
        (normalizers.Replace("  ", " "), {"runs of spaces", "spaces at the ends", "code"}),
        (normalizers.Replace("\u0301", ""), {"combining marks"}),
        (normalizers.Replace("\u200f", ""), {"bidi"}),
        (normalizers.Replace("שלום", "?"), {"scripts", "bidi"}),
        (normalizers.Replace("n't", "nt"), {"contractions"}),
        (normalizers.Replace("1234567", "1"), {"digits"}),
    ],
)
def test_what_is_rewritten_is_named(normalizer, kinds):
    found = losses(byte_level(normalizer))
    assert {loss.kind for loss in found} == kinds
    assert all(loss.text == PROBES[loss.kind] != loss.back for loss in found)


def test_what_the_source_loses_too_is_no_new_loss():
    tabs, dashes = (byte_level(normalizers.Replace(letter, " ")) for letter in ("\t", "n't"))
    assert [loss.kind for loss in new_losses(tabs, dashes)] == ["contractions"]
    assert new_losses(tabs, tabs) == []


def test_an_example_shows_the_first_difference():
    (loss,) = losses(byte_level(normalizers.Replace("\t", " ")))
    assert in_words([loss]) == r"tabs: 'name\tvalue\n\tinde' comes back as 'name value\n inde'"
    end = Loss("ends", "abc ", "abc")
    assert in_words([end]) == "ends: 'abc ' comes back as 'abc'"
    many = [Loss(f"kind {n}", "a", "b") for n in range(8)]
    assert in_words(many).startswith("kind 0, kind 1, kind 2, kind 3, kind 4, kind 5 and 2 more: ")
