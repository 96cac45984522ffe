"""Tokens are shown so that everything in them can be seen."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.shown import shown_form, shown_tokens, visible
from saltlm.tokenizer.vocabulary import Form, form_spelled, read_vocabulary


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" Haus", "␣Haus"),
        ("a\nb\t", "a␊b␉"),
        ("\u202eabc", "⟨U+202E⟩abc"),  # an override of the direction
        ("\u0301e", "◌\u0301e"),  # a mark without a letter
        ("e\u0301", "e\u0301"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that is spelling
        ("\u200d", "⟨U+200D⟩"),  # and one that is nothing else
        ("\u00a0", "⟨U+00A0⟩"),
        ("<b>&\"'", "<b>&\"'"),  # escaping is the page's
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_named(text, shown):
    assert visible(text) == shown


@given(st.text(max_size=6))
def test_nothing_in_it_acts_on_what_stands_around(text):
    shown = visible(text)
    allowed = {"\u200c", "\u200d"}
    assert not [c for c in shown if unicodedata.category(c)[0] in "CZ" and c not in allowed]
    assert "\n" not in shown


def test_halves_of_characters_are_hexadecimal():
    assert shown_form(Form(b"\xc3", True)) == "␣⟨C3⟩"
    assert shown_form(Form("für".encode(), True)) == "␣für"
    assert shown_form(form_spelled("ĠfÃ¼r", "byte-level BPE")) == "␣für"
    assert shown_form(form_spelled("▁für", "SentencePiece BPE")) == "␣für"


def test_special_tokens_stand_as_they_are_written(tokenizers_by_family):
    vocabulary = read_vocabulary(Definition.of(tokenizers_by_family["bytelevel"]))
    shown = shown_tokens(vocabulary)
    assert shown[vocabulary.strings.index("<|im_start|>")] == "<|im_start|>"
    assert len(shown) == len(vocabulary)
