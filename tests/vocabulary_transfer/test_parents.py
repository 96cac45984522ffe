"""What may stand for a PLM: a model, a tokenizer with word vectors, a SentencePiece model."""

import io

import pytest
import sentencepiece
import torch
from transformers import T5EncoderModel

from saltlm.config.transfer import TransferConfig, load_config
from saltlm.errors import AuxiliaryVectorsError, ConfigError
from saltlm.inspection.pair import inspect
from saltlm.record.manifest import read_manifest
from saltlm.record.provenance import Origin
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
    tokens = [
        result.tokenizer.id_to_token(id).removeprefix("##") for id in range(len(record.origin))
    ]
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
        tokens = result.tokenizer.encode(line, add_special_tokens=False).tokens
        assert tokens == original.encode(line, out_type=str)
    table = T5EncoderModel.from_pretrained(spiece).get_input_embeddings().weight
    anchors = result.provenance.plm_ids[result.provenance.anchor_ids].tolist()
    pieces = [original.id_to_piece(id) for id in anchors]
    shared = [result.tokenizer.id_to_token(id) for id in result.provenance.anchor_ids.tolist()]
    assert pieces == shared
    assert len(table) == 448
    assert "spiece.model" in read_manifest(tmp_path / "out")["plm"]["files"]
