"""A model as a GGUF file: llama.cpp itself is asked, and nothing is left where it disagrees."""

import json
import shlex
import shutil
import sys

import gguf
import pytest
import torch
from transformers import AutoTokenizer

import saltlm
import saltlm.models.gguf_export
from saltlm.cli.main import main
from saltlm.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    OutputError,
    SaltlmError,
    VocabularyError,
)
from saltlm.models.checkpoint import open_checkpoint
from tiny_models import SOURCES
from tiny_pairs import make_model, write_pair, write_side


@pytest.fixture(scope="module")
def source(tokenizers_by_family, tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), tokenizers_by_family)[0]


@pytest.fixture(scope="module")
def model(tokenizers_by_family, tmp_path_factory):
    """With a WordPiece vocabulary."""
    tokenizer = tokenizers_by_family["wordpiece"]
    roles = {"bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "[UNK]"}
    ids = {name + "_id": tokenizer.token_to_id(roles[name]) for name in ("bos_token", "eos_token")}
    made = SOURCES["SmolLM2"](tokenizer.get_vocab_size(), pad_token_id=None, **ids)
    return write_side(tmp_path_factory.mktemp("model"), made, tokenizer, **roles)


def test_pieces_spelled_in_bytes_are_no_vocabulary_of_llama_cpp(tokenizers_by_family, tmp_path):
    made = make_model(tmp_path, tokenizers_by_family)
    with pytest.raises(VocabularyError, match="llama.cpp has no"):
        saltlm.export("gguf", made, tmp_path / "model.gguf")


def test_llama_cpp_cuts_the_probes_as_tokenizer_json_does(source, tmp_path, capsys):
    file = tmp_path / "model.gguf"
    main_args = ["export", "gguf", str(source), "--out", str(file)]
    with pytest.raises(SystemExit, match="0"):
        main(main_args)
    said = "F32, vocabulary gpt2, gpt-2; llama.cpp's tokenizer gives the same ids"
    assert said in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tokenizer = AutoTokenizer.from_pretrained(source)
    assert fields["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert fields["tokenizer.ggml.eot_token_id"] == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.chat_template"] == tokenizer.chat_template
    table = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    expected = open_checkpoint(source).read("model.embed_tokens.weight")
    assert torch.equal(torch.tensor(table.data), expected)


def test_what_llama_cpp_cuts_otherwise_is_refused_and_leaves_nothing(model, tmp_path):
    file = tmp_path / "model.gguf"
    message = r"as tokenizer.json does \(.*framing.* in place of"
    with pytest.raises(VocabularyError, match=message) as caught:
        saltlm.export("gguf", model, file)
    assert [*tmp_path.iterdir()] == []
    flags = shlex.split(caught.value.hint.partition("if that may be, add ")[2])
    assert {*flags[::2]} == {"--allow"}
    written = saltlm.export("gguf", model, file, allow=flags[1::2])
    assert written.tokenizer == "bert"
    assert "framing" in written.differing


@pytest.fixture
def no_llama_cpp(monkeypatch):
    monkeypatch.setattr(saltlm.models.gguf_export, "has_llama_cpp", lambda: False)


def test_without_llama_cpp_the_fields_are_compared(source, tmp_path, no_llama_cpp, caplog):
    written = saltlm.export("gguf", source, tmp_path / "model.gguf")
    assert written.checked_with == "fields"
    assert "pip install xllamacpp" in caplog.text


def test_fields_that_are_not_those_of_the_vocabulary_are_refused(
    source, tmp_path, no_llama_cpp, monkeypatch
):
    write = gguf.GGUFWriter.add_token_types
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_token_types", lambda self, kinds: write(self, [1] * len(kinds))
    )
    with pytest.raises(VocabularyError, match="the file read back has other kinds"):
        saltlm.export("gguf", source, tmp_path / "model.gguf")
    assert [*tmp_path.iterdir()] == []


def test_places_and_names_are_checked_first(source, tmp_path):
    there = tmp_path / "there.gguf"
    there.touch()
    for out, said in ((there, "exists"), (tmp_path, "is a directory"), (there / "a", "not a dir")):
        with pytest.raises(OutputError, match=said):
            saltlm.export("gguf", source, out)
    with pytest.raises(ConfigError, match=r"no format 'onnx'\nhint: saltlm export gguf DIR"):
        saltlm.export("onnx", source, tmp_path / "a")
    with pytest.raises(ConfigError, match=r"no probe 'tab'\nhint: the probes are: words, .*ing"):
        saltlm.export("gguf", source, tmp_path / "a", allow=["tab"])
    with pytest.raises(CheckpointError, match="has no config.json"):
        saltlm.export("gguf", tmp_path, tmp_path / "a")


def test_force_replaces_a_file(source, tmp_path, no_llama_cpp):
    file = tmp_path / "model.gguf"
    file.write_text("old")
    saltlm.export("gguf", source, file, force=True)
    assert file.read_bytes()[:4] == b"GGUF"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"architectures": ["HouseForCausalLM"]},
            "does not know the architecture House",
        ),
        ({"num_attention_heads": None}, "converter cannot write .*: TypeError"),
    ],
)
def test_models_that_the_converter_cannot_write(source, tmp_path, no_llama_cpp, values, said):
    shutil.copytree(source, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))
    with pytest.raises(CheckpointError, match=said):
        saltlm.export("gguf", tmp_path / "model", tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_missing_converter_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "conversion", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'saltlm\[export\]'"):
        saltlm.export("gguf", source, tmp_path / "model.gguf")


def test_a_converter_whose_gguf_was_overwritten_is_named(source, tmp_path, monkeypatch):
    import conversion

    def broken(*_):
        raise AttributeError("DFLASH")

    monkeypatch.setattr(conversion, "get_model_class", broken)
    with pytest.raises(SaltlmError, match=r"DFLASH\nhint: pip install --force-reinstall --no-deps"):
        saltlm.export("gguf", source, tmp_path / "model.gguf")


def test_a_file_that_llama_cpp_cannot_load_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"llama.cpp cannot load what was written: "):
        saltlm.models.gguf_export.llama_cpp_ids(file, [("a", False)])
