"""What a transfer takes where nothing is chosen: the best with a corpus, and it says so."""

import re

import pytest

from saltlm.config.recommended import in_one_line_each, load_recommended
from saltlm.config.transfer import load_config

CORPUS = {"corpus": "de.txt"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"budget": "100k", "keep": "en.txt", "seed": 3},
        {"untie": True, "fits": {"steps": 3}, "min_shared": 2, "lossy": True},
    ],
)
def test_with_a_corpus_and_no_choice_it_is_the_best(more):
    found = load_recommended(**CORPUS, **more)
    assert found == load_config(preset="best", **CORPUS, **more)
    assert load_recommended(found) == found


@pytest.mark.parametrize(
    "more",
    [
        {"method": "salt"},
        {"mode": "extend"},
        {"vocabulary": "plm"},
        {"prune_to": 9},
        {"aux": "train"},
        {"preset": "paper"},
        {"target_tokenizer": "x"},
        {"calibration": {"norms": True}},
    ],
)
def test_who_chooses_gets_just_that(more):
    assert load_recommended(**CORPUS, **more) == load_config(**CORPUS, **more)
    assert load_recommended() == load_config()
    assert not list(in_one_line_each(load_config(method="focus")))


def test_each_choice_is_told_with_the_way_back():
    lines = list(in_one_line_each(load_recommended(**CORPUS)))
    assert [line.partition(":")[0] for line in lines] == ["method", "mode", "vocabulary"]
    assert "one pass over the corpus" in lines[2]
    for line in lines:
        words = re.search(r": (--preset .*)$", line)[1].split()
        flags = [word.removeprefix("--") for word in words[::2]]
        other = load_config(**CORPUS, **dict(zip(flags, words[1::2], strict=True)))
        assert line not in list(in_one_line_each(other))
    budget = list(in_one_line_each(load_recommended(**CORPUS, budget="100k")))
    assert "a training of 100,000 tokens" in budget[2]
    assert all(re.search(r": --preset .* \(without --budget\)$", line) for line in budget)
    assert "--corpus FILE" in list(in_one_line_each(load_recommended()))[1]
