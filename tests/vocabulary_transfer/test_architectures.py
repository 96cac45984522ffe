"""Every kind of source and of PLM, through the whole transfer and back into transformers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
)

from saltlm.record.arrays import Origin
from saltlm.vocabulary_transfer.result import TransferResult
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_models import MULTIMODAL, PLMS, SOURCES
from tiny_pairs import faults


@dataclass(frozen=True)
class Pair:
    """A source and a PLM with the families of their tokenizers, and unused rows of the source."""

    source: str
    source_family: str
    plm: str
    plm_family: str
    padding: int = 0
    is_tied: bool = False


@dataclass(frozen=True)
class Made:
    """The two models of a pair, and what a transfer made of them."""

    directory: Path
    source: PreTrainedModel
    plm: PreTrainedModel
    new: PreTrainedModel
    result: TransferResult


PAIRS = [
    Pair("Llama", "bytelevel", "BERT", "wordpiece"),
    Pair("SmolLM2", "bytelevel", "XLM-R", "unigram", is_tied=True),
    Pair("Gemma 2", "sentencepiece", "BERT with head", "wordpiece", is_tied=True),
    Pair("Gemma 3", "sentencepiece", "RoBERTa", "bytelevel", padding=28, is_tied=True),
    Pair("Gemma 3 with vision", "sentencepiece", "RoBERTa with head", "bytelevel", is_tied=True),
    Pair("LLaVA", "sentencepiece", "XLM-R with head", "unigram"),
    Pair("Qwen2", "bytelevel", "DistilBERT", "wordpiece", padding=28),
    Pair("Qwen3", "bytelevel", "DistilBERT with head", "wordpiece", padding=28, is_tied=True),
    Pair("Qwen2-MoE", "bytelevel", "ALBERT", "unigram", padding=28),
    Pair("Mistral", "sentencepiece", "ALBERT with head", "unigram"),
    Pair("Mixtral", "sentencepiece", "ELECTRA", "wordpiece"),
    Pair("GPT-2", "bytelevel", "ELECTRA with head", "wordpiece", is_tied=True),
    Pair("GPT-J", "bytelevel", "DeBERTa-v2", "unigram"),
    Pair("GPT-NeoX", "bytelevel", "DeBERTa-v2 with head", "unigram"),
    Pair("OPT", "bytelevel", "ModernBERT", "wordpiece", is_tied=True),
    Pair("XGLM", "unigram", "ModernBERT with head", "bytelevel", is_tied=True),
    Pair("BLOOM", "bytelevel", "GPT-2", "sentencepiece", is_tied=True),
    Pair("Falcon", "bytelevel", "GPT-2 with head", "metaspace", is_tied=True),
    Pair("Phi", "bytelevel", "XGLM", "unigram"),
    Pair("OLMo2", "bytelevel", "T5", "unigram"),
    Pair("Cohere", "bytelevel", "T5 encoder", "unigram", is_tied=True),
    Pair("Llama", "sentencepiece", "mT5", "metaspace"),
    Pair("SmolLM2", "bytelevel", "BART", "wordpiece", is_tied=True),
    Pair("Qwen3", "bytelevel", "BART with head", "sentencepiece", is_tied=True),
    Pair("Mistral", "sentencepiece", "mBART", "unigram"),
    Pair("XGLM", "metaspace", "mBART with head", "bytelevel", is_tied=True),
    Pair("GPT-2", "bytelevel", "Llama without head", "sentencepiece", is_tied=True),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.source} and {pair.plm}")
def test_a_pair(pair, tmp_path, make_side):
    source = make_side(SOURCES[pair.source], pair.source_family, tmp_path / "source", pair.padding)
    plm = make_side(PLMS[pair.plm], pair.plm_family, tmp_path / "plm", 3)
    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out")

    is_multimodal = SOURCES[pair.source] in MULTIMODAL
    auto = AutoModelForImageTextToText if is_multimodal else AutoModelForCausalLM
    new, info = auto.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    assert (new.get_output_embeddings().weight is new.get_input_embeddings().weight) == pair.is_tied
    for look in CHECKS:
        look(Made(tmp_path, source, plm, new.eval(), result))


@pytest.fixture
def make_side(tokenizers_by_family, roles_by_family, save_tokenizer_dir):
    """A function that saves a model with its tokenizer and returns the model."""

    def make(maker, family, directory, padding):
        torch.manual_seed(len(directory.name))
        tokenizer, roles = tokenizers_by_family[family], roles_by_family[family]
        if maker in MULTIMODAL:
            tokenizer = Tokenizer.from_str(tokenizer.to_str())
            tokenizer.add_special_tokens(["<image>"])
            roles = roles | {"image_token": "<image>"}
        save_tokenizer_dir(tokenizer, directory, **roles)
        ids = {f"{role}_id": tokenizer.token_to_id(token) for role, token in roles.items()}
        ids = {f"{role}_token_id": None for role in ("bos", "eos", "pad")} | ids
        model = maker(tokenizer.get_vocab_size() + padding, **ids)
        model.save_pretrained(directory)
        return model

    return make


def check_rows(made):
    """Copied rows are the source's, bit for bit; mapped ones are those of a float64 oracle."""
    source, new, record = made.source, made.new, made.result.provenance
    copied = (record.source_ids >= 0).nonzero().flatten()
    place = record.source_ids[copied]
    head, new_head = source.get_output_embeddings(), new.get_output_embeddings()
    table, new_table = (model.get_input_embeddings().weight for model in (source, new))
    assert torch.equal(new_table[copied], table[place])
    assert torch.equal(new_head.weight[copied], head.weight[place])
    assert made.result.counts["made"] > 20

    offsets = record.neighbours.offsets.tolist()
    plm_table = array(made.plm.get_input_embeddings().weight)
    columns = [(table, new_table), (head.weight, new_head.weight)]
    if getattr(head, "bias", None) is not None:
        assert torch.equal(new_head.bias[copied], head.bias[place])
        columns.append((head.bias, new_head.bias))
    for number in range(0, len(record.new_ids), 60):
        id = int(record.new_ids[number])
        near = record.anchor_ids[record.neighbours.indices[offsets[number] : offsets[number + 1]]]
        bases = plm_table[record.plm_ids[near]]
        coefficients = plm_table[record.plm_ids[id]] @ np.linalg.pinv(bases, rcond=1e-5)
        for old, rows in columns:
            expected = coefficients @ array(old)[record.source_ids[near]]
            np.testing.assert_allclose(array(rows)[id], expected, atol=1e-3, rtol=1e-3)


def array(tensor):
    return tensor.detach().double().numpy()


def check_other_tensors(made):
    """Whatever has no row per token is as it was, to the bit, and nothing is lost or added."""
    before, after = (
        load_file(made.directory / name / "model.safetensors") for name in ("source", "out")
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if len(after[name]) == len(made.result.embedding)}
    assert 1 <= len(changed) <= 3
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - changed)


@torch.inference_mode()
def check_same_logits(made):
    """On shared tokens the new model says what the source says, at every position; it generates."""
    source, new, record = made.source, made.new, made.result.provenance
    shared = (record.origin == Origin.SHARED).nonzero().flatten()[:40]
    logits = new(input_ids=shared.unsqueeze(0)).logits
    assert logits.isfinite().all()
    before = source(input_ids=record.source_ids[shared].unsqueeze(0)).logits
    torch.testing.assert_close(
        logits[..., shared], before[..., record.source_ids[shared]], atol=1e-5, rtol=1e-5
    )
    written = new.generate(shared[:4].unsqueeze(0), max_new_tokens=3, min_new_tokens=3)
    assert written.shape == (1, 7)
    assert written.max() < len(made.result.embedding)


def check_ids(made):
    """Every id in the configurations is that of the token it was."""
    source, new = made.source, made.new
    old, loaded = (
        AutoTokenizer.from_pretrained(made.directory / name) for name in ("source", "out")
    )
    config, new_config = source.config.get_text_config(), new.config.get_text_config()
    assert new_config.vocab_size == len(loaded)
    pairs = [(config, new_config), (source.generation_config, new.generation_config)]
    for role in ("bos_token_id", "eos_token_id", "pad_token_id"):
        for before, after in pairs:
            id, new_id = getattr(before, role), getattr(after, role)
            if id is None:
                assert new_id is None
            else:
                assert loaded.convert_ids_to_tokens(new_id) == old.convert_ids_to_tokens(id)


def check_hand_over(made):
    """`saltlm check` finds nothing: weights, ties, ids, generating, saving and loading again."""
    assert not faults(made.directory / "out")


CHECKS = (check_rows, check_other_tensors, check_same_logits, check_ids, check_hand_over)
