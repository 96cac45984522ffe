"""The tokenizer of a directory is what its files say, whatever class they name."""

import base64
import json
import shlex

import pytest
import transformers as hf
from tokenizers import Tokenizer, pre_tokenizers

from conftest import TRAINERS
from saltlm.errors import CheckpointError, VocabularyError
from saltlm.tokenizer import load
from saltlm.tokenizer.compare import (
    differing_probes,
    is_taken_as_it_stands,
    load_with_transformers,
)
from saltlm.tokenizer.declared import FLAGS, read_declared
from saltlm.tokenizer.load import read_tokenizer
from saltlm.tokenizer.probes import PROBES, WHITE_SPACE

BERT = {"model_type": "bert"}


def write(directory, config, settings=None, tokenizer=None):
    (directory / "config.json").write_text(json.dumps(config))
    if settings is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    if tokenizer is not None:
        tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def cut(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).tokens


def digits_apart():
    tokenizer = TRAINERS["bytelevel"]()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def test_ids_that_would_take_gigabytes_are_refused_before_transformers_reads_them(tmp_path):
    load.check_loadable(tmp_path)
    file = tmp_path / "tokenizer.json"
    TRAINERS["wordpiece"]().save(str(file))
    load.check_loadable(tmp_path)
    data = json.loads(file.read_text())
    data["model"]["vocab"]["x"] = 2**21
    file.write_text(json.dumps(data))
    with pytest.raises(VocabularyError, match="but the id 2,097,152"):
        load.check_loadable(tmp_path)


def test_a_class_that_is_no_name_is_told(tmp_path):
    write(tmp_path, BERT, {"tokenizer_class": 5})
    with pytest.raises(VocabularyError, match="the tokenizer of .* is damaged: AttributeError"):
        read_declared(tmp_path)


@pytest.mark.parametrize(
    ("config", "settings", "tokenizer", "named"),
    [
        ({"model_type": "llama"}, {"tokenizer_class": "GPT2Tokenizer"}, digits_apart, "digits"),
        (BERT, None, TRAINERS["wordpiece"], "upper case"),
        (BERT, {"tokenizer_class": "BertTokenizerFast"}, TRAINERS["wordpiece"], "upper case"),
        ({"model_type": "gpt2"}, None, TRAINERS["metaspace"], "words"),
    ],
    ids=["digits of a GPT-2 class", "cased BERT", "cased BERT, class named", "Metaspace GPT-2"],
)
def test_tokenizer_json_is_the_truth(tmp_path, config, settings, tokenizer, named):
    """Cut as tokenizer.json says, and said where transformers cuts otherwise."""
    made = tokenizer()
    write(tmp_path, config, settings, made)
    read, notes, _ = read_tokenizer(tmp_path)
    for text in PROBES.values():
        assert cut(read, text) == cut(made, text)
    (note,) = notes
    assert f"transformers {hf.__version__} loads another tokenizer from {tmp_path}" in note
    assert named in note


@pytest.mark.parametrize("family", TRAINERS)
def test_nothing_is_said_where_all_agree(tmp_path, family):
    write(tmp_path, {}, {"tokenizer_class": "PreTrainedTokenizerFast"}, TRAINERS[family]())
    assert read_tokenizer(tmp_path).notes == ()


PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}


@pytest.mark.parametrize("model_type", ["llama", "bert", "xlm-roberta", "no_such_type"])
def test_what_transformers_takes_as_it_stands_is_read_once(tmp_path, monkeypatch, model_type):
    made = TRAINERS["wordpiece"]()
    token = made.get_added_tokens_decoder()[0]
    flags = {flag: getattr(token, flag) for flag in FLAGS}
    listed = {"0": {"content": token.content, **flags}}
    settings = {**PLAIN, "unk_token": token.content, "added_tokens_decoder": listed}
    write(tmp_path, {"model_type": model_type}, settings, made)
    loaded = load_with_transformers(tmp_path)
    assert differing_probes(made, loaded) == []
    monkeypatch.setattr(load, "load_with_transformers", None)
    read, notes, _ = read_tokenizer(tmp_path)
    assert read.to_str() == made.to_str()
    assert notes == ()


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (BERT, None),
        (BERT, {"tokenizer_class": "BertTokenizerFast"}),
        (BERT, {**PLAIN, "add_prefix_space": True}),
        (BERT, {**PLAIN, "add_bos_token": False}),
        (BERT, {**PLAIN, "unk_token": "<other>"}),
        (BERT, {**PLAIN, "extra_special_tokens": ["<other>"]}),
        (BERT, {**PLAIN, "auto_map": {"AutoTokenizer": [None, "code.Class"]}}),
        (BERT, {**PLAIN, "added_tokens_decoder": {"0": {"content": "[UNK]", "lstrip": True}}}),
        ({"model_type": "qwen2"}, PLAIN),
        ({"model_type": "mistral"}, PLAIN),
    ],
)
def test_where_a_rule_of_transformers_may_apply_both_are_compared(tmp_path, config, settings):
    made = TRAINERS["wordpiece"]()
    declared = read_declared(write(tmp_path, config, settings, made))
    assert not is_taken_as_it_stands(declared, made)


def test_a_directory_that_transformers_does_not_load_is_said(tmp_path):
    write(tmp_path, {"model_type": "canine"}, None, TRAINERS["unigram"]())
    (note,) = read_tokenizer(tmp_path).notes
    start = f"transformers {hf.__version__} does not load the tokenizer in {tmp_path}: its Canine"
    assert note == f"{start}Tokenizer is written in Python alone; saltlm reads its files"


def test_tokens_that_the_other_files_list(tmp_path):
    made = TRAINERS["unigram"]()
    size = made.get_vocab_size()
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {
            str(size): {"content": "<one>", "special": True},
            str(size + 5): {"content": "<far>", "special": True},
        },
        "bos_token": "▁the",
    }
    write(tmp_path, {}, settings, made)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<two>": size + 1}))
    read = read_tokenizer(tmp_path).tokenizer
    assert [read.token_to_id(token) for token in ("<one>", "<two>", "<far>")] == [
        *(size, size + 1),
        None,
    ]
    assert cut(read, "a<one>b<two>")[1::2] == ["<one>", "<two>"]
    assert read.get_added_tokens_decoder()[made.token_to_id("▁the")].special


def vocab_txt(directory, tokenizer, settings, config=BERT):
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    (directory / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return write(directory, config, settings)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("bert", {"do_lower_case": False, "strip_accents": False}),
        ("electra", {"do_lower_case": False, "model_max_length": 512}),
        ("bert", {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}),
        ("gpt2", {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}),
        ("bert", {"do_lower_case": True}),
        ("bert", {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False}),
    ],
    ids=["gbert", "KoELECTRA", "MuRIL", "BERT's in a GPT-2", "uncased", "uncased with accents"],
)
def test_vocab_txt_alone(tmp_path, model_type, settings):
    """A vocab.txt alone is cut as transformers' own BertTokenizer cuts it."""
    vocab_txt(tmp_path, TRAINERS["wordpiece"](), settings, {"model_type": model_type})
    read, notes, _ = read_tokenizer(tmp_path)
    assert notes == ()
    known = {key: settings[key] for key in settings if key != "tokenizer_class"}
    original = hf.BertTokenizer(str(tmp_path / "vocab.txt"), **known)
    assert read.get_vocab() == original.get_vocab()
    for text in PROBES.values():
        assert read.encode(text).ids == original(text)["input_ids"]


@pytest.mark.parametrize(("is_cased", "kept"), [(True, "Das"), (False, "das")])
def test_a_silent_vocab_txt_is_cased_if_its_pieces_are(tmp_path, is_cased, kept):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "das", "haus"]
    pieces += ["Das", "Haus"] if is_cased else ["der", "die"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    read, notes, _ = read_tokenizer(write(tmp_path, BERT))
    assert cut(read, "Das") == [kept]
    assert bool(notes) == is_cased
    if is_cased:
        assert "2 of its 4 pieces have capitals, so it does not" in notes[0]
        assert "transformers" in notes[1]
        write(tmp_path, BERT, {"do_lower_case": False})  # what both notes are about
        assert read_tokenizer(tmp_path).notes == ()


def test_words_that_no_piece_stands_for(tmp_path):
    (tmp_path / "vocab.txt").write_text("das\nhaus\n<unk>\n")
    write(tmp_path, BERT)
    with pytest.raises(VocabularyError, match=r"has no '\[UNK\]', so it is no WordPiece") as caught:
        read_tokenizer(tmp_path)
    assert "name the unk_token in tokenizer_config.json" in caught.value.hint
    write(tmp_path, BERT, {"unk_token": "<unk>"})
    assert read_tokenizer(tmp_path).tokenizer.token_to_id("<unk>") == 2


def test_words_cut_at_spaces_only(tmp_path):
    settings = {"do_basic_tokenize": False, "do_lower_case": False}
    vocab_txt(tmp_path, TRAINERS["wordpiece"](), settings)
    assert cut(read_tokenizer(tmp_path).tokenizer, "Haus.") == ["Haus", "##."]


def merges(directory, tokenizer, config, settings=None):
    model = json.loads(tokenizer.to_str())["model"]
    (directory / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    lines = [" ".join(merge) for merge in model["merges"]]
    text = "\n".join(["#version: 0.2", *lines]) + "\n"
    (directory / "merges.txt").write_text(text, encoding="utf-8")
    return write(directory, config, settings)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gpt2", {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
        ("gpt2", None),
        ("roberta", {"bos_token": "<s>"}),
        ("gpt2", {"add_prefix_space": True}),
    ],
    ids=["german-gpt2", "AraGPT2", "RobBERT", "space before"],
)
def test_vocab_json_and_merges_alone(tmp_path, model_type, settings):
    """Cut as transformers' own GPT2Tokenizer or RobertaTokenizer cuts it."""
    made = TRAINERS["bytelevel"]()
    read = read_tokenizer(merges(tmp_path, made, {"model_type": model_type}, settings)).tokenizer
    kind = hf.RobertaTokenizer if model_type == "roberta" else hf.GPT2Tokenizer
    original = kind.from_pretrained(tmp_path)
    for name in PROBES.keys() - {"chat"}:  # classes add tokens of their own, without a row
        ids = read.encode(PROBES[name], add_special_tokens=False).ids
        assert ids == original(PROBES[name], add_special_tokens=False)["input_ids"]


def test_without_tokenizer_json_settings_say_what_stands_around_a_text(tmp_path):
    settings = {"add_bos_token": True, "bos_token": "<|im_start|>"}
    merges(tmp_path, TRAINERS["bytelevel"](), {"model_type": "gpt2"}, settings)
    assert read_tokenizer(tmp_path).tokenizer.encode("a").tokens == ["<|im_start|>", "a"]
    made = TRAINERS["sentencepiece"]()  # in the file they do not: transformers passes them by, too
    settings = {"add_bos_token": False, "bos_token": "<s>", "tokenizer_class": "LlamaTokenizer"}
    write(tmp_path, {"model_type": "llama"}, settings, made)
    assert read_tokenizer(tmp_path).tokenizer.encode("a").tokens == ["<s>", "▁a"]


@pytest.mark.parametrize("class_name", ["HerbertTokenizer", "OpenAIGPTTokenizer"])
def test_ends_of_words_without_tokenizer_json(tmp_path, class_name):
    made = Tokenizer.from_str(getattr(hf, class_name)().backend_tokenizer.to_str())
    vocabulary = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "d", "o", "m", "m</w>", "om</w>"]
    vocabulary += ["dom</w>", ".</w>"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\no m</w>\nd om</w>\n")
    write(tmp_path, BERT, {"tokenizer_class": class_name})
    read = read_tokenizer(tmp_path).tokenizer
    assert cut(read, "dom dom.") == ["dom</w>", "dom</w>", ".</w>"]
    for text in PROBES.values():
        assert read.normalizer.normalize_str(text) == made.normalizer.normalize_str(text)


def test_a_class_with_words_of_its_own_and_the_way_out(tmp_path):
    merges(tmp_path, TRAINERS["bytelevel"](), {"model_type": "qwen2"})
    with pytest.raises(VocabularyError, match="how a qwen2 cuts text into words stands in") as e:
        read_tokenizer(tmp_path)
    run_command(e.value.hint)
    assert read_tokenizer(tmp_path).tokenizer.get_vocab_size() >= 900


def test_tekken_alone_and_the_way_out(tmp_path):
    pieces = [bytes([byte]) for byte in range(256)] + [b"Da", b"Das"]
    listed = [
        {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
        for rank, piece in enumerate(pieces)
    ]
    names = ["<unk>", "<s>", "</s>"]
    special = [{"rank": n, "token_str": name, "is_control": True} for n, name in enumerate(names)]
    sizes = {"default_vocab_size": len(pieces) + 3, "default_num_special_tokens": 3}
    config = {"pattern": r"\p{L}+|\P{L}", "num_vocab_tokens": len(pieces), "version": "v3", **sizes}
    tekken = {"config": config, "vocab": listed, "special_tokens": special}
    (tmp_path / "tekken.json").write_text(json.dumps(tekken))
    write(tmp_path, {"model_type": "mistral"})
    with pytest.raises(VocabularyError, match=r"has a tekken\.json alone") as caught:
        read_tokenizer(tmp_path)
    run_command(caught.value.hint)
    read = read_tokenizer(tmp_path).tokenizer
    assert cut(read, "Das 1") == ["Das", "Ġ", "1"]
    assert read.token_to_id("Das") == len(pieces) - 1 + len(names)


@pytest.mark.parametrize("name", ["tokenizer.model", "qwen.tiktoken"])
def test_tiktoken_alone_and_the_way_out(tmp_path, name):
    (tmp_path / name).write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(VocabularyError, match=f"{name} lists the pieces of tiktoken") as caught:
        read_tokenizer(write(tmp_path, {"model_type": "llama"}))
    assert caught.value.hint.startswith(f"put the model's tokenizer.json into {tmp_path}, or ")
    TRAINERS["bytelevel"]().save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path).tokenizer.get_vocab_size() > 300


def run_command(hint):
    """Run the Python program of a hint that ends in: python -c "..."."""
    *_, flag, program = shlex.split(hint[hint.index("python -c") :])
    assert flag == "-c"
    exec(program, {})


def test_pieces_of_an_unknown_spelling(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b</w>": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(VocabularyError, match="but how a ClvpTokenizer cuts text") as caught:
        read_tokenizer(write(tmp_path, {}, {"tokenizer_class": "ClvpTokenizer"}))
    assert caught.value.hint.startswith(f"put the model's tokenizer.json into {tmp_path}, or ta")
    made = TRAINERS["unigram"]()
    made.save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path).tokenizer.get_vocab() == made.get_vocab()


@pytest.mark.parametrize(
    ("there", "missing"), [("vocab.json", "merges.txt"), ("merges.txt", "vocab.json")]
)
def test_half_a_tokenizer_and_the_way_out(tmp_path, there, missing):
    merges(tmp_path, TRAINERS["bytelevel"](), {"model_type": "gpt2"})
    (tmp_path / missing).rename(tmp_path / "away")
    with pytest.raises(VocabularyError, match=f"half a tokenizer: {there} without {missing}") as e:
        read_tokenizer(tmp_path)
    assert e.value.hint == f"put {missing}, or the model's tokenizer.json, into {tmp_path}"
    (tmp_path / "away").rename(tmp_path / missing)
    assert read_tokenizer(tmp_path).tokenizer.get_vocab_size() > 300


def test_merges_of_another_vocabulary(tmp_path):
    merges(tmp_path, TRAINERS["bytelevel"](), {"model_type": "gpt2"})
    (tmp_path / "merges.txt").write_text("#version: 0.2\nqq zz\n")
    with pytest.raises(VocabularyError, match=r"merges\.txt does not fit vocab\.json beside it"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "class_name", "reason"),
    [
        ("bert", "BertJapaneseTokenizer", "cuts words with MeCab and its dictionary"),
        ("t5", "ByT5Tokenizer", "reads single bytes"),
        ("canine", "CanineTokenizer", "reads single characters by hash"),
        ("marian", "MarianTokenizer", "has one SentencePiece model to read with and another"),
        ("flaubert", "FlaubertTokenizer", "cuts words with the rules of Moses"),
        ("xlm", "XLMTokenizer", "cuts words with the rules of Moses"),
        ("fsmt", "FSMTTokenizer", "has one vocabulary to read with and another"),
        ("gpt_neox_japanese", "GPTNeoXJapaneseTokenizer", "rewrites emoji and variants"),
    ],
)
def test_programs_are_refused_by_name(tmp_path, model_type, class_name, reason):
    """Refused with the class and the reason."""
    (tmp_path / "vocab.txt").write_text("[UNK]\n")
    write(tmp_path, {"model_type": model_type}, {"tokenizer_class": class_name})
    with pytest.raises(VocabularyError, match=f"the {class_name} of {tmp_path} {reason}") as caught:
        read_tokenizer(tmp_path)
    assert "--prune-to N --corpus FILE" in caught.value.hint
    # The same class with a tokenizer.json is no refusal.
    TRAINERS["unigram"]().save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path).tokenizer.get_vocab_size() > 100


def test_a_vocab_txt_of_sentencepiece_is_no_wordpiece(tmp_path):
    """KoBERT's, whose model lies beside it under a name of its own."""
    made = TRAINERS["unigram"]()
    pieces = ["[UNK]", "[PAD]", *sorted(made.get_vocab(), key=made.token_to_id)]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    with pytest.raises(VocabularyError, match="lists the pieces of a SentencePiece model") as e:
        read_tokenizer(write(tmp_path, BERT))
    assert "--prune-to N --corpus FILE" in e.value.hint
    made.save(str(tmp_path / "tokenizer.json"))
    assert cut(read_tokenizer(tmp_path).tokenizer, "Das")[0].startswith("▁D")


@pytest.mark.parametrize("name", ["vocab.txt", "merges.txt", "tokenizer.json", "spiece.model"])
def test_files_that_were_not_fetched(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 12\n")
    with pytest.raises(VocabularyError, match=rf"{name} is a Git LFS pointer, not the") as caught:
        read_tokenizer(write(tmp_path, BERT))
    assert caught.value.hint == f"fetch the file itself: git -C {tmp_path} lfs pull"


def test_a_vocabulary_in_another_encoding(tmp_path):
    vocab_txt(tmp_path, TRAINERS["wordpiece"](), {"do_lower_case": False})
    plain = read_tokenizer(tmp_path).tokenizer.get_vocab()
    whole = (tmp_path / "vocab.txt").read_bytes()
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + whole)
    assert read_tokenizer(tmp_path).tokenizer.get_vocab() == plain
    (tmp_path / "vocab.txt").write_bytes(whole.decode().encode("utf-16"))
    with pytest.raises(VocabularyError, match=r"vocab\.txt is damaged: UnicodeDecodeError"):
        read_tokenizer(tmp_path)


def test_marian_is_known_by_its_files(tmp_path):
    (tmp_path / "source.spm").touch()
    with pytest.raises(VocabularyError, match=r"the tokenizer \(source\.spm\) of .* has one Sent"):
        read_tokenizer(write(tmp_path, {}))


def test_a_file_that_is_no_object_is_said(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json holds a list"):
        read_tokenizer(tmp_path)


def test_probes_of_white_space_are_probes():
    assert set(PROBES) > WHITE_SPACE
    assert all(
        any(c in PROBES[name] for c in "\n\t") or "  " in PROBES[name] for name in WHITE_SPACE
    )
