"""Intervals, differences and tables, from results that can be checked by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from saltlm.errors import CheckpointError
from saltlm.evaluation.results import (
    Evaluation,
    Failure,
    difference_interval,
    model_hash,
    ratio,
    read_result,
    write_result,
)
from saltlm.evaluation.side_by_side import (
    as_json,
    evaluation_markdown,
    evaluation_rows,
    labels_of,
    notes_of,
)
from saltlm.evaluation.speed import SPEED, TIMES
from saltlm.evaluation.task import Task, result_file


def test_a_ratio_is_of_sums_not_a_mean_of_ratios():
    found = ratio([1.0, 9.0], [1.0, 3.0], better="lower", seed=0)
    assert found["value"] == 10 / 4
    assert (found["n"], found["better"]) == (2, "lower")
    assert found["items"] == [[1.0, 9.0], [1.0, 3.0]]
    low, high = found["interval"]
    assert 1.0 <= low < 2.5 < high <= 3.0


def test_standard_error_and_interval_are_those_of_a_share():
    share, n = 0.3, 400
    found = ratio([1.0] * 120 + [0.0] * 280, better="higher", seed=0)
    expected = np.sqrt(share * (1 - share) / n)
    assert found["value"] == pytest.approx(share)
    assert found["stderr"] == pytest.approx(expected, rel=0.1)
    assert found["interval"] == pytest.approx(
        [share - 1.96 * expected, share + 1.96 * expected], abs=0.01
    )


def test_one_item_has_no_interval():
    found = ratio([2.0], [4.0], better="lower", seed=0)
    assert (found["value"], found["stderr"], found["interval"]) == (0.5, None, None)
    assert difference_interval(found, found, seed=0) is None


def test_a_difference_on_the_same_items_is_seen_where_intervals_overlap():
    hard = np.random.default_rng(0).normal(3, 1, 50)
    one = ratio(hard.tolist(), better="lower", seed=0)
    other = ratio((hard + 0.01).tolist(), better="lower", seed=0)
    assert one["interval"][1] > other["interval"][0]
    low, high = difference_interval(one, other, seed=0)
    assert (low, high) == pytest.approx((-0.01, -0.01))
    one["items"] = other["items"] = None  # then they are taken for independent
    low, high = difference_interval(one, other, seed=0)
    middle, reach = -0.01, 1.96 * np.hypot(one["stderr"], other["stderr"])
    assert (low, high) == pytest.approx((middle - reach, middle + reach))


def result(name, metrics, task="task", seed=0, **details):
    return {
        "schema": 1,
        "model": {"name": name, "sha256": name * 8},
        "task": task,
        "version": "1",
        "engine": "test",
        "settings": {},
        "data": "",
        "seed": seed,
        "metrics": metrics,
        "details": details,
        "seconds": 0.0,
        "environment": {},
    }


def evaluation(*results, failures=()):
    models = tuple(found[0]["model"] for found in results)
    return Evaluation(models, tuple(map(tuple, results)), tuple(failures))


def measured(values, better="higher"):
    return ratio(list(values), better=better, seed=0)


@pytest.mark.parametrize("name", ["details", "task", "model", "value", "interval"])
def test_a_damaged_result_is_named(name, tmp_path):
    good = result("a", {"right": measured([1.0, 0.0])})
    write_result(tmp_path / "a.json", good)
    assert read_result(tmp_path / "a.json") == good
    place = good["metrics"]["right"] if name in ("value", "interval") else good
    place[name] = ["9"] if name == "task" else "9"
    (tmp_path / "a.json").write_text(json.dumps(good))
    with pytest.raises(CheckpointError, match=rf"a\.json is damaged: ValueError: {name} is "):
        read_result(tmp_path / "a.json")


def test_the_best_is_marked_and_so_is_who_is_level_with_it():
    right = [1.0] * 60 + [0.0] * 40
    nearly = [0.0] + right[1:]  # one question differs
    wrong = [0.0] * 100
    found = evaluation(
        [result("a/nearly", {"right": measured(nearly)})],
        [result("a/right", {"right": measured(right)})],
        [result("a/wrong", {"right": measured(wrong)})],
    )
    (row,) = evaluation_rows(found)
    assert [cell.place for cell in row.cells] == ["level", "best", "behind"]
    line = evaluation_markdown(found).splitlines()[4]
    assert line.startswith("| task | right | 100 | ≈ 0.590 (0.")
    assert "| **0.600** (0." in line
    assert line.endswith("| 0.000 (0.000 to 0.000) |")


def test_the_best_may_be_the_lowest_or_nobody():
    numbers = {"a": 1.0, "b": 2.0}
    for better, places in {
        "lower": ["best", "behind"],
        "higher": ["behind", "best"],
        None: [None, None],
    }.items():
        found = evaluation(
            *([result(name, {"m": measured([x] * 3, better)})] for name, x in numbers.items())
        )
        assert [cell.place for cell in next(evaluation_rows(found)).cells] == places
    equal = evaluation(*([result(name, {"m": measured([1.0] * 3)})] for name in "ab"))
    assert [cell.place for cell in next(evaluation_rows(equal)).cells] == [None, None]


def test_what_one_model_lacks_leaves_a_gap():
    found = evaluation(
        [result("a", {"m": measured([1.0, 0.0])})],
        [result("b", {"other": measured([1.0, 1.0])}, task="more")],
        failures=[Failure("task", "no such file", "b")],
    )
    rows = list(evaluation_rows(found))
    assert [(row.task, row.metric) for row in rows] == [("task", "m"), ("more", "other")]
    assert [cell.metric is None for cell in rows[0].cells] == [False, True]
    text = evaluation_markdown(found)
    assert "| more | other | 2 |  | 1.000 (1.000 to 1.000) |" in text
    assert "- not measured: task of b: no such file" in text


@pytest.mark.parametrize(
    ("names", "labels"),
    [(["x/a", "x/b"], ["a", "b"]), (["x/a", "y/a"], ["x/a", "y/a"]), ([".", "y/a"], [".", "a"])],
)
def test_labels_are_short_where_that_tells_models_apart(names, labels):
    assert labels_of(evaluation(*([result(name, {})] for name in names))) == labels


def test_speed_is_told_in_turns_with_its_spread_and_doubted_on_a_busy_machine():
    own = {"slowest": 4.0, "middle": 5.0, "fastest": 6.0}
    found = []
    for share in (1.9, 0.5):
        details = {
            "processor share": share,
            "tokens per second": {"own": own, "first": {**own, "middle": 4.5}},
        }
        other = result("b", {TIMES: measured([2.5, 2.5])}, **details)
        other["task"] = SPEED
        found.append(evaluation([result("a", {})], [other]))
    idle, busy = (list(notes_of(one)) for one in found)
    assert idle == [
        "b writes the same text 2.50 times (2.50 to 2.50) as fast as a, in turns: 5.0 tokens a"
        " second (4.0 to 6.0) and 4.5 (4.0 to 6.0)."
    ]
    assert busy == [f"{idle[0]} The machine was busy with other work meanwhile: measure again."]


def test_items_that_could_not_be_scored_are_told():
    found = evaluation([result("a", {"m": measured([1.0, 0.0])}, **{"not scored": ["odd", "odd"]})])
    note = "task of a: items left out that could not be scored: 2 (odd)."
    assert list(notes_of(found)) == [note]
    assert note in evaluation_markdown(found)


def test_json_has_all_but_the_items():
    found = evaluation(
        [result("a", {"m": measured([1.0, 0.0])})], failures=[Failure("text", "no such file")]
    )
    data = json.loads(json.dumps(as_json(found)))
    (only,) = data["results"]
    assert only["metrics"]["m"].keys() == {"value", "better", "n", "stderr", "interval"}
    assert data["places"] == [{"task": "task", "metric": "m", "places": [None]}]
    assert data["failures"] == [
        {"task": "text", "reason": "no such file", "model": None, "hint": ""}
    ]


def test_a_file_is_of_one_model_task_version_setting_and_text(tmp_path):
    model = {"name": "org/a", "sha256": "1" * 64}
    task = Task("target text", "1", "saltlm 1", {"k": 1}, "x", 0, measure=lambda _: 1 / 0)
    changes = [
        {"name": "English text"},
        {"version": "2"},
        {"engine": "saltlm 2"},
        {"settings": {"k": 2}},
        {"seed": 1},
        {"data": "y"},
    ]
    files = [
        result_file(tmp_path, model, replace(task, **change), "cpu") for change in [{}, *changes]
    ]
    files.append(result_file(tmp_path, model | {"sha256": "2" * 64}, task, "cpu"))
    files.append(result_file(tmp_path, model, task, "cuda"))
    assert len(set(files)) == len(files)
    assert files[0].parent == tmp_path / "a-11111111"
    assert files[0].name.startswith("target_text-")


def test_the_hash_of_a_model_is_of_weights_settings_and_tokenizer_not_of_its_card(tmp_path):
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md"):
        (tmp_path / name).write_text(name)
    first = model_hash(tmp_path)
    (tmp_path / "README.md").write_text("new")
    assert model_hash(tmp_path) == first
    hashes = {first}
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("new")
        hashes.add(model_hash(tmp_path))
    assert len(hashes) == 4
