"""Input rows and output rows as two questions, from two directories to a third."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from saltlm.comparison.compare import compare
from saltlm.config.transfer import RowsConfig
from saltlm.inspection.pair import inspect
from saltlm.record.arrays import Origin
from saltlm.record.manifest import read_manifest
from saltlm.vocabulary_transfer.transfer import transfer, transfer_embeddings
from tiny_pairs import faults, write_pair

TWO = "global-residual:ridge=1.0/first-piece"
COPIED = (Origin.SHARED, Origin.SPECIAL, Origin.KEPT)


@pytest.fixture
def pair(tmp_path, tokenizers_by_family):
    return write_pair(tmp_path, tokenizers_by_family)


@pytest.mark.parametrize("mode", ["extend", "replace"])
def test_a_tied_model_is_untied(mode, pair, tmp_path):
    one = transfer(*pair, tmp_path / "one", method="global-residual:ridge=1.0", mode=mode)
    two = transfer(*pair, tmp_path / "two", method=TWO, mode=mode, untie=True)
    assert one.head is None
    assert torch.equal(two.embedding, one.embedding)
    copied = torch.isin(two.provenance.origin, torch.tensor(COPIED))
    assert torch.equal(two.head[copied], two.embedding[copied])
    new = two.provenance.new_ids
    # A token without any piece, such as ##, has one row for both.
    assert (two.head[new] != two.embedding[new]).any(1).sum() > max(50, 0.9 * len(new))

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "two")
    assert torch.equal(model.get_input_embeddings().weight, two.embedding)
    assert torch.equal(model.get_output_embeddings().weight, two.head)
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert not faults(tmp_path / "two")

    manifest = read_manifest(tmp_path / "two")
    assert manifest["untied"]
    assert manifest["source"]["is_tied"]
    assert manifest["output"] == {"name": "first-piece", "options": {"share": 0.5}}
    (note,) = [note for note in manifest["notes"] if "no longer the embedding" in note]
    assert f"{len(two.head):,} rows of its own" in note
    card = (tmp_path / "two" / "README.md").read_text()
    assert "for the head first-piece, half the row" in card
    assert note in card
    plain = read_manifest(tmp_path / "one")
    assert (plain["untied"], plain["output"]) == (False, None)


def test_a_model_with_a_head_needs_no_untie(tmp_path, tokenizers_by_family):
    source, plm = write_pair(tmp_path, tokenizers_by_family, "Llama")
    plain = transfer(source, plm, tmp_path / "a", method=TWO, mode="extend")
    asked = transfer(source, plm, tmp_path / "b", method=TWO, mode="extend", untie=True)
    assert torch.equal(plain.head, asked.head)
    assert not read_manifest(tmp_path / "b")["untied"]


def test_one_row_of_a_tied_model_begins_halfway_between_its_sides(pair, tmp_path):
    one = transfer(*pair, tmp_path / "one", method=TWO, mode="extend")
    two = transfer(*pair, tmp_path / "two", method=TWO, mode="extend", untie=True)
    assert one.head is None
    assert torch.equal(one.embedding, torch.lerp(two.embedding, two.head, 0.5))
    (note,) = [note for note in one.notes if "halfway" in note]
    assert note.endswith("; --untie gives it two")
    assert note in inspect(*pair, method=TWO, mode="extend").notes
    assert not any("halfway" in note for note in two.notes)
    card = (tmp_path / "one" / "README.md").read_text()
    assert "; halfway to first-piece, half the row" in card
    assert read_manifest(tmp_path / "one")["output"]["name"] == "first-piece"
    assert not faults(tmp_path / "one")


@pytest.mark.parametrize("source", ["Gemma 3n", "Phi"])
def test_tables_of_one_side_stay_that_sides(source, tmp_path, tokenizers_by_family):
    """Input rows of each layer are no head; the head's bias is no input."""
    pair = write_pair(tmp_path, tokenizers_by_family, source)
    if source == "Phi":
        tie(pair[0])
    options = {"mode": "extend", "method": TWO}
    one = transfer(*pair, tmp_path / "one", **options)
    two = transfer(*pair, tmp_path / "two", **options, untie=True)
    assert one.head is None
    assert not torch.equal(one.embedding, two.embedding)
    assert len(one.further) == (source == "Gemma 3n")
    assert (one.head_bias is not None) == (source == "Phi")
    if source == "Phi":
        assert torch.equal(one.head_bias, two.head_bias)
    assert all(map(torch.equal, one.further, two.further))


def tie(directory):
    """Make the head the embedding."""
    model = AutoModelForCausalLM.from_pretrained(directory)
    model.lm_head.weight.data.copy_(model.get_input_embeddings().weight.data)
    model.lm_head.bias.data.normal_(generator=torch.Generator().manual_seed(0))
    model.save_pretrained(directory)
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": True}))


def test_each_method_of_a_comparison_has_its_own_note(pair, tmp_path):
    heldout = tmp_path / "text.txt"
    heldout.write_text("der Hund\n")
    options = {"mode": "extend", "heldout": heldout, "documents": 1}
    compare(*pair, tmp_path / "out", methods=["mean", TWO], method=TWO, **options)
    records = [
        read_manifest(found.parent.parent)
        for found in (tmp_path / "out").glob("*/saltlm/manifest.json")
    ]
    outputs = {record["output"] is not None: record for record in records}
    for has_output in (True, False):
        notes = outputs[has_output]["notes"]
        assert any("halfway" in note for note in notes) == has_output


def test_inspect_says_what_a_head_costs(pair):
    (note,) = [n for n in inspect(*pair, untie=True).notes if "no longer the embedding" in n]
    assert "MB more on disk" in note
    assert not any("no longer" in n for n in inspect(*pair).notes)


def test_objects_in_memory_have_two_sides_too(tokenizers_by_family):
    left, right = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    tables = [
        torch.randn(t.get_vocab_size(), 8, generator=torch.Generator().manual_seed(i))
        for i, t in enumerate((left, right))
    ]
    options = {"source_tokenizer": left, "plm_tokenizer": right}
    config = RowsConfig(method=TWO, untie=True)
    untied = transfer_embeddings(*tables, **options, config=config)
    tied = transfer_embeddings(*tables, **options, config=RowsConfig(method=TWO))
    assert torch.equal(tied.embedding, torch.lerp(untied.embedding, untied.head, 0.5))
    given = transfer_embeddings(
        *tables, **options, head=tables[0].clone(), config=RowsConfig(method=TWO)
    )
    assert torch.equal(untied.head, given.head)
    assert torch.equal(untied.embedding, given.embedding)
