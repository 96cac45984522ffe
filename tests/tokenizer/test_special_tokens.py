"""Special tokens by role, from the files of a model directory and from tokenizers in memory."""

import json
import logging

import pytest
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from saltlm.errors import CheckpointError
from saltlm.tokenizer.special_tokens import (
    Framing,
    read_framing,
    read_special_tokens,
    special_tokens_of,
)

TEMPLATE = "{% for m in messages %}<|user|>{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture
def unigram(tokenizers_by_family) -> Tokenizer:
    return tokenizers_by_family["unigram"]


@pytest.fixture
def chatty(tokenizers_by_family) -> Tokenizer:
    """A tokenizer with added tokens that are not marked as special."""
    tokenizer = Tokenizer.from_str(tokenizers_by_family["bytelevel"].to_str())
    tokenizer.add_tokens(["<|user|>", "<|unused|>", "  "])
    return tokenizer


def write(directory, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        suffix = ".jinja" if name == "chat_template" else ".json"
        (directory / (name + suffix)).write_text(text, encoding="utf-8")
    return directory


def roles_of(special):
    return {role: token for role, token in special.roles.items() if token}


def test_roles_as_strings_or_fields(tmp_path, unigram):
    write(
        tmp_path,
        tokenizer_config={"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}},
        special_tokens_map={"eos_token": "<s>", "cls_token": "<s>", "pad_token": None},
    )
    special = read_special_tokens(tmp_path, unigram)
    assert roles_of(special) == {"bos": "<s>", "eos": "</s>", "cls": "<s>"}
    assert special.roles["pad"] is None
    assert special.tokens == ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def test_an_ordinary_piece_with_a_role_is_special(tmp_path, unigram):
    write(tmp_path, tokenizer_config={"pad_token": "!"})
    assert "!" in read_special_tokens(tmp_path, unigram).tokens


def test_roles_from_ids_where_no_file_names_them(tmp_path, chatty):
    text_config = {"bos_token_id": 1, "eos_token_id": 0}
    write(
        tmp_path,
        config={"text_config": text_config, "pad_token_id": 70, "eos_token_id": 2},
        generation_config={"eos_token_id": [2, 0], "unk_token_id": None, "bos_token_id": -1},
    )
    special = read_special_tokens(tmp_path, chatty)
    assert roles_of(special) == {"eos": "<|im_end|>"}
    assert special.config_roles == {"eos": ("<|im_end|>", "<|endoftext|>")}
    assert chatty.id_to_token(70) not in special.tokens  # an ordinary piece stays one


def test_ids_do_not_overrule_the_tokenizers_files(tmp_path, chatty):
    write(tmp_path, tokenizer_config={"eos_token": "<|im_end|>"}, config={"bos_token_id": 1})
    special = read_special_tokens(tmp_path, chatty)
    assert roles_of(special) == {"eos": "<|im_end|>"}
    assert special.config_roles == {"bos": ("<|im_start|>",)}


def test_control_tokens_of_the_chat_template(tmp_path, chatty):
    assert "<|user|>" not in read_special_tokens(tmp_path, chatty).tokens
    write(tmp_path, tokenizer_config={"chat_template": TEMPLATE + "  "})
    special = read_special_tokens(tmp_path, chatty)
    assert special.tokens == ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>")
    assert special.chat_templates == {"default": TEMPLATE + "  "}
    write(tmp_path, chat_template="{{ messages }}")
    assert read_special_tokens(tmp_path, chatty).chat_templates == {"default": "{{ messages }}"}


def test_several_chat_templates(tmp_path, chatty):
    both = [{"name": "default", "template": "{{ a }}"}, {"name": "tools", "template": TEMPLATE}]
    write(tmp_path, tokenizer_config={"chat_template": both})
    special = read_special_tokens(tmp_path, chatty)
    assert special.chat_templates == {"default": "{{ a }}", "tools": TEMPLATE}
    assert "<|user|>" in special.tokens
    folder = tmp_path / "additional_chat_templates"
    folder.mkdir()
    (folder / "rag.jinja").write_text("{{ rag }}")
    assert read_special_tokens(tmp_path, chatty).chat_templates == {"rag": "{{ rag }}"}


@pytest.mark.parametrize(
    "extra",
    [
        {"additional_special_tokens": ["<|user|>"]},
        {"extra_special_tokens": {"image_token": "<|user|>"}},
        {"image_token": {"content": "<|user|>"}, "add_bos_token": True},
    ],
)
def test_special_tokens_without_a_role(tmp_path, chatty, extra):
    write(tmp_path, tokenizer_config=extra)
    assert read_special_tokens(tmp_path, chatty).tokens[-1] == "<|user|>"


def test_settings_that_belong_to_the_model(tmp_path, unigram):
    write(tmp_path, tokenizer_config={"model_max_length": 512, "padding_side": None, "legacy": 1})
    assert read_special_tokens(tmp_path, unigram).settings == {"model_max_length": 512}


def test_role_token_outside_the_vocabulary_is_ignored(tmp_path, unigram, caplog):
    write(tmp_path, tokenizer_config={"pad_token": "<padding>", "bos_token": "<s>"})
    with caplog.at_level(logging.WARNING):
        special = read_special_tokens(tmp_path, unigram)
    assert special.roles["pad"] is None
    assert "the pad token '<padding>' is not in the vocabulary" in caplog.text


def test_tokens_that_are_only_put_around_texts(tokenizers_by_family):
    tokenizer = Tokenizer.from_str(tokenizers_by_family["metaspace"].to_str())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="▁das $A", pair="▁das $A $B", special_tokens=[("▁das", 100)]
    )
    assert "▁das" in special_tokens_of(tokenizer).tokens


def test_error_broken_json(tmp_path, unigram):
    write(tmp_path, tokenizer_config="{")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json cannot be read as JSON"):
        read_special_tokens(tmp_path, unigram)
    write(tmp_path, tokenizer_config={"chat_template": 5})
    with pytest.raises(CheckpointError, match=r"says of its tokens is damaged: TypeError"):
        read_special_tokens(tmp_path, unigram)
    write(tmp_path, tokenizer_config=[])
    with pytest.raises(CheckpointError, match="holds a list, not a JSON object"):
        read_special_tokens(tmp_path, unigram)


def test_tokenizers_in_memory(tokenizers_by_family, roles_by_family):
    tokenizer, roles = tokenizers_by_family["wordpiece"], roles_by_family["wordpiece"]
    loaded = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles, padding_side="left")
    special = special_tokens_of(loaded)
    assert roles_of(special) == {key.removesuffix("_token"): roles[key] for key in roles}
    assert special.tokens == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert special.settings["padding_side"] == "left"
    plain = special_tokens_of(tokenizer)
    assert roles_of(plain) == {"unk": "[UNK]"}
    assert plain.tokens == special.tokens


def test_chat_templates_in_memory(chatty):
    loaded = PreTrainedTokenizerFast(tokenizer_object=chatty, chat_template=TEMPLATE)
    special = special_tokens_of(loaded)
    assert special.chat_templates == {"default": TEMPLATE}
    assert special.tokens[-1] == "<|user|>"
    loaded.chat_template = {"tools": TEMPLATE}
    assert special_tokens_of(loaded).chat_templates == {"tools": TEMPLATE}


def test_directory_and_memory_agree(
    tmp_path, tokenizers_by_family, roles_by_family, save_tokenizer_dir
):
    for family, tokenizer in tokenizers_by_family.items():
        directory = save_tokenizer_dir(tokenizer, tmp_path / family, **roles_by_family[family])
        loaded = PreTrainedTokenizerFast.from_pretrained(directory)
        read, held = read_special_tokens(directory, tokenizer), special_tokens_of(loaded)
        assert (read.roles, read.tokens) == (held.roles, held.tokens)


FRAMES = {
    "bytelevel": Framing((("$A", 0),), (("$A", 0), ("$B", 1))),
    "sentencepiece": Framing((("<s>", 0), ("$A", 0)), (("<s>", 0), ("$A", 0), ("$B", 1))),
    "unigram": Framing(
        (("<s>", 0), ("$A", 0), ("</s>", 0)),
        (("<s>", 0), ("$A", 0), ("</s>", 0), ("$B", 1), ("</s>", 0)),
    ),
}


@pytest.mark.parametrize("family", FRAMES)
def test_framing(tokenizers_by_family, family):
    assert read_framing(tokenizers_by_family[family]) == FRAMES[family]


def test_framing_as_transformers_sets_it(unigram):
    loaded = PreTrainedTokenizerFast(
        tokenizer_object=unigram, bos_token="<s>", eos_token="</s>", add_bos_token=True
    )
    frame = (("<s>", 0), ("$A", 0))
    assert read_framing(loaded.backend_tokenizer) == Framing(frame, (*frame, ("<s>", 1), ("$B", 1)))


def test_framing_ignores_padding_and_many_pieces(unigram):
    tokenizer = Tokenizer.from_str(unigram.to_str())
    tokenizer.enable_padding(length=12, pad_token="<pad>", pad_id=1)
    assert read_framing(tokenizer) == FRAMES["unigram"]
    cut = json.loads(unigram.to_str())
    cut["model"]["vocab"] = [["" if p == "▁a" else p, s] for p, s in cut["model"]["vocab"]]
    tokenizer = Tokenizer.from_str(json.dumps(cut))
    assert tokenizer.encode("a", add_special_tokens=False).tokens == ["▁", "a"]
    assert read_framing(tokenizer) == FRAMES["unigram"]


def test_framing_of_a_vocabulary_without_the_probe():
    tokenizer = Tokenizer(models.BPE(vocab={"x": 0, "<s>": 1}, merges=[]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    assert read_framing(tokenizer).single == (("<s>", 0), ("$A", 0))
