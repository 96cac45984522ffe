"""The record of a transfer comes back as it was written, and damage to it is named."""

import hashlib
import importlib.metadata
import sys
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file, save_file

from saltlm.errors import CheckpointError
from saltlm.files import hashes
from saltlm.files.hashes import sha256, table_hash
from saltlm.methods.linear import Fit, no_fit
from saltlm.methods.neighbours import Neighbours, no_neighbours
from saltlm.record import manifest as record
from saltlm.record.manifest import environment, peak_memory_bytes, read_manifest, write_manifest
from saltlm.record.provenance import Provenance
from saltlm.version import __version__


def provenance(neighbours, fit, m):
    return Provenance(
        origin=torch.tensor([0, 0, 1, 1, 2, 3], dtype=torch.uint8)[: 4 + m],
        plm_ids=torch.tensor([5, 4, 3, 2, 1, -1])[: 4 + m],
        source_ids=torch.tensor([9, 8, -1, -1, -1, 0])[: 4 + m],
        anchor_ids=torch.tensor([0, -1]),
        anchor_plm_ids=torch.tensor([5, 70]),
        anchor_source_ids=torch.tensor([9, 80]),
        new_ids=torch.tensor([2, 3])[:m],
        neighbours=neighbours,
        fit=fit,
        norm_ratio=torch.tensor([0.5, 1.25])[:m],
        anchor_names=('Ġ\n"ü',),
    )


def with_neighbours():
    weights = torch.tensor([0.75, 0.25, 1.0])
    offsets, indices = torch.tensor([0, 2, 3]), torch.tensor([1, 0, 0])
    # As with FOCUS: the coefficients are the weights, one and the same tensor.
    return provenance(
        Neighbours(offsets, indices, weights, torch.tensor([0.9, 0.4, 0.7])),
        Fit(weights, torch.tensor([0.25, 0.0])),
        2,
    )


def assert_equal(left, right):
    for field in fields(left):
        a, b = (getattr(item, field.name) for item in (left, right))
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True, msg=field.name)
        elif a is None or isinstance(a, tuple):
            assert a == b
        else:
            assert_equal(a, b)


@pytest.mark.parametrize(
    "made",
    [
        with_neighbours(),
        provenance(no_neighbours(2), no_fit(2), 2),
        provenance(no_neighbours(0), no_fit(0), 0),
    ],
    ids=["neighbours", "no neighbours", "nothing new"],
)
def test_provenance_comes_back(made, tmp_path):
    made.save(tmp_path)
    assert_equal(Provenance.load(tmp_path), made)
    first = (tmp_path / "saltlm" / "provenance.safetensors").read_bytes()
    made.save(tmp_path)
    assert (tmp_path / "saltlm" / "provenance.safetensors").read_bytes() == first


def test_a_directory_of_somebody_else_has_no_provenance(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        Provenance.load(tmp_path)
    assert caught.value.what == (
        f"{tmp_path} has no saltlm/provenance.safetensors: saltlm did not make it"
    )
    assert caught.value.hint.startswith("saltlm transfer SOURCE PLM --out DIR")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file, tensors: file.write_bytes(file.read_bytes()[:-1]), "."),
        (lambda file, tensors: file.write_bytes(b""), "."),
        (lambda file, tensors: save_file({k: tensors[k] for k in ["origin"]}, file), "offsets"),
        (lambda file, tensors: save_file(tensors | {"x": tensors["origin"].clone()}, file), "'x'"),
    ],
    ids=["truncated", "empty", "tensors missing", "a tensor too many"],
)
def test_damaged_provenance_is_named(damage, reason, tmp_path):
    with_neighbours().save(tmp_path)
    file = tmp_path / "saltlm" / "provenance.safetensors"
    damage(file, load_file(file))
    with pytest.raises(CheckpointError, match=rf"provenance\.safetensors is damaged: .*{reason}"):
        Provenance.load(tmp_path)


def test_a_manifest_comes_back_in_its_order(tmp_path):
    written = {"b": {"Straße": [1, None, 0.1]}, "a": "▁"}
    write_manifest(tmp_path, written)
    read = read_manifest(tmp_path)
    assert read == {"schema": 1, **written}
    assert list(read) == ["schema", "b", "a"]
    assert "Straße" in (tmp_path / "saltlm" / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, b"{", b"\xff"])
def test_a_manifest_that_cannot_be_read(content, tmp_path):
    if content is not None:
        (tmp_path / "saltlm").mkdir()
        (tmp_path / "saltlm" / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read: ."):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"manifest\.json holds a list, not a record\nhint: saltlm transfer SOURCE PLM"),
        ("{}", r"manifest\.json has the layout None; saltlm .* reads 1\nhint: use the version"),
        ('{"schema": 2}', r"has the layout 2; saltlm .* reads 1"),
    ],
)
def test_a_manifest_of_another_layout_is_refused(text, message, tmp_path):
    (tmp_path / "saltlm").mkdir()
    (tmp_path / "saltlm" / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_manifest(tmp_path)


def test_hashes_are_those_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 9000  # more than two blocks
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(7, 3), (7,)])
def test_a_table_has_the_hash_of_its_bytes_in_the_file(dtype, shape, tmp_path, monkeypatch):
    table = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"t": table}, tmp_path / "t.safetensors")
    data = (tmp_path / "t.safetensors").read_bytes()[-table.nbytes :]
    expected = hashlib.sha256(data).hexdigest()
    assert table_hash(table) == expected
    monkeypatch.setattr(hashes, "_CHUNK", 2)
    assert table_hash(table) == expected


def test_the_environment_names_versions(monkeypatch):
    monkeypatch.setattr(record, "_LIBRARIES", ("torch", "no-such-library"))
    libraries = environment()["libraries"]
    assert libraries == {
        "saltlm": __version__,
        "torch": importlib.metadata.version("torch"),
        "no-such-library": "not installed",
    }


def test_peak_memory_is_in_bytes_on_every_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    linux = peak_memory_bytes()
    assert linux > 50 * 2**20
    monkeypatch.setattr(sys, "platform", "darwin")  # there the system itself counts in bytes
    assert peak_memory_bytes() * 1024 == linux
