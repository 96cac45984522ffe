"""Checkpoints are complete or absent, and give back every bit."""

import json

import pytest
import torch
from torch import nn

from saltlm.adaptation import checkpoints
from saltlm.adaptation.checkpoints import (
    discard,
    find,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    read_saved,
    save,
    weights_of,
)
from saltlm.errors import TrainingError


class Tied(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.head = nn.Linear(width, 5)
        self.head.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(5)
        self.register_buffer("not_kept", torch.randn(2), persistent=False)

    def forward(self, ids):
        return self.norm(self.head(self.embedding(ids)))


def trained(seed: int, n_steps: int = 3) -> tuple[Tied, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Tied()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(n_steps):
        model(torch.arange(5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def state(step: int) -> dict:
    return {
        "step": step,
        "stage": 0,
        "kind": "full",
        "sequences": step,
        "n_bytes": 1.5,
        "seconds": 0.1,
    }


def save_step(folder, model, optimizer, step=1, keep=9):
    tensors = optimizer_tensors(model, optimizer)
    return read_saved(save(folder, weights_of(model), tensors, state(step), keep=keep))


def test_a_model_and_its_optimizer_go_on_as_if_nothing_had_happened(tmp_path):
    model, optimizer = trained(0)
    saved = save_step(tmp_path, model, optimizer)
    assert (saved.step, saved.kind, saved.n_bytes) == (1, "full", 1.5)
    other, its_optimizer = trained(1, n_steps=0)
    load_weights(saved, other)
    load_optimizer(saved, other, its_optimizer)
    for one, its in ((model, optimizer), (other, its_optimizer)):
        one(torch.arange(5)).square().sum().backward()
        its.step()
    ours, theirs = weights_of(model), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert set(ours) == {
        "embedding.weight",  # once, though tied
        "head.bias",
        *(f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")),
        "norm.num_batches_tracked",
    }
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert other.head.weight is other.embedding.weight


def test_all_of_the_optimizer_goes_to_the_device_of_the_weights(tmp_path):
    """Fused AdamW counts its steps there; "meta" stands for a GPU."""
    model, optimizer = trained(0)
    saved = save_step(tmp_path, model, optimizer)
    elsewhere = Tied().to("meta")
    theirs = torch.optim.AdamW(elsewhere.parameters(), fused=False)
    load_optimizer(saved, elsewhere, theirs)
    devices = {t.device.type for state in theirs.state.values() for t in state.values()}
    assert devices == {"meta"}


def test_the_oldest_are_pruned(tmp_path):
    model, optimizer = trained(0)
    for step in (1, 2, 30):
        save_step(tmp_path, model, optimizer, step, keep=2)
    assert [path.name for path in find(tmp_path)] == ["step-00000002", "step-00000030"]
    discard(find(tmp_path)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000030"]


def test_what_a_killed_run_leaves_is_not_a_checkpoint(tmp_path):
    model, optimizer = trained(0)
    for name in (".partial", ".pruned", "step-00000007"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    assert find(tmp_path) == []
    saved = save_step(tmp_path, model, optimizer, step=8)
    assert find(tmp_path) == [saved.path]
    assert not (tmp_path / ".partial").exists()
    assert not (tmp_path / ".pruned").exists()


def test_nothing_is_pruned_before_the_next_is_whole(tmp_path, monkeypatch):
    model, optimizer = trained(0)
    save_step(tmp_path, model, optimizer, step=1, keep=1)

    def killed(tensors, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_step(tmp_path, model, optimizer, step=2, keep=1)
    (kept,) = find(tmp_path)
    load_weights(read_saved(kept), model)


def test_another_model_is_refused(tmp_path):
    model, optimizer = trained(0)
    saved = save_step(tmp_path, model, optimizer)
    with pytest.raises(TrainingError, match=r"is not of this model: 1 tensors differ, such as emb"):
        load_weights(saved, Tied(width=4))
    small = nn.Linear(2, 2)
    with pytest.raises(TrainingError, match=r"optimizer's state of \S+, which the model has not"):
        load_optimizer(saved, small, torch.optim.AdamW(small.parameters()))


def test_damage_is_named(tmp_path):
    model, optimizer = trained(0)
    saved = save_step(tmp_path, model, optimizer)
    (saved.path / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(TrainingError, match=r"weights\.safetensors is not a whole checkpoint: "):
        load_weights(saved, model)
    file = saved.path / "state.json"
    for key, value in {"seconds": "x", "sequences": 3}.items():
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
        with pytest.raises(TrainingError, match=r"state\.json is not what was written"):
            read_saved(saved.path)
    file.write_text(json.dumps({"step": 1}))
    with pytest.raises(TrainingError, match="step-00000001 is not a whole checkpoint: "):
        read_saved(saved.path)
