"""A suite of ``saltlm evaluate`` at the checkpoints of a run."""

import json
import logging

import pytest

from adapt_models import read_model, save_model, save_text, tiny_config
from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.metrics import read_metrics
from saltlm.errors import DataError
from saltlm.evaluation import generation


@pytest.fixture(autouse=True)
def short(monkeypatch, quick):
    monkeypatch.setattr(generation, "N_NEW", 3)


@pytest.fixture
def suite(tmp_path):
    text = save_text(tmp_path / "text.txt")
    file = tmp_path / "suite.yaml"
    file.write_text(f"limit: 3\nseed: 5\nquick: {{heldout: {text}, prompts: 1}}\n")
    return file


def kept(out):
    folder = out / "saltlm" / "evaluation"
    return {int(file.stem[5:]): json.loads(file.read_text()) for file in folder.iterdir()}


def test_results_are_kept_at_each_checkpoint_and_change_nothing_else(tmp_path, suite):
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    stages = ["embeddings:0.25", "full"]
    adapt(
        model, out, config=tiny_config(tmp_path, suite=suite, steps=5, stages=stages, save_every=2)
    )
    found = kept(out)
    assert sorted(found) == [1, 2, 4, 5]
    rows = {row["step"]: row for row in read_metrics(out / "saltlm" / "metrics.jsonl")}
    assert [step for step, row in rows.items() if "suite" in row] == [1, 2, 4, 5]
    for step, results in found.items():
        assert [result["task"] for result in results] == ["target text", "generation"]
        assert results[0]["model"] == {"name": f"out at step {step}", "sha256": ""}
        assert results[0]["seed"] == 5
        value = results[0]["metrics"]["bits per byte"]["value"]
        assert rows[step]["suite"]["target text"]["bits per byte"] == value
    first, last = (rows[step]["suite"]["target text"]["bits per byte"] for step in (1, 5))
    assert last < first

    other = tmp_path / "other"
    adapt(model, other, config=tiny_config(tmp_path, steps=5, stages=stages, save_every=2))
    assert read_model(other) == read_model(out)
    adapt(
        model,
        other,
        config=tiny_config(tmp_path, suite=suite, steps=6, stages=stages, save_every=2),
    )
    assert sorted(kept(other)) == [6]


def test_results_of_steps_that_are_done_again_go(tmp_path, suite):
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    adapt(model, out, config=tiny_config(tmp_path, suite=suite, steps=4, save_every=1))
    folder = out / "saltlm" / "checkpoints"
    first = sorted(folder.iterdir())[0]
    config = tiny_config(tmp_path, suite=suite, steps=4, save_every=4, seed=1)
    adapt(model, out, config=config, resume=str(first))
    assert sorted(kept(out)) == [1, 2, 3, 4]
    adapt(model, out, config=config, resume="never")
    assert sorted(kept(out)) == [4]


def test_a_measurement_that_fails_does_not_end_the_run(tmp_path, suite, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, logger="saltlm")
    monkeypatch.setattr("saltlm.evaluation.quick.generate", lambda *_: 1 / 0)
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    assert adapt(model, out, config=tiny_config(tmp_path, suite=suite, steps=1)).n_steps == 1
    assert [result["task"] for result in kept(out)[1]] == ["target text"]
    assert "generation of out at step 1 failed: division by zero" in caplog.text


def test_what_a_suite_lacks_is_told_before_the_first_step(tmp_path, suite):
    suite.write_text("quick: {heldout: no.txt}")
    model, out = save_model(tmp_path / "model"), tmp_path / "out"
    with pytest.raises(
        DataError, match=r"target text of .*suite\.yaml cannot be measured: no\.txt"
    ):
        adapt(model, out, config=tiny_config(tmp_path, suite=suite))
    assert not (out / "saltlm" / "metrics.jsonl").exists()
