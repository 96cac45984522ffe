"""Histograms and the map are those of the rows."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from saltlm.inspection.report.geometry import histograms_of, map_of, read_rows_of, sample_ids
from saltlm.inspection.report.saved import read_saved_files
from saltlm.inspection.report.tokens import read_token_table


@pytest.fixture(scope="module")
def read(model):
    (saved,) = read_saved_files([model])
    table = read_token_table(saved)
    ids = sample_ids(table, seed=0)
    return table, ids, read_rows_of(saved, ids)


def test_the_rows_are_those_of_the_model(model, read):
    _, ids, rows = read
    table = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    for name in ("new", "shared"):
        assert torch.equal(rows[name], table[ids[name]].float())
    assert not set(ids["new"]) & set(ids["shared"])


def test_rows_that_are_in_another_tensor_are_not_shown(model):
    """Of an embedding in two halves, as transformers saves that of Molmo 2."""
    (saved,) = read_saved_files([model])
    n_rows = len(load_file(model / "model.safetensors")["model.embed_tokens.weight"])
    assert set(read_rows_of(saved, {"new": [], "shared": [n_rows - 1]})) == {"shared"}
    assert read_rows_of(saved, {"new": [3], "shared": [n_rows]}) == {}


def test_histograms_hold_every_value(read):
    table, _, rows = read
    neighbours, residual, norms = histograms_of(table, rows)
    for histogram in (neighbours, residual, norms):
        for _, shares in histogram.groups:
            assert sum(shares) == pytest.approx(100)
    k = table.provenance.neighbours.k.numpy()
    assert f"median {int(np.median(k))}" in neighbours.summary
    assert [name for name, _ in norms.groups] == ["new", "shared"]


@pytest.mark.parametrize("width", [None, 1500])
def test_the_map_is_the_principal_components(read, width):
    """Of more rows than numbers in each, and of fewer."""
    table, ids, rows = read
    if width is not None:
        noise = torch.Generator().manual_seed(0)
        rows = {name: torch.randn(len(one), width, generator=noise) for name, one in rows.items()}
        assert sum(map(len, rows.values())) < width
    found = map_of(table, ids, rows)
    together = np.concatenate([rows["new"].numpy(), rows["shared"].numpy()]).astype(np.float64)
    centred = together - together.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    assert found.explained == pytest.approx(values[-2:].sum() / values.sum())
    for axis in (0, 1):
        mine = np.array([point[axis] for point in found.points])
        inside = np.abs(mine) < 0.95
        theirs = centred @ vectors[:, -1 - axis]
        assert abs(np.corrcoef(mine[inside], theirs[inside])[0, 1]) == pytest.approx(1)
        assert np.abs(mine).max() == pytest.approx(0.95)
    assert [point[4] for point in found.points] == [*ids["new"], *ids["shared"]]


def test_without_rows_there_is_no_map(read):
    table, ids, _ = read
    assert map_of(table, ids, {}) is None
    assert len(histograms_of(table, {})) == 2
