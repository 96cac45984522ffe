"""Bad input is refused in one line, leaves nothing behind, and the inputs are as they were."""

import errno
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from saltlm.errors import (
    AuxiliaryVectorsError,
    CheckpointError,
    ConfigError,
    DataError,
    OutputError,
    SaltlmError,
    VocabularyError,
)
from saltlm.tokenizer.load import read_tokenizer
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import contents, write_pair

EMBEDDING = "model.embed_tokens.weight"
PLM_EMBEDDING = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def originals(tokenizers_by_family, tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("originals"), tokenizers_by_family)[0].parent


@pytest.fixture
def room(originals, tmp_path):
    """A directory with a source and a PLM of its own, and nothing else."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(room, error, message, source="source", plm="plm", out="out", **options):
    """Run a transfer that must fail, and make sure that it leaves everything as it was."""
    before = contents(room)
    with pytest.raises(error, match=message) as caught:
        transfer(room / source, room / plm, room / out, **options)
    assert contents(room) == before
    assert "\n" not in caught.value.what
    return caught.value


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_tensors(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def test_no_shared_tokens(room):
    size = Tokenizer.from_file(str(room / "plm" / "tokenizer.json")).get_vocab_size()
    words = {f"ქა{chr(0x10D0 + n % 30)}{n}": n for n in range(1, size - 4)}
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, **words}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(room / "plm" / "tokenizer.json"))
    error = refused(room, VocabularyError, "share 0 tokens, 0 of them with an auxiliary vector; 20")
    assert "saltlm inspect" in error.hint


def test_too_few_shared_tokens(room):
    error = refused(room, VocabularyError, r"share \d+ tokens, .*; 100000 are", min_shared=100_000)
    assert "--set min_shared=N" in error.hint


@pytest.mark.parametrize("side", ["source", "plm"])
def test_no_tokenizer(side, room):
    (room / side / "tokenizer.json").rename(room / "tokenizer.json")
    error = refused(room, VocabularyError, rf"{side} has no tokenizer: neither tokenizer\.json, ")
    place = f"put one of these, best the model's tokenizer.json, into {room / side}"
    assert error.hint == place
    (room / "tokenizer.json").rename(room / side / "tokenizer.json")
    assert read_tokenizer(room / side).tokenizer.get_vocab_size() > 100


def test_a_class_written_in_python_without_pieces(room):
    (room / "plm" / "tokenizer.json").unlink()
    (room / "plm" / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    error = refused(room, VocabularyError, "the ByT5Tokenizer of .*plm reads single bytes, so")
    assert "--prune-to N --corpus FILE" in error.hint


def test_a_broken_tokenizer(room):
    (room / "plm" / "tokenizer.json").write_text("{")
    refused(room, VocabularyError, r"the tokenizer in .*plm/tokenizer.json cannot be loaded: .")


@pytest.mark.parametrize(("side", "count"), [("source", 30), ("plm", 2)])
def test_ids_beyond_the_rows(side, count, room):
    tokenizer = Tokenizer.from_file(str(room / side / "tokenizer.json"))
    tokenizer.add_tokens([f"<new{n}>" for n in range(count)])
    tokenizer.save(str(room / side / "tokenizer.json"))
    beyond = count - 24 if side == "source" else count  # the source has 24 rows to spare
    message = rf"{beyond} tokens of .*{side} lie beyond the \d+ rows of its embedding: '<new"
    refused(room, VocabularyError, message)


def test_a_missing_head(room):
    edit(room / "source" / "config.json", tie_word_embeddings=False)
    refused(room, CheckpointError, r"source has no head: looked for a tensor of \d+ rows")


@pytest.mark.parametrize("side", ["source", "plm"])
def test_truncated_weights(side, room):
    file = room / side / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(room, CheckpointError, rf"{side}/model\.safetensors \(\d+ bytes\) is corrupt or trunca")


@pytest.mark.parametrize("side", ["source", "plm"])
def test_an_index_that_points_outside_its_folder(side, room):
    (room / side / "model.safetensors").rename(room / "elsewhere.safetensors")
    index = {"weight_map": {EMBEDDING: "../elsewhere.safetensors"}}
    (room / side / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(room, CheckpointError, "names '../elsewhere.safetensors', which is not a weight file")


@pytest.mark.parametrize(
    ("side", "name", "value"),
    [("source", EMBEDDING, torch.nan), ("plm", PLM_EMBEDDING, -torch.inf)],
)
def test_numbers_that_are_not_finite(side, name, value, room):
    edit_tensors(room / side, lambda tensors: tensors[name][5].fill_(value))
    refused(room, CheckpointError, rf"{name} of .*{side} has NaN or inf in 1 of \d+ rows, the fir")


def test_an_encoder_as_source(room):
    error = refused(room, CheckpointError, "is an encoder, which fills in", "plm", "source")
    assert f"saltlm transfer HuggingFaceTB/SmolLM2-135M {room / 'plm'} --out DIR" in error.hint


def test_an_existing_output(room):
    (room / "out").mkdir()
    (room / "out" / "thesis.tex").write_text("mine")
    error = refused(room, OutputError, "out exists")
    assert error.hint == "choose another --out"
    refused(room, OutputError, "out is not a model directory, so --force does not", force=True)


def test_an_output_that_is_refused_costs_no_download(room):
    (room / "out").mkdir()
    with pytest.raises(OutputError, match="out exists"):
        transfer("owner/name", "owner/other", room / "out")


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("source", "source is .*source, which is an input"),
        ("plm", "plm is .*plm, which is an input"),
        ("plm/../source", "source is .*source, which is an input"),
        ("link", "source is .*source, which is an input"),
        ("source/out", "out lies in .*source, which is an input"),
        ("plm/a/b", "b lies in .*plm, which is an input"),
        (".", "holds .*source, which is an input"),
    ],
)
def test_an_output_that_overlaps_an_input(out, message, force, room):
    (room / "link").symlink_to(room / "source")
    (room / "config.json").write_text("{}")  # so that --force would replace the room
    error = refused(room, OutputError, message, out=out, force=force)
    assert error.hint == "choose another --out"


@pytest.mark.parametrize("options", [{"corpus": ["c.txt"]}, {"aux": "vectors:out/c.txt"}])
def test_an_output_that_holds_an_input_file(options, room, monkeypatch):
    (room / "out").mkdir()
    (room / "out" / "config.json").write_text("{}")
    (room / "out" / "c.txt").write_text("2 2\na 1 2\nb 3 4\n")
    monkeypatch.chdir(room if "aux" in options else room / "out")
    refused(room, OutputError, r"out holds .*c\.txt, which is an input", force=True, **options)


@pytest.mark.parametrize(
    ("aux", "error", "message"),
    [
        ("word2vec:x", ConfigError, "unknown auxiliary vectors 'word2vec:x'"),
        ("fasttext:no.bin", AuxiliaryVectorsError, r"no\.bin"),
        ("vectors:no.txt", AuxiliaryVectorsError, r"no\.txt"),
        ("train", DataError, r"the corpus has no text \(none was given\)"),
    ],
)
def test_auxiliary_vectors_that_are_not_there(aux, error, message, room):
    refused(room, error, message, aux=aux)


def test_an_empty_corpus(room):
    (room / "empty.txt").write_text("\n\n")
    message = r"the corpus has no text \(.*empty\.txt\)"
    refused(room, DataError, message, aux="train", corpus=[room / "empty.txt"])


def test_vectors_that_know_none_of_the_tokens(room):
    (room / "other.txt").write_text("2 2\nⴰⴱ 1 2\nⴲⴳ 3 4\n", encoding="utf-8")
    refused(
        room,
        AuxiliaryVectorsError,
        r"none of the [\d,]+ tokens .* has a vector: vectors other\.txt",
        aux=f"vectors:{room / 'other.txt'}",
    )


@pytest.mark.parametrize("is_source", [True, False])
def test_a_hub_id_without_network(is_source, room):
    refs = ["owner/name", room / "plm"] if is_source else [room / "source", "owner/name"]
    before = contents(room)
    with pytest.raises(CheckpointError) as caught:
        transfer(*refs, room / "out")
    assert caught.value.what.startswith("cannot fetch config.json and the weights of owner/name")
    assert "hf download owner/name --local-dir DIR" in caught.value.hint
    assert contents(room) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "slat"}, "there is no method 'slat'"),
        ({"method": "salt:rcond=2"}, "option rcond=2 of salt: Input should be less than 1"),
        ({"special_tokens": {"drop": ["<s>"]}}, "special_tokens.drop: there is no '<s>'"),
        ({"special_tokens": {"roles": {"boss": "."}}}, "special_tokens.roles: there is no 'boss'"),
        ({"tensors": {"plm_embedding": "x"}}, "plm has no tensor 'x'"),
        ({"seed": "x"}, "option seed='x': "),
    ],
)
def test_options_that_cannot_be(options, message, room):
    refused(room, SaltlmError, message, **options)


def test_a_place_that_is_not_there(room):
    error = refused(room, OutputError, "no is not a directory", out="no/out")
    assert error.hint == f"mkdir -p {room / 'no'}"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("moment", ["write_model", "finish_model"])
def test_a_disk_that_fills_up_or_fails(code, moment, room, monkeypatch):
    def fail(directory, *_):
        (directory / "half").write_text("half")
        raise OSError(code, "the disk says no")

    monkeypatch.setattr(f"saltlm.vocabulary_transfer.transfer.{moment}", fail)
    refused(room, OutputError, r"cannot write .*out: .* \([\d.]+ GB free\)")


def test_a_failure_leaves_the_old_output(room, monkeypatch):
    shutil.copytree(room / "plm", room / "out")
    monkeypatch.setattr("saltlm.vocabulary_transfer.transfer.finish_model", lambda *_: 1 / 0)
    before = contents(room)
    with pytest.raises(ZeroDivisionError):
        transfer(room / "source", room / "plm", room / "out", force=True)
    assert contents(room) == before
