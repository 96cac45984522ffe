"""What one sees first is what was measured, and the warnings come with the numbers."""

import re

import pytest

from report_files import write_comparison, write_evaluation, write_run
from saltlm.inspection.report.glance import (
    Mark,
    TextMarks,
    best_method,
    marks_of,
    tokens_per_word,
    warnings_of,
)
from saltlm.inspection.report.saved import SavedFiles, read_saved_files


def values(marks):
    return {text.text: {mark.stage: mark.bits for mark in text.marks} for text in marks}


def test_a_comparison_tells_the_whole_way_of_its_best_method(tmp_path):
    saved = read_saved_files([write_comparison(tmp_path)])
    marks = marks_of(saved)
    assert values(marks)["target"] == {
        "before": 2.5,
        "transferred, untrained": 4.5,
        "trained": 1.75,  # the mean of two seeds
        "trained without a transfer": 2.25,
    }
    assert values(marks)["English"]["trained"] == pytest.approx(1.175)
    assert best_method(saved[0].comparison["results"])[0] == "salt"
    assert tokens_per_word(saved) == (2.5, 4.5, "held-out text")


def test_a_run_alone_tells_its_beginning_and_its_end(tmp_path):
    marks = marks_of(read_saved_files([write_run(tmp_path)]))
    assert values(marks) == {"target": {"transferred, untrained": 4.0, "trained": 2.0}}
    assert marks[0].marks[1].note == "4,000 tokens"


def test_an_evaluation_knows_the_models_by_their_records(model, tmp_path):
    (transferred,) = read_saved_files([model])
    source = transferred.manifest["source"]["name"]
    evaluated = read_saved_files([write_evaluation(tmp_path / "ev", source, str(model), "other")])
    marks = marks_of([*evaluated, transferred])
    assert values(marks)["target"] == {
        "before": pytest.approx(4.3125),
        "transferred, untrained": pytest.approx(3.8125),
    }


def test_numbers_of_different_measurements_do_not_mix(tmp_path):
    saved = read_saved_files([write_run(tmp_path / "run"), write_comparison(tmp_path / "cmp")])
    assert {text.where for text in marks_of(saved)} == {"compared in cmp"}


def test_tokens_a_word_are_those_of_the_corpus(model):
    (saved,) = read_saved_files([model])
    text = saved.manifest["text"]
    before, after, what = tokens_per_word([saved])
    assert (before * text["words"], after * text["words"]) == pytest.approx(
        (text["source_tokens"], text["new_tokens"])
    )
    assert what == "the corpus"


MANIFEST = {"kind": "transfer", "counts": {"anchors": 5000}, "adaptations": [{"tokens": 1}]}


def marks(text, **bits):
    names = {"before": "before", "after": "trained", "other": "trained without a transfer"}
    return TextMarks(text, "", tuple(Mark(names[key], value, "") for key, value in bits.items()))


@pytest.mark.parametrize(
    ("change", "seen", "message"),
    [
        ({"adaptations": []}, [], "Not adapted: the new rows are initial values"),
        ({"options": {"lossy": True}}, [], "Lossy: the new vocabulary cannot write"),
        ({"yardstick": {"r2": {"value": 0.05}}}, [], "Weak small model: .* an r2 of 0.050"),
        ({"counts": {"anchors": 999}}, [], "Few anchors: the two vocabularies share 999 tokens"),
        ({}, [marks("English", before=1.0, after=1.2)], "English is worse than before: 1.200"),
        ({}, [marks("target", after=2.0, other=1.5)], "No transfer is ahead so far on target"),
        ({}, [marks("target", before=2.0, after=2.5)], "Not yet better than before on target"),
    ],
)
def test_each_weakness_is_a_warning(change, seen, message, tmp_path):
    found = warnings_of([SavedFiles(tmp_path)], {**MANIFEST, **change}, seen)
    assert len(found) == 1
    assert re.match(message, found[0])


def test_without_a_weakness_there_is_no_warning(tmp_path):
    seen = [marks("target", before=2.0, after=1.5, other=1.6), marks("English", before=1, after=1)]
    healthy = {**MANIFEST, "yardstick": {"r2": {"value": 0.3}}, "options": {"lossy": False}}
    assert warnings_of([SavedFiles(tmp_path)], healthy, seen) == []
    assert warnings_of([SavedFiles(tmp_path)], None, []) == []
