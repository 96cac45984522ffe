"""Several methods side by side: shared work, results that stay, failures that do not stop."""

import importlib
import json
import re
import shutil
from collections import Counter

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from saltlm.cli.main import cli
from saltlm.cli.render_runs import plm_table
from saltlm.comparison.compare import compare, evaluate_each
from saltlm.comparison.results import (
    AdaptedRun,
    Comparison,
    Level,
    MethodResult,
    Point,
    Reached,
    TextMeasurement,
)
from saltlm.comparison.score import PairScores, Scores, default_methods, score
from saltlm.comparison.show import comparison_markdown, comparison_rows
from saltlm.comparison.store import directory_name, is_made
from saltlm.comparison.untrained import NewRowMass, RowNorms, TableReport
from saltlm.config.transfer import TransferConfig
from saltlm.errors import CheckpointError, ConfigError, DataError, VocabularyError
from saltlm.evaluation.config import SuiteConfig
from saltlm.evaluation.results import Evaluation
from saltlm.methods.registry import parse_method
from saltlm.record.manifest import read_manifest
from saltlm.scoring.holdout import Interval, Score
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import contents, write_pair


@pytest.fixture
def pair(tokenizers_by_family, tmp_path):
    return write_pair(tmp_path, tokenizers_by_family)


@pytest.fixture
def heldout(corpus, tmp_path):
    file = tmp_path / "heldout.txt"
    file.write_text("\n".join(corpus[6:12]), encoding="utf-8")
    return file


def test_each_method_gives_the_model_of_its_own_transfer(pair, heldout, tmp_path):
    found = compare(*pair, tmp_path / "cmp", methods="salt,focus", heldout=heldout)
    assert list(found.results) == ["untouched", "focus", "salt"]  # by name
    for method in ("salt", "focus"):
        alone = tmp_path / f"alone-{method}"
        transfer(*pair, alone, method=method)
        mine, theirs = (
            load_file(directory / "model.safetensors")
            for directory in (tmp_path / "cmp" / method, alone)
        )
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert found.results["salt"].texts["target"].bits_per_byte > 0
    assert Comparison.load(tmp_path / "cmp") == found
    assert repr(found).splitlines()[1].startswith("  untouched: ")
    assert "; r2 " in repr(found).splitlines()[3]


def test_the_same_again_makes_only_what_is_missing(pair, heldout, tmp_path):
    out = tmp_path / "cmp"
    first = compare(*pair, out, methods=["salt"], heldout=[heldout])
    before = contents(out / "salt")
    second = compare(*pair, out, methods=["mean"], heldout=[heldout])
    assert contents(out / "salt") == before
    assert second.results["salt"] == first.results["salt"]  # of the earlier call
    assert list(second.results) == ["untouched", "mean", "salt"]


def test_a_method_that_fails_does_not_stop_the_rest(pair, heldout, tmp_path):
    impossible = "salt:centred=True"  # which needs a ridge
    found = compare(*pair, tmp_path / "cmp", methods=[impossible, "salt"], heldout=[heldout])
    assert found.results[impossible].error
    assert "target" in found.results["salt"].texts
    assert found.failures == [f"{impossible}: {found.results[impossible].error}"]
    assert not (tmp_path / "cmp" / "salt_centred_True.json").exists()  # tried again the next time
    assert "failed: " in comparison_markdown(found)


def test_a_method_without_enough_memory_does_not_stop_the_rest(
    pair, heldout, tmp_path, monkeypatch
):
    def exhausted(*_):
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr("saltlm.methods.kernel._kernel", exhausted)
    methods = ["kernel-ridge", "mean"]
    found = compare(*pair, tmp_path / "cmp", methods=methods, heldout=[heldout]).results
    assert found["kernel-ridge"].error == "can't allocate memory"
    assert "target" in found["mean"].texts


def test_what_methods_share_is_done_once(pair, heldout, tmp_path, monkeypatch):
    done = Counter()

    def count(place, what):
        whole = f"saltlm.{place}.{what}"
        original = getattr(importlib.import_module(f"saltlm.{place}"), what)
        monkeypatch.setattr(whole, lambda *a, **o: done.update([what]) or original(*a, **o))

    for place, what in (
        ("vocabulary_transfer.prepare", "read_parents"),
        ("vocabulary_transfer.prepare", "auxiliary_of"),
        ("comparison.score", "count_tokens"),
        ("methods.spaces", "nearest_shared"),
    ):
        count(place, what)
    methods, out = ["salt", "focus", "clp+"], tmp_path / "cmp"
    found = compare(
        *pair, out, methods=methods, heldout=[heldout], config=TransferConfig(corpus=[heldout])
    ).results
    for method in methods:
        told = read_manifest(out / method)["yardstick"]
        assert told["r2"] == found[method].yardstick.to_json()["r2"]
        assert told["n_tokens"] > 40
    assert done.pop("nearest_shared") == 1 + 5  # of the new tokens, and of each fold
    assert set(done.values()) == {1}


def test_results_of_other_inputs_are_not_mixed(pair, heldout, tmp_path):
    out = tmp_path / "cmp"
    with pytest.raises(VocabularyError, match="a lower --set min_shared=N"):
        compare(*pair, out, methods=["mean"], heldout=[heldout], min_shared=9999)
    compare(*pair, out, methods=["mean"], heldout=[heldout])
    with pytest.raises(ConfigError, match="holds a comparison of other models, options or texts"):
        compare(*pair, out, methods=["mean"], heldout=[heldout], config=TransferConfig(seed=1))


def test_inputs_are_known_by_their_content(pair, heldout, tmp_path):
    """Replaced weights and edited texts are refused with both hashes, before any work."""
    source, plm = (shutil.copytree(side, tmp_path / "own" / side.name) for side in pair)
    corpus, out = tmp_path / "corpus.txt", tmp_path / "cmp"
    corpus.write_text("Das Haus ist neu.\n" * 20)
    given = {"methods": "mean", "heldout": heldout, "corpus": corpus, "documents": 2}
    compare(source, plm, out, **given)
    for file, key in (
        (source / "model.safetensors", "source.sha256"),
        (plm / "tokenizer.json", "plm.sha256"),
        (corpus, f"files.{corpus}"),
    ):
        before = file.read_bytes()
        file.write_bytes(before + b" ")
        with pytest.raises(ConfigError, match=rf"{re.escape(key)} was [0-9a-f]{{64}}, is [0-9a-f]"):
            compare(source, plm, out, **given)
        file.write_bytes(before)


def test_a_model_that_was_removed_is_made_again(pair, heldout, tmp_path):
    out, given = tmp_path / "cmp", {"methods": "mean", "heldout": heldout, "documents": 2}
    first = compare(*pair, out, **given)
    shutil.rmtree(out / "mean")
    assert compare(*pair, out, **given).results["mean"].texts == first.results["mean"].texts
    assert (out / "mean" / "model.safetensors").is_file()


def test_a_damaged_result_is_named(tmp_path):
    file = tmp_path / "fvt.json"
    file.write_text('{"directory": 0.5}')
    with pytest.raises(CheckpointError, match=r"fvt\.json is damaged: TypeError"):
        is_made(file)


def test_no_text_is_said_before_anything_is_made(pair, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"--heldout has no text .*\nhint: give --heldout a file"):
        compare(*pair, tmp_path / "cmp", methods="mean", heldout=[tmp_path / "empty.txt"])
    assert not (tmp_path / "cmp").exists()


def test_names_of_files_tell_options_apart():
    names = [directory_name(parse_method(m)) for m in ("salt", "salt:ridge=0.1", "clp+")]
    assert names == ["salt", "salt_ridge_0.1", "clp+"]


def test_rows_have_a_cell_for_every_heading(pair, heldout, tmp_path):
    found = compare(*pair, tmp_path / "cmp", methods="salt", heldout=[heldout], english=[heldout])
    assert {len(row) for row in comparison_rows(found)} == {7}
    rows = found.results["salt"].rows
    line = (tmp_path / "cmp" / "comparison.md").read_text().splitlines()[-1]
    assert line.startswith("| salt | 0.") or line.startswith("| salt | -")
    assert line.endswith(f"| {rows.new_rank:.0f} ({rows.shared_rank:.0f}) |")


def test_scores_are_in_the_order_asked_for_and_the_best_is_found(pair):
    found = score(*pair, method=["mean", "salt"], folds=2)
    (scores,) = found.pairs
    assert [one.method for one in scores.scores] == ["mean", "salt"]
    values = {one.method: one.r2.value for one in scores.scores}
    assert found.best == (str(pair[1]), max(values, key=values.get))
    first = str(found).splitlines()[1]
    assert first.startswith(f"  {found.best[1]} with {pair[1]}: r2 {max(values.values()):.3f} (")


def test_what_failed_is_told_and_has_no_best():
    found = Scores((PairScores("llm", "plm", 7, "aux", (Score("clp", {}, error="no room"),)),))
    assert str(found) == "the best first\n  clp with plm: no room"
    with pytest.raises(ConfigError, match="no method could be scored"):
        _ = found.best


def test_plms_are_ranked_by_their_best_methods():
    def scored(plm, **values):
        scores = [Score(name, {}, r2=Interval(r2, r2 - 1, r2 + 1)) for name, r2 in values.items()]
        return PairScores("llm", plm, 7, "aux", (Score("clp", {}, error="x"), *scores))

    shown = plm_table([scored("none"), scored("weak", salt=-0.5, mean=0.0), scored("good", a=0.3)])
    plms, _, methods, r2, _ = ([str(cell) for cell in c.cells] for c in shown.columns)
    assert plms == ["good", "weak", "none"]
    assert methods == ["a", "mean", "none"]
    assert r2[:2] == ["0.300", "0.000"]


def test_no_method_stands_for_all_that_need_no_files():
    assert {"salt", "focus", "fvt", "global-residual"} <= set(default_methods())
    assert "wechsel" not in default_methods()


def test_score_and_compare_from_the_command_line(pair, heldout, tmp_path):
    run = CliRunner().invoke
    listed = run(cli, ["score", "--list"])
    assert listed.exit_code == 0
    assert "global-residual" in listed.stdout
    lonely = run(cli, ["score", str(pair[0])])
    assert lonely.exit_code == 2
    assert "SOURCE and at least one PLM are needed" in lonely.stderr
    scored = run(cli, ["score", *map(str, pair), "--method", "salt", "--folds", "2", "--json"])
    assert json.loads(scored.stdout)[0]["scores"][0]["method"] == "salt"
    ranked = run(cli, ["score", *map(str, (*pair, pair[1])), "--method", "mean", "--folds", "2"])
    assert ranked.stdout.count("retrieval") == 2
    assert "best method" in ranked.stdout
    options = tmp_path / "options.yaml"
    options.write_text("min_shared: 100000\n")
    words = ["score", *map(str, pair), "--method", "mean", "--folds", "2"]
    shown = run(cli, words)
    assert "mean" in shown.stdout
    refused = run(cli, [*words, "--config", str(options)])
    assert "100000 are needed" in str(refused.exception)
    words = ["compare", *map(str, pair), "--methods", "mean", "--heldout", str(heldout)]
    compared = run(cli, [*words, "--out", str(tmp_path / "cmp"), "--json"])
    assert compared.exit_code == 0, compared.stderr
    assert "mean" in json.loads(compared.stdout)["results"]


def test_quick_runs_on_the_source_and_on_each_model(pair, heldout, tmp_path, monkeypatch):
    monkeypatch.setattr("saltlm.evaluation.generation.N_NEW", 3)
    parallel = tmp_path / "pairs.tsv"
    parallel.write_text("a house\tein Haus\na dog\tein Hund\na fox\tein Fuchs\nsea\tMeer\n")
    words = ["compare", *map(str, pair), "--methods", "mean", "--heldout", str(heldout)]
    words += ["--out", str(tmp_path / "cmp"), "--parallel", str(parallel)]
    refused = CliRunner().invoke(cli, words)
    assert "--parallel needs --quick" in str(refused.exception)
    shown = CliRunner().invoke(cli, [*words, "--quick"])
    assert shown.exit_code == 0, shown.stderr
    told = json.loads((tmp_path / "cmp" / "evaluation" / "evaluation.json").read_text())
    models = [str(pair[0]), str(tmp_path / "cmp" / "mean")]
    assert [model["name"] for model in told["models"]] == models
    card = (tmp_path / "cmp" / "mean" / "README.md").read_text()
    assert f"| task | metric | n | {pair[0].name} | mean |" in card
    assert "ranking, 1 of 4" in shown.stdout
    page = (tmp_path / "cmp" / "report.html").read_text()
    assert "compared in cmp" in page
    assert "ranking, 1 of 4" in page
    monkeypatch.setattr(
        "saltlm.evaluation.evaluate._try_to_load", lambda *_: 1 / 0
    )  # nothing is new
    parallel.write_text("one column\n")
    assert CliRunner().invoke(cli, [*words, "--quick"]).exit_code == 1


def result(method, directory=None, **more):
    return MethodResult(method, {}, directory, **more)


def test_a_comparison_comes_back_as_it_was_saved(tmp_path):
    point = Point(5, 7.5, 0.25, {"target": 2.5, "English": 1.5})
    runs = (AdaptedRun("salt", 0, "salt-adapted-0", (point,)), AdaptedRun("salt", 1, error="x"))
    text = TextMeasurement(4.5, (4.25, 4.75), 3, 99, 1.5)
    score = Score("salt", {"ridge": 0.1}, r2=Interval(0.5, 0.4, 0.6), n_tokens=50)
    norms = RowNorms(0.1, 0.2, 0.3, 0.4, 0.5)
    salt = MethodResult(
        "salt",
        {"target": text, "English": text},
        "salt",
        score,
        TableReport(norms, norms, 3.5, 4.5, 0.1),
        NewRowMass(0.1, 0.2, -3.5, 40),
        runs,
    )
    levels = (Level(2.5, {"salt": (Reached(5, 7.5, 0.25), None)}),)
    results = {"untouched": result("untouched"), "salt": salt, "focus": result("focus", error="y")}
    whole = Comparison("llm", "plm", "aux", results, levels)
    whole.save(tmp_path)
    assert Comparison.load(tmp_path) == Comparison.load(tmp_path / "comparison.json") == whole
    assert whole.failures == ["salt, seed 1: x", "focus: y"]
    assert repr(whole).splitlines()[2:] == [
        "  salt: 4.500 bits per byte; r2 0.500; adapted 2.500; seed 1 failed: x",
        "  focus: failed: y",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schema": 9, "source": "llm"}', "ValueError: it has layout 9, not 1"),
        ('{"source": "llm"}', "KeyError: 'schema'"),
        ("{", "JSONDecodeError: "),
    ],
)
def test_what_is_no_comparison_is_refused(text, reason, tmp_path):
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"comparison\.json cannot be read .*: {reason}"):
        Comparison.load(tmp_path)


def test_quick_takes_models_as_they_end_up(monkeypatch, tmp_path):
    asked, nothing = [], Evaluation((), (), ())
    monkeypatch.setattr(
        "saltlm.evaluation.evaluate.evaluate", lambda *given, suite: asked.append(given) or nothing
    )
    monkeypatch.setattr("saltlm.evaluation.side_by_side.write_cards", lambda *_: None)
    failed = AdaptedRun("m", 0, error="x")
    results = {
        "untouched": result("untouched", adapted=(AdaptedRun("m", 0, "untouched-adapted-0"),)),
        "salt": result("salt", "salt", adapted=(failed, AdaptedRun("m", 1, "salt-adapted-1"))),
        "focus": result("focus", "focus", adapted=(failed,)),
        "wechsel": result("wechsel", error="x"),
    }
    evaluate_each(Comparison("org/llm", "plm", "aux", results), tmp_path, SuiteConfig())
    names = ["untouched-adapted-0", "salt-adapted-1", "focus"]
    assert asked[0][0] == ["org/llm", *(str(tmp_path / name) for name in names)]
