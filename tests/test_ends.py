"""The last two lines of a command: what is said of each result, and the command that comes next."""

import os
from pathlib import Path

import pytest

from saltlm.cli.ends import free_name
from saltlm.cli.ends_runs import (
    after_comparison,
    after_evaluation,
    of_comparison,
    of_export,
    of_pretraining,
)
from saltlm.comparison.results import AdaptedRun, Comparison, MethodResult, Point, TextMeasurement
from saltlm.evaluation.results import Evaluation
from saltlm.evaluation.side_by_side import of_evaluation
from saltlm.models.gguf_export import Export
from saltlm.pretraining.pretrain import PretrainResult
from saltlm.record.verdicts import of_rows
from saltlm.scoring.holdout import Interval, Score


@pytest.mark.parametrize(
    ("model", "is_writable", "name"),
    [
        ("me/llm", True, "llm-adapted"),  # of the Hub
        ("below/llm/", True, "below/llm-adapted"),
        ("below/llm", False, "llm-adapted-2"),  # the first is there
        ("below/llm.gguf", True, "below/llm-adapted"),
        (".", True, "{here}-adapted"),
        ("below/..", True, "{here}-adapted"),
    ],
)
def test_a_name_can_be_made_and_is_free(tmp_path, monkeypatch, model, is_writable, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below/llm").mkdir(parents=True)
    (tmp_path / "below/llm.gguf").touch()
    if not is_writable:
        (tmp_path / "llm-adapted").mkdir()
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert free_name(model, "adapted") == name.format(here=tmp_path)


def test_a_page_keeps_its_ending_where_its_name_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llm-report.html").touch()
    assert free_name("me/llm", "report", ".html") == "llm-report-2.html"


def evaluated(*names, **bits):
    measured = [
        {"task": task, "metrics": {"bits per byte": {"value": n}}} for task, n in bits.items()
    ]
    records = tuple({"name": name, "sha256": ""} for name in names)
    return Evaluation(records, (tuple(measured),) * len(names), ())


def test_a_model_by_itself_is_to_be_put_beside_its_source(monkeypatch):
    monkeypatch.setattr("saltlm.cli.ends_runs.source_of", lambda _: "llm")
    flags = {
        "suite": "quick",
        "heldout": (Path("de.txt"),),
        "english": (),
        "chat": True,
        "out": "r",
    }
    alone = evaluated("new", **{"target text": 2.0})
    assert of_evaluation(alone).level == "weak"
    words = "evaluate llm new --suite quick --heldout de.txt --chat --out r"
    assert " ".join(after_evaluation(alone, "new", flags)) == words


def test_what_is_said_of_an_evaluation_stands_in_the_order_of_the_tasks():
    both = evaluated("llm", "new", **{"English text": 1.0, "target text": 2.0, "chat, en": 1.0})
    assert str(of_evaluation(both)).startswith("weak: bits per byte 2.000 (source 2.000): not yet")
    lost = evaluated("llm", "new", **{"English text, code": 1.0, "English text": 1.0})
    reason = "English 1.00 to 1.00 bits per byte (+0.0%)"
    assert of_evaluation(lost).reason == f"{reason}; {reason}"


def method(name, bits, r2=None, adapted=None, error=None):
    texts = {"target": TextMeasurement(bits, (bits, bits), 1, 9, 2.0)}
    score = Score(name, {}, r2=Interval(r2, r2, r2)) if r2 is not None else None
    runs = ()
    if adapted is not None:
        curve = (Point(9, 9.0, 1.0, {"target": adapted}),)
        runs = (AdaptedRun(name, 0, f"{name}-adapted-0", curve),)
    directory = None if name == "untouched" else name
    return MethodResult(name, texts, directory, score, adapted=runs, error=error)


def compared(*methods, **more):
    return Comparison("llm", "plm", "", {one.method: one for one in methods}, **more)


@pytest.mark.parametrize(
    ("methods", "corpus", "verdict", "following"),
    [
        (
            [method("untouched", 2.5), method("salt", 3.2, r2=0.4), method("mean", 3.9, r2=0.0)],
            ["de.txt"],
            "good: salt leads with 3.200 bits per byte before training (source 2.500); r2 0.40",
            "adapt out/salt --data de.txt --preset laptop --heldout h.txt --out out/salt-adapted",
        ),
        (
            [method("untouched", 2.5), method("mean", 3.9, r2=0.0)],
            [],
            "stop: mean leads with 3.900 bits per byte before training (source 2.500); r2 0.00:"
            " predicted rows are no better than the mean row",
            "check out/mean",
        ),
        (
            [method("untouched", 2.5, adapted=1.7), method("salt", 3.2, 0.4, adapted=1.8)],
            ["de.txt"],
            "weak: salt leads with 1.800 bits per byte after training (plain training 1.700)",
            "evaluate llm out/salt-adapted-0 --heldout h.txt --english e.txt --out"
            " out/salt-adapted-0-evaluation",
        ),
        (  # what was not trained is not compared with what was
            [method("untouched", 2.5), method("salt", 3.2, 0.4, adapted=1.8), method("mean", 1.0)],
            ["de.txt"],
            "good: salt leads: bits per byte 1.800 (source 2.500, before 3.200)",
            "evaluate llm out/salt-adapted-0 --heldout h.txt --english e.txt --out"
            " out/salt-adapted-0-evaluation",
        ),
        (
            [method("untouched", 2.5), method("salt", 3.2, r2=0.4), method("x", 0.0, error="why")],
            [],
            "weak: 1 failed, as said above",
            "check out/salt",
        ),
        (
            [method("untouched", 2.5), method("x", 0.0, error="why")],
            [],
            "stop: no method gave a model",
            "score llm plm",
        ),
    ],
)
def test_what_a_comparison_ends_with(methods, corpus, verdict, following, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out/salt").mkdir(parents=True)
    (tmp_path / "out/salt-adapted-0").mkdir()
    found, files = compared(*methods), [Path(file) for file in corpus]
    assert str(of_comparison(found)) == verdict
    words = after_comparison(found, Path("out"), [Path("h.txt")], [Path("e.txt")], files)
    assert " ".join(words) == following


@pytest.mark.parametrize(
    ("n_read", "before", "after", "verdict"),
    [
        (2000, 8.0, 2.0, "good: 20.0 tokens read for each parameter of the layers; bits per byte"),
        (1999, 8.0, 2.0, "weak: 20.0 tokens read for each parameter of the layers, under 20: "),
        (9999, 2.0, 2.0, "stop: bits per byte 2.000 (before 2.000): training made it no better"),
    ],
)
def test_what_a_plm_ends_with(n_read, before, after, verdict):
    measured = ({"target": after}, {"target": before})
    found = PretrainResult(Path("plm"), 500, 100, 480, n_read, 1.0, *measured, reasons=())
    assert str(of_pretraining(found)).startswith(verdict)


@pytest.mark.parametrize(
    ("by", "differing", "verdict"),
    [
        ("llama.cpp", (), "good: llama.cpp's tokenizer gives the same ids"),
        ("llama.cpp", ("tabs",), "weak: llama.cpp reads otherwise: tabs"),
        ("fields", (), "weak: llama.cpp's own tokenizer was not asked: pip install xllamacpp"),
    ],
)
def test_what_an_export_ends_with(by, differing, verdict):
    assert str(of_export(Export(Path("m.gguf"), "gpt2", "F32", by, differing))) == verdict


@pytest.mark.parametrize(
    ("origins", "verdict"),
    [
        (["made"], "good: the row is made"),
        (["made", "shared", "made"], "good: 3 rows: 2 made, 1 shared"),
        (["sampled"], "weak: the row is sampled; a sampled row is drawn at random"),
    ],
)
def test_what_an_explanation_ends_with(origins, verdict):
    assert str(of_rows(origins)).startswith(verdict)
