"""The whole way: from two model directories to a third that loads in transformers."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from saltlm.rows import Origin
from saltlm.vocabulary_transfer import transfer

FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]


def llama(rows, *, tied, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def bert(rows, seed=1):
    torch.manual_seed(seed)
    return BertModel(
        BertConfig(
            vocab_size=rows,
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
    )


def permuted(tokenizer, seed=0):
    """A copy of a tokenizer whose ids are shuffled, and old id -> new id."""
    definition = json.loads(tokenizer.to_str())
    size = tokenizer.get_vocab_size()
    order = np.random.default_rng(seed).permutation(size)
    model = definition["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {token: int(order[id]) for token, id in model["vocab"].items()}
    else:
        pieces = [None] * size
        for id, piece in enumerate(model["vocab"]):
            pieces[order[id]] = piece
        model["vocab"] = pieces
        model["unk_id"] = int(order[model["unk_id"]])
    for added in definition["added_tokens"]:
        added["id"] = int(order[added["id"]])
    definition["added_tokens"].sort(key=lambda added: added["id"])
    template = definition["post_processor"]
    if template and template["type"] == "TemplateProcessing":
        for special in template["special_tokens"].values():
            special["ids"] = [int(order[id]) for id in special["ids"]]
    return Tokenizer.from_str(json.dumps(definition)), torch.from_numpy(order)


def is_permutable(tokenizer):
    """A Unigram's added tokens must be pieces for their ids to be free to move."""
    definition = json.loads(tokenizer.to_str())
    return definition["model"]["type"] != "Unigram" or len(definition["model"]["vocab"]) == (
        tokenizer.get_vocab_size()
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_identity_on_a_permuted_vocabulary(
    family, tied, tokenizers_by_family, save_tokenizer_dir, corpus, tmp_path
):
    """Every row is copied bit for bit, and the logits are those of the source."""
    tokenizer = tokenizers_by_family[family]
    if not is_permutable(tokenizer):
        definition = json.loads(tokenizer.to_str())
        for added in definition["added_tokens"][len(definition["added_tokens"]) - 1 :]:
            definition["model"]["vocab"].append([added["content"], 0.0])
        tokenizer = Tokenizer.from_str(json.dumps(definition))
    size = tokenizer.get_vocab_size()
    model = llama(size, tied=tied)
    shuffled, order = permuted(tokenizer)
    donor = torch.empty(size, 16)
    donor[order] = torch.randn(size, 16, generator=torch.Generator().manual_seed(3))
    for name, part in (("source", tokenizer), ("plm", shuffled)):
        save_tokenizer_dir(part, tmp_path / name)
    model.save_pretrained(tmp_path / "source")
    plm = bert(size)
    plm.save_pretrained(tmp_path / "plm")

    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out")

    assert set(result.provenance.origin.tolist()) <= {Origin.SHARED, Origin.SPECIAL}
    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = [result.tokenizer.token_to_id(tokenizer.id_to_token(id)) for id in range(size)]
    place = torch.tensor(ids)
    old_rows, new_rows = (m.get_input_embeddings().weight for m in (model, new))
    assert torch.equal(new_rows[place], old_rows)
    assert torch.equal(
        new.get_output_embeddings().weight[place], model.get_output_embeddings().weight
    )
    assert (new.lm_head.weight is new.model.embed_tokens.weight) == tied
    batch = [tokenizer.encode(line).ids for line in corpus[:8]]
    renumbered = AutoTokenizer.from_pretrained(tmp_path / "out")(corpus[:8])["input_ids"]
    for old, new_ids in zip(batch, renumbered, strict=True):
        assert new_ids == place[old].tolist()
        with torch.inference_mode():
            before = model(torch.tensor([old])).logits
            after = new(torch.tensor([new_ids])).logits
        torch.testing.assert_close(after[..., place], before, atol=1e-5, rtol=1e-5)
