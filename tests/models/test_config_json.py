"""Ids in the configuration files follow their tokens."""

import logging

import pytest

from saltlm.models.config_json import (
    renumber,
    set_dtype,
    set_vocabulary_size,
    with_default_ids,
    without_pad,
)


@pytest.fixture
def source(tokenizers_by_family):
    return tokenizers_by_family["unigram"]


@pytest.fixture
def target(tokenizers_by_family):
    """It shares <s>, </s>, <unk> and <pad> with the source, under other ids, but not <mask>."""
    return tokenizers_by_family["metaspace"]


def test_an_id_becomes_that_of_the_same_token(source, target):
    old = {"bos_token_id": 0, "eos_token_id": [2, 0], "hidden_size": 2}
    old |= {"text_config": {"pad_token_id": 1}, "image_token_index": 3}
    new = renumber(old, source, target, {})
    assert new == {
        "bos_token_id": target.token_to_id("<s>"),
        "eos_token_id": [target.token_to_id("</s>"), target.token_to_id("<s>")],
        "hidden_size": 2,
        "text_config": {"pad_token_id": target.token_to_id("<pad>")},
        "image_token_index": target.token_to_id("<unk>"),
    }


def test_a_token_that_is_gone_leaves_its_role_to_another(source, target):
    gone = source.token_to_id("<mask>")
    old = {"eos_token_id": gone, "mask_token_id": gone, "text_config": {"eos_token_id": gone}}
    old |= {"bos_token_id": 0, "pad_token_id": None}
    new = renumber(
        old, source, target, {"eos": 7, "bos": 8, "pad": 9}, overridden=frozenset(["bos"])
    )
    assert new["eos_token_id"] == new["text_config"]["eos_token_id"] == 7
    assert new["bos_token_id"] == 8
    assert new["mask_token_id"] is new["pad_token_id"] is None


def test_lists_of_ordinary_tokens_are_dropped_and_said(source, target, caplog):
    with caplog.at_level(logging.WARNING):
        assert renumber({"suppress_tokens": [5], "x": 1}, source, target, {}) == {"x": 1}
    assert "suppress_tokens is dropped: it lists ids of the old" in caplog.text


def test_ids_that_are_left_to_the_class_are_written_out():
    file = {"bos_token_id": 5, "text_config": {"eos_token_id": None}}
    loaded = {"bos_token_id": 1, "pad_token_id": 0, "sep_token_id": None, "vocab_size": 9}
    loaded |= {"text_config": {"eos_token_id": 2, "pad_token_id": 3}, "boi_token_index": 4}
    assert with_default_ids(file, loaded) == {
        "bos_token_id": 5,
        "pad_token_id": 0,
        "boi_token_index": 4,
        "text_config": {"eos_token_id": None, "pad_token_id": 3},
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"vocab_size": 5, "n_embd": 5}, {"vocab_size": 9, "n_embd": 5}),
        ({"text_config": {"vocab_size": 5}}, {"text_config": {"vocab_size": 9}}),
        ({"text_config": {}}, {"text_config": {"vocab_size": 9}}),
        ({"model_type": "gpt2"}, {"model_type": "gpt2", "vocab_size": 9}),
    ],
)
def test_the_number_of_rows_goes_where_it_belongs(old, new):
    assert set_vocabulary_size(old, 9) == new


def test_pad_is_left_out_wherever_it_is_named():
    old = {"pad_token_id": 1, "text_config": {"pad_token_id": 1}, "vision_config": {"x": 1}}
    assert without_pad(old) == {
        "pad_token_id": None,
        "text_config": {"pad_token_id": None},
        "vision_config": {"x": 1},
    }
    assert without_pad({"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"dtype": "float16"}),
        ({"dtype": "float32"}, {"dtype": "float16"}),
        ({"torch_dtype": "float32"}, {"torch_dtype": "float16"}),
        (
            {"dtype": "float32", "vision_config": {"torch_dtype": "float32"}, "text_config": {}},
            {"dtype": "float16", "vision_config": {"torch_dtype": "float16"}, "text_config": {}},
        ),
    ],
)
def test_the_dtype_is_said_where_it_was(old, new):
    assert set_dtype(old, "float16") == new
