"""Ids in the configuration files follow their tokens."""

import pytest

from saltlm.models.config_json import (
    renumber,
    says_tied,
    set_dtype,
    set_tied,
    set_vocabulary_size,
    with_default_ids,
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
    new, notes = renumber(old, source, target, {})
    assert notes == []
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
    new, _ = renumber(
        old, source, target, {"eos": 7, "bos": 8, "pad": 9}, overridden=frozenset(["bos"])
    )
    assert new["eos_token_id"] == new["text_config"]["eos_token_id"] == 7
    assert new["bos_token_id"] == 8
    assert new["mask_token_id"] is new["pad_token_id"] is None


def test_lists_of_ordinary_tokens_are_dropped_and_said(source, target):
    assert renumber({"suppress_tokens": [5], "x": 1}, source, target, {}) == (
        {"x": 1},
        ["suppress_tokens is dropped: it lists ids of the old vocabulary"],
    )


def test_ids_that_are_left_to_the_class_are_written_out():
    file = {"bos_token_id": 5, "text_config": {"eos_token_id": None}}
    loaded = {"bos_token_id": 1, "pad_token_id": 0, "sep_token_id": None, "vocab_size": 9}
    loaded |= {"text_config": {"eos_token_id": 2, "pad_token_id": 3}, "boi_token_index": 4}
    file["id2label"] = loaded["id2label"] = {0: "LABEL_0"}  # as transformers loads its keys
    assert with_default_ids(file, loaded) == {
        "bos_token_id": 5,
        "pad_token_id": 0,
        "boi_token_index": 4,
        "text_config": {"eos_token_id": None, "pad_token_id": 3},
        "id2label": {0: "LABEL_0"},
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


def test_ids_are_followed_at_any_depth_in_lists_and_in_maps(source, target):
    """Phi-4-multimodal, Ovis2 and Emu3; a part with a vocabulary of its own keeps its ids."""
    bos, pad = target.token_to_id("<s>"), target.token_to_id("<pad>")
    old = {
        "vocab_size": 900,
        "vision_config": {"image_token_id": 1, "patch_size": 1, "deep": {"x_token_ids": [0, 1]}},
        "visual_indicator_token_ids": [1, 0, 1],
        "vocabulary_map": {"<s>": 0, "<pad>": 1, "<mask>": source.token_to_id("<mask>")},
        "im_start_id": 0,
        "image_token_index": -200,
        "talker_config": {"vocab_size": 60, "codec_pad_id": 1, "pad_token_id": 1},
        "begin_id": source.token_to_id("<mask>"),
        "num_prompt_ids": 1,
    }
    new, notes = renumber(old, source, target, {})
    assert new == old | {
        "vision_config": {
            "image_token_id": pad,
            "patch_size": 1,
            "deep": {"x_token_ids": [bos, pad]},
        },
        "visual_indicator_token_ids": [pad, bos, pad],
        "vocabulary_map": {"<s>": bos, "<pad>": pad},
        "im_start_id": bos,
    }
    lost, unknown = notes
    assert lost.startswith("vocabulary_map: 1 of 3 tokens are not in the new vocabulary, such as")
    assert unknown == f"begin_id {old['begin_id']} may be a token id of the old vocabulary"
    assert renumber(old, source, target, {}, keeps_ids=True) == (old, [])
    assert renumber({"bos_token_id": 2**63}, source, target, {"bos": bos})[0] == {
        "bos_token_id": bos
    }
    moved, _ = renumber({"image_token_id": 905}, source, target, {}, surplus=(900, 50))
    assert moved == {"image_token_id": 55}


def test_every_part_says_the_new_size_and_whether_the_head_is_the_embedding():
    old = {
        "vision_config": {"vocab_size": 6, "vocab_offset": 90},
        "audio_config": {"vocab_size": 4, "vocab_offset": 96},
        "thinker_config": {"text_config": {"vocab_size": 100, "vocab_size_per_layer_input": 90}},
        "mirror": {"vocab_size": 100},
    }
    assert set_vocabulary_size(old, 70) == {
        "vision_config": {"vocab_size": 6, "vocab_offset": 70},
        "audio_config": {"vocab_size": 4, "vocab_offset": 76},
        "thinker_config": {"text_config": {"vocab_size": 70, "vocab_size_per_layer_input": 70}},
        "mirror": {"vocab_size": 70},
    }
    mixed = {"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}, "x": {}}
    assert says_tied(mixed) == {True, False}
    for is_tied in (True, False):
        assert says_tied(set_tied(mixed, is_tied)) == {is_tied}
    assert set_tied({"text_config": {}}, True) == {"text_config": {}, "tie_word_embeddings": True}


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
