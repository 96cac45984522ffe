"""What a transfer writes is run beside its source, and refused where the two differ."""

import json
import re
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from saltlm.config.transfer import TransferConfig, load_config
from saltlm.errors import CheckpointError, MissingExtraError
from saltlm.record.manifest import read_manifest
from saltlm.record.proof import Proof
from saltlm.vocabulary_transfer import proof
from saltlm.vocabulary_transfer.prepare import read_pair
from saltlm.vocabulary_transfer.proof import check_provable, prove
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import write_pair

pytestmark = pytest.mark.usefixtures("with_proof")


@pytest.fixture(scope="module")
def made(tokenizers_by_family, tmp_path_factory):
    """A pair, as read, and what was made of it without a proof, by mode extend."""
    place = tmp_path_factory.mktemp("made")
    start = tokenizers_by_family["bytelevel"].token_to_id("<|im_start|>")
    source, plm = write_pair(place, tokenizers_by_family, begin_id=start)
    result = transfer(source, plm, place / "out", prove=False, mode="extend", dtype="bfloat16")
    read = read_pair(source, plm, TransferConfig(mode="extend"))
    return read, result, place / "out"


def test_a_sound_transfer_is_proved(made, tmp_path):
    (read, _, _), out = made, tmp_path / "out"
    result = transfer(read.source.directory, read.plm.directory, out, untie=True)
    proof, copied = result.proof, int((result.provenance.source_ids >= 0).sum())
    assert proof == Proof(tokens=12, columns=copied, states=0.0, logits=proof.logits)
    assert proof.logits <= 1e-6
    assert read_manifest(out)["proof"]["columns"] == copied
    card = (out / "README.md").read_text()
    assert "- proved by a run: on 12 shared tokens the new model has the source's hidden" in card
    told = f"config.json: begin_id {read.source.config.begin_id} may be a token id of the old"
    assert [note for note in read_manifest(out)["notes"] if note.startswith(told)]
    assert f"- {told}" in card


def test_hashes_of_ids_are_refused(tokenizers_by_family, tmp_path):
    source, plm = write_pair(tmp_path, tokenizers_by_family, "Qwen4-Exp")
    with pytest.raises(CheckpointError, match="other hidden states: they differ by") as caught:
        transfer(source, plm, tmp_path / "out")
    assert "Qwen4ExpTextConfig reads token ids otherwise than through tables" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plm", "source"]
    config = load_config(None, re.findall(r"--set (\S+)", caught.value.hint))
    assert transfer(source, plm, tmp_path / "made", config=config).proof.missing
    # Where no file holds the hash, its numbers come from vocab_size, so longer is other too.
    tensors = load_file(source / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "multipliers" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="other hidden states: they differ by"):
        transfer(source, plm, tmp_path / "out", mode="extend")


def test_any_other_number_in_the_result_is_noticed(made):
    read, result, out = made
    config, file = TransferConfig(mode="extend", dtype="bfloat16"), out / "model.safetensors"
    proof = prove(out, read, result, config)
    assert (proof.missing, proof.states) == (None, 0.0)
    assert proof.columns == len(read.alignment.source)
    whole = load_file(file)
    for name, message in (
        (
            "model.embed_tokens.weight",
            "the new model has other (hidden states|logits): they differ",
        ),
        ("model.norm.weight", "the new model has other hidden states: they differ by"),
        (None, r"does not run, the source does: ValueError: no tensor for model\.norm\.weight"),
    ):
        changed = {key: tensor for key, tensor in whole.items() if name or "model.norm" not in key}
        if name:
            changed[name] = whole[name] * 1.05
        save_file(changed, file, {"format": "pt"})
        with pytest.raises(CheckpointError, match=message):
            prove(out, read, result, config)
    save_file(whole, file, {"format": "pt"})


def test_what_is_not_proved_is_said(made, monkeypatch):
    read, result, out = made
    assert "- not proved by a run: it was not asked for" in (out / "README.md").read_text()
    assert result.notes[-1].startswith("not proved by a run: it was not asked for (prove=false)")
    options = {"mode": "extend", "dtype": "bfloat16"}
    monkeypatch.setattr("saltlm.vocabulary_transfer.proof._LARGEST", 1000)
    unasked = prove(out, read, result, TransferConfig(**options))
    assert str(unasked).endswith("the weights are 0.0 GB, --set prove=true runs them")
    config = TransferConfig(**options, prove=True)
    file = read.source.directory / "config.json"
    text = file.read_text()
    file.write_text(json.dumps(json.loads(text) | {"num_hidden_layers": 3}))
    broken = prove(out, read, result, config)
    file.write_text(text)
    assert broken.missing.startswith("the source does not run here (ValueError: no tensor for")


def test_layers_of_a_large_model_are_read_when_their_turn_comes(
    tokenizers_by_family, tmp_path, monkeypatch, caplog
):
    """Mixtral's experts are joined by transformers, so they are not where they are stored."""
    source, plm = write_pair(tmp_path, tokenizers_by_family, "Mixtral")
    out, run, devices = tmp_path / "out", proof._states_and_logits, []

    def seen(model, *args):
        devices.append({parameter.device.type for parameter in model.parameters()})
        return run(model, *args)

    monkeypatch.setattr("saltlm.vocabulary_transfer.proof._LARGEST", 1000)
    monkeypatch.setattr("saltlm.vocabulary_transfer.proof._states_and_logits", seen)
    made = transfer(source, plm, out, prove=True).proof
    assert devices == [{"meta"}, {"meta"}]
    assert (made.missing, made.states, made.streamed) == (None, 0.0, True)
    assert str(made).startswith("proved by a run, all layers, one after the other from disk: on 12")
    assert read_manifest(out)["proof"]["streamed"] is True
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_proof_that_cannot_be_made_is_refused_at_once(made, tmp_path, monkeypatch):
    read, _, _ = made
    monkeypatch.setattr("saltlm.vocabulary_transfer.proof._LARGEST", 1000)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match="prove=true for more than 1 GiB of weights needs"):
        transfer(read.source.directory, read.plm.directory, tmp_path / "out", prove=True)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(read.source.config, "quantization_config", {}, raising=False)
    check_provable(read, TransferConfig(prove=True))  # not layer by layer, so it can be tried


@pytest.mark.parametrize(("dtype", "rounded"), [(torch.float32, 3e-5), (torch.bfloat16, 0.4)])
def test_kernels_may_add_up_in_another_order(dtype, rounded):
    """SmolLM2's logits were 2.9e-5 apart on two threads, where the largest is 27.8."""
    logits = torch.tensor([[27.8, -3.0, 0.5]], dtype=dtype)
    assert proof._same(logits, logits + torch.tensor([0, 0, rounded], dtype=dtype))
    assert not proof._same(logits, logits + torch.tensor([0, 0, 1.5], dtype=dtype))
    assert not proof._same(logits, logits[:, :2])
