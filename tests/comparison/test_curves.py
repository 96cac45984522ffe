"""Curves of adapted models: read, compared at a level, drawn; and the runs that make them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from saltlm.cli.main import cli
from saltlm.comparison.compare import compare
from saltlm.comparison.curves import (
    convergence_rows,
    first_reached,
    levels_of,
    levels_reached,
    read_curve,
)
from saltlm.comparison.plot import plot_curves
from saltlm.comparison.results import (
    AdaptedRun,
    Comparison,
    Level,
    MethodResult,
    Point,
    Reached,
    TextMeasurement,
)
from saltlm.comparison.show import comparison_markdown
from saltlm.errors import ConfigError
from tiny_pairs import write_pair

SHORT = ["steps=3", "batch_tokens=32", "sequence_length=16", "micro_batch=2", "eval_every=2"]


def curve(*bits, step=100):
    return [
        Point(i * step, 4.0 * i * step, 0.5 * i, {"target": value}) for i, value in enumerate(bits)
    ]


@pytest.mark.parametrize(
    ("level", "tokens"),
    [(3.0, 0), (2.5, 50), (2.0, 100), (1.8, 140), (1.5, 200), (1.4, None), (9.0, 0)],
)
def test_a_level_is_reached_between_points(level, tokens):
    found = first_reached(curve(3.0, 2.0, 1.5), "target", level)
    if tokens is None:
        assert found is None
    else:
        assert (found.tokens, found.n_bytes, found.seconds) == pytest.approx(
            (tokens, 4 * tokens, tokens / 200)
        )


# In steps of a sixteenth: nearer values meet somewhere between two rounded numbers.
SIXTEENTHS = st.integers(16, 80).map(lambda number: number / 16)


@given(st.lists(SIXTEENTHS, min_size=1, max_size=9), SIXTEENTHS)
def test_the_first_time_counts_and_agrees_with_a_fine_grid(bits, level):
    found = first_reached(curve(*bits), "target", level)
    grid = np.linspace(0, len(bits) - 1, 4001)
    below = np.interp(grid, np.arange(len(bits)), bits) <= level
    if found is None:
        assert not below.any()
    else:
        assert found.tokens / 100 <= (grid[below.argmax()] if below.any() else len(bits)) + 1e-6
        assert np.interp(found.tokens / 100, np.arange(len(bits)), bits) <= level + 1e-6


def test_levels_are_the_untouched_model_and_the_ends_below_it():
    curves = {"a": [curve(3.0, 2.0)], "b": [curve(3.0, 1.5), curve(3.0, 1.7)], "c": [curve(4, 3.5)]}
    assert levels_of(curves, 2.5) == [2.5, 2.0, 1.6]


def test_several_seeds_are_a_mean_and_the_slowest():
    runs = [AdaptedRun("salt", 0, "a", tuple(curve(3.0, end))) for end in (1.0, 2.0)]
    runs.append(AdaptedRun("salt", 0, error="no space"))
    as_it_is = TextMeasurement(2.5, (2.4, 2.6), 1, 1, 1.0)
    results = {
        "untouched": MethodResult("untouched", {"target": as_it_is}),
        "salt": MethodResult("salt", {}, adapted=tuple(runs)),
    }
    heading, line = convergence_rows(Comparison("llm", "plm", "aux", results))
    assert heading == ("method", "seeds", "target at the end", "English", "to 2.500", "to 1.500")
    assert line[:4] == ("salt", "2", "1.500 (1.000 to 2.000)", "")
    assert line[4] == "50 (0 kB, 0 s)"
    assert line[5] == "not reached"
    assert levels_reached(results) == (
        Level(2.5, {"salt": (Reached(25, 100, 0.125), Reached(50, 200, 0.25))}),
        Level(1.5, {"salt": (Reached(75, 300, 0.375), None)}),
    )


def test_the_plot_is_the_same_bytes_again_and_names_each_method_once(tmp_path):
    curves = {"salt": [curve(3.0, 2.0), curve(3.1, 2.1)], "focus": [curve(4.0, 2.2)]}
    for name in ("a.svg", "b.svg"):
        plot_curves(curves, {"target": 2.5}, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    for label in ("thousand tokens", "kB of text", "seconds of training", "bits per byte, target"):
        assert label in drawn
    assert drawn == (tmp_path / "b.svg").read_text()
    assert [drawn.count(f">{name}<") for name in ("salt", "focus", "untouched, as it is")] == [
        1
    ] * 3


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def pair(tokenizers_by_family, tmp_path):
    return write_pair(tmp_path, tokenizers_by_family)


@pytest.fixture
def texts(corpus, tmp_path):
    for name, lines in (("train", corpus * 3), ("heldout", corpus[6:9]), ("english", corpus[:2])):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_each_model_is_adapted_on_the_same_text_and_what_is_there_is_not_done_again(pair, texts):
    heldout, english, out = texts / "heldout.txt", texts / "english.txt", texts / "cmp"
    adapt = dict(word.split("=") for word in [*SHORT, f"cache={texts / 'cache'}"])
    given = {"heldout": heldout, "english": english, "corpus": texts / "train.txt", "adapt": adapt}
    found = compare(*pair, out, methods=["untouched", "salt"], **given)
    for result in found.results.values():
        (run,) = result.adapted
        assert [point.tokens for point in run.curve] == [0, 64, 96]
        for text, bits in run.curve[0].bits_per_byte.items():  # in shorter windows
            assert bits == pytest.approx(result.texts[text].bits_per_byte, rel=1e-3)
    assert (out / "salt-adapted-0" / "config.json").is_file()
    assert "Adapted on 96 tokens" in (out / "salt-adapted-0" / "README.md").read_text()
    assert not (out / "salt-adapted-0" / "saltlm" / "checkpoints").exists()
    assert len(read_curve(out / "salt-adapted-0" / "saltlm" / "metrics.jsonl")) == 3
    assert "## Adapted" in comparison_markdown(found)
    assert Comparison.load(out) == found
    assert set(found.levels[0].reached) == {"untouched", "salt"}
    assert "</svg>" in (out / "comparison.svg").read_text()

    again = compare(*pair, out, methods="mean,salt", **given, adapt_seeds=[0, 1]).results
    assert again["salt"].adapted[0] == found.results["salt"].adapted[0]
    one, other = (
        [[point.n_bytes for point in run.curve] for run in again[name].adapted]
        for name in ("mean", "salt")
    )
    assert one == other  # the same text in the same order, which the seed decides
    assert one[0] != one[1]
    more = adapt | {"steps": 4}
    with pytest.raises(ConfigError, match=r"holds a comparison .*: steps was 3, is 4"):
        compare(*pair, out, methods="salt", **given | {"adapt": more})
    for file in out.glob("*-adapted-*.json"):
        file.unlink()  # as if each had been killed on its way
    with pytest.raises(ConfigError, match=r"steps was 3, is 4\nhint: choose another --out"):
        compare(*pair, out, methods="salt", **given | {"adapt": more})


def test_an_adaptation_that_fails_is_told_and_stops_nothing(pair, texts):
    heldout = texts / "heldout.txt"
    words = ["compare", *map(str, pair), "--methods", "mean,salt", "--heldout", str(heldout)]
    words += ["--out", str(texts / "cmp"), "--corpus", str(texts / "train.txt"), "--json"]
    short = f"{' '.join(SHORT)} cache={texts / 'cache'} sequence_length=9999"
    done = CliRunner().invoke(cli, [*words, "--adapt", f"{short} batch_tokens=9999"])
    assert done.exit_code == 1
    results = json.loads(done.stdout)["results"]
    for name in ("mean", "salt"):
        (run,) = results[name]["adapted"]
        assert "sequence_length=9999 is more than the model's" in run["error"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--adapt-seeds", "0,x", "--adapt", "steps=1"], 1, "--adapt-seeds takes numbers, not 0,x"),
        (
            ["--adapt-seeds", "0"],
            1,
            'needs --adapt\nhint: for instance: --adapt "tokens=1M" --corp',
        ),
        (["--adapt", "stepz=1 data=[x]"], 1, "there is no option 'stepz'"),
        (["--adapt", "steps=1"], 1, "on with --adapt\nhint: add --corpus FILE"),
        (["--adapt", "steps=1 data=[x]", "--heldout", "more.txt"], 1, "2 files of target text"),
    ],
)
def test_refusals_come_before_anything_is_made(words, code, message, tmp_path):
    line = ["compare", "S", "P", "--methods", "mean", "--out", str(tmp_path / "cmp")]
    done = CliRunner().invoke(cli, [*line, "--heldout", "text.txt", *words])
    assert done.exit_code == code
    assert message in str(done.exception) + done.stderr
    assert not (tmp_path / "cmp").exists()
