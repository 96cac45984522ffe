"""The packed columns hold what saltlm explain says."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from saltlm.inspection.explain import explain
from saltlm.inspection.report.saved import read_saved_files
from saltlm.inspection.report.tokens import (
    SHOWN_NEIGHBOURS,
    columns_of,
    read_token_table,
    scripts_of,
)

TYPES = {"origins": "u1", "sources": "<i4", "neighbours": "<u2", "residuals": "<f4"}
TYPES |= {"norms": "<f4", "places": "<u4", "coefficients": "<f2"}


@pytest.fixture(scope="module")
def table(model):
    return read_token_table(read_saved_files([model])[0])


@pytest.fixture(scope="module")
def columns(table):
    packed = {
        name: zlib.decompress(base64.b64decode(text)) for name, text in columns_of(table).items()
    }
    numbers = {name: np.frombuffer(packed[name], kind) for name, kind in TYPES.items()}
    return {"names": packed["names"].decode().split("\n"), **numbers}


def test_every_new_token_is_explained_as_on_the_command_line(model, table, columns):
    shown = np.minimum(columns["neighbours"], SHOWN_NEIGHBOURS)
    starts = np.concatenate([[0], np.cumsum(shown)]).astype(int)
    made = [id for id, origin in enumerate(columns["origins"]) if origin == 1]
    assert len(made) == len(columns["neighbours"]) > 20
    explained = explain(model, [f"#{id}" for id in made])
    for place, one in enumerate(explained):
        part = slice(starts[place], starts[place + 1])
        assert columns["neighbours"][place] == len(one.influences)
        expected = [influence.coefficient for influence in one.influences[:SHOWN_NEIGHBOURS]]
        assert columns["coefficients"][part] == pytest.approx(expected, rel=1e-3, abs=1e-4)
        ids = [influence.id for influence in one.influences[:SHOWN_NEIGHBOURS]]
        ties = len(set(map(abs, expected))) < len(expected)
        assert ties or list(columns["places"][part]) == ids
        assert columns["norms"][place] == pytest.approx(one.norm_ratio)
    copied = [id for id, origin in enumerate(columns["origins"]) if origin == 0]
    for one in explain(model, [f"#{id}" for id in copied]):
        assert columns["sources"][one.id] == one.source_id


def test_an_anchor_that_is_no_token_has_its_name_behind_the_others(table):
    """As with a pruned PLM, whose other tokens are anchors too."""
    record = table.provenance
    anchors = record.anchor_ids.clone()
    anchors[-1] = -1
    other = replace(record, anchor_ids=anchors, anchor_names=("Ġmouse",))
    named = replace(table, names=[*table.names, "␣mouse"], provenance=other)
    packed = zlib.decompress(base64.b64decode(columns_of(named)["places"]))
    places = torch.from_numpy(np.frombuffer(packed, "<u4").astype("i8"))
    is_last = record.anchor_ids[-1]
    before = zlib.decompress(base64.b64decode(columns_of(table)["places"]))
    was = torch.from_numpy(np.frombuffer(before, "<u4").astype("i8"))
    assert (was == is_last).any()
    assert torch.equal(places == len(record.origin), was == is_last)
    assert named.names[len(record.origin)] == "␣mouse"


def test_the_scripts_add_up(table):
    counts = scripts_of(table)
    kinds = ("shared", "made", "sampled", "kept")
    total = sum(count.total() for count in counts.values())
    assert total == sum(origin in kinds for origin in table.origins)
    assert list(counts)[0] == max(counts, key=lambda script: counts[script].total())
