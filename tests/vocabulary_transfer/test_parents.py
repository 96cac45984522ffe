"""What may stand for a PLM: a model, a tokenizer with word vectors, a SentencePiece model."""

import io
import json
import re

import pytest
import sentencepiece
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, T5EncoderModel

from saltlm.cli.main import cli
from saltlm.config.transfer import TransferConfig, load_config
from saltlm.errors import AuxiliaryVectorsError, ConfigError, VocabularyError
from saltlm.files.markdown import as_markdown
from saltlm.inspection.pair import inspect
from saltlm.record.arrays import Origin
from saltlm.record.manifest import read_manifest
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import read_vocabulary, spoken_text
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_models import PLMS, SOURCES


@pytest.fixture
def source(tmp_path, tokenizers_by_family, roles_by_family, save_tokenizer_dir):
    torch.manual_seed(0)
    tokenizer = tokenizers_by_family["bytelevel"]
    directory = save_tokenizer_dir(tokenizer, tmp_path / "source", **roles_by_family["bytelevel"])
    SOURCES["SmolLM2"](tokenizer.get_vocab_size()).save_pretrained(directory)
    return directory


@pytest.fixture
def donor(tmp_path, tokenizers_by_family, roles_by_family, save_tokenizer_dir):
    """A directory with a tokenizer only."""
    tokenizer = tokenizers_by_family["wordpiece"]
    return save_tokenizer_dir(tokenizer, tmp_path / "donor", **roles_by_family["wordpiece"])


@pytest.fixture
def vectors(tmp_path, tokenizers_by_family):
    """Word vectors for every other word of the donor."""
    words = sorted(word for word in tokenizers_by_family["wordpiece"].get_vocab() if word.isalnum())
    table = torch.randn(len(words[::2]), 12, generator=torch.Generator().manual_seed(1))
    lines = [f"{len(table)} 12"]
    for word, row in zip(words[::2], table.tolist(), strict=True):
        lines.append(" ".join([word, *(f"{number:.4f}" for number in row)]))
    file = tmp_path / "words.vec"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_word_vectors_stand_for_a_plm(source, donor, vectors, tmp_path):
    """Tokens that are words in the file are mapped, all others sampled; anchors are words too."""
    spec = f"vectors:{vectors}"
    result = transfer(source, donor, tmp_path / "out", plm_vectors=spec)
    counts = result.counts
    assert counts["shared"] > 100
    assert min(counts["made"], counts["sampled"]) > 100
    words = {line.split()[0] for line in vectors.read_text(encoding="utf-8").splitlines()[1:]}
    record = result.provenance
    forms = read_vocabulary(Definition.of(result.tokenizer)).forms
    tokens = [form.text.decode(errors="replace") if form else "" for form in forms]
    for id, token in enumerate(tokens):
        if record.origin[id] == Origin.MADE:
            assert token in words
        elif record.origin[id] == Origin.SAMPLED:
            assert token not in words
    assert all(tokens[id] in words for id in record.anchor_ids.tolist())
    manifest = read_manifest(tmp_path / "out")
    assert manifest["plm"]["tables"]["embedding"]["tensors"] == [spec]
    assert str(vectors) in manifest["files"]
    assert manifest["auxiliary"] == "the PLM's own rows, 12-d"
    report = inspect(source, donor, config=TransferConfig(plm_vectors=spec))
    assert report.plm.width == 12


def test_vectors_of_a_plm_must_be_a_file(source, donor, tmp_path):
    with pytest.raises(ConfigError, match="option plm_vectors='plm': String should match"):
        load_config(plm_vectors="plm")
    with pytest.raises(AuxiliaryVectorsError, match="missing.vec"):
        transfer(source, donor, tmp_path / "out", plm_vectors=f"vectors:{tmp_path}/missing.vec")


@pytest.fixture
def spiece(corpus, tmp_path):
    """A T5 with a SentencePiece model for all its tokenizer."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus * 3),
        model_writer=written,
        minloglevel=2,
        num_threads=1,
        vocab_size=330,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    )
    torch.manual_seed(1)
    directory = tmp_path / "plm"
    PLMS["T5 encoder"](448).save_pretrained(directory)
    (directory / "spiece.model").write_bytes(written.getvalue())
    return directory


def test_a_sentencepiece_model_is_converted(source, spiece, corpus, tmp_path):
    """Text is cut as SentencePiece itself cuts it, and every row is that of its piece."""
    result = transfer(source, spiece, tmp_path / "out")
    original = sentencepiece.SentencePieceProcessor(model_file=str(spiece / "spiece.model"))
    for line in corpus:
        ids = result.tokenizer.encode(line, add_special_tokens=False).ids
        assert result.tokenizer.decode(ids) == line
        if original.decode(original.encode(line)) == line:
            plm_ids = result.provenance.plm_ids[ids].tolist()
            assert [id for id in plm_ids if id >= 0] == original.encode(line)
    table = T5EncoderModel.from_pretrained(spiece).get_input_embeddings().weight
    anchors = result.provenance.plm_ids[result.provenance.anchor_ids].tolist()
    pieces = [original.id_to_piece(id) for id in anchors]
    forms = read_vocabulary(Definition.of(result.tokenizer)).forms
    shared = [spoken_text(forms[id]) for id in result.provenance.anchor_ids.tolist()]
    assert [piece.replace("▁", " ") for piece in pieces] == shared
    assert len(table) == 448
    assert "spiece.model" in read_manifest(tmp_path / "out")["plm"]["files"]


def write_plm(directory, tokenizer, rows=None, name="BERT", **settings):
    PLMS[name](rows or tokenizer.get_vocab_size()).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


def test_special_tokens_that_saving_added_are_left_out(source, tmp_path, tokenizers_by_family):
    """As transformers adds a pad or mask token to a tokenizer whose model has no row for it."""
    tokenizer = Tokenizer.from_str(tokenizers_by_family["wordpiece"].to_str())
    rows = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<late mask>"])
    plm = write_plm(tmp_path / "plm", tokenizer, rows, mask_token="<late mask>")
    result = transfer(source, plm, tmp_path / "out")
    assert (
        f"{plm} has no row for its '<late mask>': left out, as they are no text"
        in result.target.notes
    )
    assert result.tokenizer.token_to_id("<late mask>") is None


def test_a_cased_plm_stays_cased_whatever_transformers_makes_of_it(
    source, tmp_path, tokenizers_by_family
):
    """The note reaches inspect, the result and the card, and the new model loads as it was made."""
    plm = write_plm(tmp_path / "plm", tokenizers_by_family["wordpiece"])
    (plm / "tokenizer_config.json").unlink()
    assert AutoTokenizer.from_pretrained(plm).tokenize("Das Haus") != ["Das", "Haus"]
    result = transfer(source, plm, tmp_path / "out")
    (note,) = [note for note in result.target.notes if "loads another tokenizer" in note]
    assert note in inspect(source, plm).notes
    shown = as_markdown(note.replace(str(plm), plm.name))  # a card names no folder of a disk
    assert shown in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("Das Haus") == ["ĠDas", "ĠHaus"]


def test_the_remedy_for_a_plm_without_pieces(
    source, tmp_path, tokenizers_by_family, save_tokenizer_dir, roles_by_family, corpus
):
    """A multilingual PLM, cut to the language, does what a byte-level T5 cannot."""
    byt5 = tmp_path / "byt5"
    PLMS["T5"](384).save_pretrained(byt5)
    (byt5 / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    with pytest.raises(VocabularyError, match="reads single bytes") as caught:
        transfer(source, byt5, tmp_path / "out")
    _, flag, n, corpus_flag, file = re.search(
        r"(cut to the language with) (--\S+) (N) (--\S+) (FILE)", caught.value.hint
    ).groups()
    plm = write_plm(tmp_path / "xlmr", tokenizers_by_family["unigram"], name="XLM-R")
    text = tmp_path / "german.txt"
    text.write_text("\n".join(corpus[6:12]), encoding="utf-8")
    args = [
        str(source),
        str(plm),
        "--out",
        str(tmp_path / "out"),
        flag,
        "400",
        corpus_flag,
        str(text),
    ]
    CliRunner().invoke(cli, ["transfer", *args], catch_exceptions=False)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert (n, file) == ("N", "FILE")


def test_a_source_that_marks_where_words_end_is_refused(source, tmp_path):
    tokenizer = Tokenizer(models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>"))
    SOURCES["GPT-2"](2).save_pretrained(tmp_path / "gpt")
    tokenizer.save(str(tmp_path / "gpt" / "tokenizer.json"))
    (tmp_path / "gpt" / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast"}'
    )
    with pytest.raises(VocabularyError, match=r"gpt marks where words end \('</w>'\)"):
        transfer(tmp_path / "gpt", source, tmp_path / "out")


@pytest.mark.parametrize("mode", ["replace", "extend", "swap"])
def test_a_pad_token_that_the_source_has_no_row_for_is_left_out(
    source, tmp_path, mode, tokenizers_by_family, save_tokenizer_dir, roles_by_family, corpus
):
    family = tokenizers_by_family["unigram"]
    plm = save_tokenizer_dir(family, tmp_path / "plm", **roles_by_family["unigram"])
    PLMS["BERT"](family.get_vocab_size() + 3).save_pretrained(plm)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens(["[PAD]"])
    save_tokenizer_dir(tokenizer, source, **roles_by_family["bytelevel"], pad_token="[PAD]")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(corpus), encoding="utf-8")
    result = transfer(source, plm, tmp_path / "out", mode=mode, method="salt", corpus=[text])
    assert result.tokenizer.token_to_id("[PAD]") is None
    made = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert made.pad_token is None
    assert len(made) == len(result.provenance.origin)
    (note,) = [note for note in result.notes if "no row" in note]
    assert note.endswith("has no row for its '[PAD]': left out, as they are no text")
