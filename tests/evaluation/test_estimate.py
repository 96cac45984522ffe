"""What an evaluation is said to cost: by what is read and written, before a model is loaded."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from adapt_models import N_ROWS, save_model
from conftest import CORPUS
from saltlm.evaluation import evaluate as running
from saltlm.evaluation.estimate import memory_of_models, seconds_of_tasks
from saltlm.evaluation.evaluate import _tell_cost, evaluate
from saltlm.evaluation.task import Task, Work
from saltlm.models.checkpoint import open_checkpoint
from saltlm.models.cost import LAYER_SECONDS, OVERHEAD_BYTES, count_weights, loaded_as

LAYERS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("estimate") / "model")


def task(work):
    return Task("text", "1", "", {}, "", 0, lambda subject: 1 / 0, work)


def test_time_is_by_tokens_read_and_written(model):
    n_weights = count_weights(open_checkpoint(model))

    def seconds(*works, per_product=1e-6):
        return seconds_of_tasks(model, n_weights, list(map(task, works)), per_product)

    texts = CORPUS[:8]
    assert seconds(Work(texts), per_product=0.0) == pytest.approx(LAYERS * LAYER_SECONDS)
    assert seconds(Work(texts, passes=3)) == pytest.approx(3 * seconds(Work(texts)))
    both = seconds(Work(texts), Work(n_written=5), None)
    assert both == pytest.approx(seconds(Work(texts)) + seconds(Work(n_written=5)))
    long = " ".join(CORPUS * 20)  # windows overlap
    assert seconds(Work([long])) > 1.3 * seconds(Work([*CORPUS * 20]))


@pytest.mark.parametrize(
    ("held", "said", "expected"),
    [
        (torch.bfloat16, "bfloat16", torch.bfloat16),
        (torch.float16, "float16", torch.float16),
        (torch.bfloat16, "float32", torch.float32),  # transformers turns the weights into it
        (torch.float32, "bfloat16", torch.bfloat16),
        (torch.float64, None, torch.float64),
        (torch.bfloat16, None, torch.bfloat16),
    ],
)
def test_a_model_is_loaded_as_its_configuration_says(held, said, expected, tmp_path):
    model = save_model(tmp_path / "model", dtype=held)
    config = json.loads((model / "config.json").read_text()) | {"dtype": said}
    (model / "config.json").write_text(json.dumps(config))
    found = loaded_as(model, open_checkpoint(model))
    assert found == expected
    assert AutoModelForCausalLM.from_pretrained(model, dtype="auto").dtype == found


def test_the_format_of_the_largest_tensor_counts_and_float32_stands_for_others(model, tmp_path):
    copied = shutil.copytree(model, tmp_path / "model")
    config = json.loads((copied / "config.json").read_text()) | {"dtype": None}
    (copied / "config.json").write_text(json.dumps(config))
    few, many = torch.zeros(2, 2, dtype=torch.float16), torch.zeros(9, 9, dtype=torch.bfloat16)
    for tensors, expected in (
        ({"a": few, "b": many}, torch.bfloat16),
        ({"a": many, "b": few}, torch.bfloat16),
        ({"a": many, "b": few, "c": many[:1, :1].clone()}, torch.bfloat16),
        ({"a": many.to(torch.int8)}, torch.float32),
        ({}, torch.float32),
    ):
        save_file(tensors, copied / "model.safetensors")
        assert loaded_as(copied, open_checkpoint(copied)) == expected


def test_time_is_foretold_in_the_numbers_of_the_model(tmp_path, monkeypatch):
    """In float32 a model in bfloat16 was told five times the time."""
    model, asked = save_model(tmp_path / "model", dtype=torch.bfloat16), []
    monkeypatch.setattr(running, "seconds_a_product", lambda *given: asked.append(given) or 1e-9)
    _tell_cost([model], [[task(Work(CORPUS[:3]))]], "cuda:1")
    assert asked == [("cuda:1", torch.bfloat16)]


def test_memory_is_that_of_the_largest_or_of_two(model):
    one = memory_of_models([model], is_two=False) - OVERHEAD_BYTES
    assert one > 4 * N_ROWS * 16
    assert memory_of_models([model, model], is_two=False) == one + OVERHEAD_BYTES
    assert memory_of_models([model, model], is_two=True) == 2 * one + OVERHEAD_BYTES


def test_cost_is_told_first_and_only_of_what_is_missing(model, tmp_path, caplog, monkeypatch):
    text = tmp_path / "de.txt"
    text.write_text("\n".join(CORPUS[6:9]), encoding="utf-8")
    monkeypatch.setattr(running, "free_memory_bytes", lambda: 2**29)
    for _ in range(2):
        with caplog.at_level(logging.INFO, "saltlm"):
            evaluate(model, tmp_path / "out", tasks=("target text",), heldout=text)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("1 task: about ")
    assert said[0].endswith("GiB of memory")
    assert said[1] == "only 0.5 GiB of memory are free"
    assert not any("about" in line for line in said[2:])
