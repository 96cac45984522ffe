"""Charts hold the points that the stages saved."""

from report_files import write_comparison, write_evaluation, write_run
from saltlm.inspection.report.curves import curves_of, layer_charts, new_token_charts
from saltlm.inspection.report.saved import read_saved_files


def test_a_comparison_has_a_curve_of_each_method_over_tokens_text_and_time(tmp_path):
    charts = curves_of(read_saved_files([write_comparison(tmp_path)]))
    assert [(chart.title, chart.x_label) for chart in charts] == [
        (f"Bits per byte, {text}", label)
        for text in ("target", "English")
        for label in ("tokens read", "bytes of text read", "seconds of training")
    ]
    over_tokens, over_bytes, over_seconds, *_ = charts
    assert over_tokens.levels == (("untouched", 2.5),)
    none, salt = over_tokens.series
    assert (none.name, salt.name) == ("no transfer", "salt")
    assert salt.runs == (((0.0, 4.5), (1000.0, 2.0)), ((0.0, 4.5), (1000.0, 1.5)))
    assert over_bytes.series[1].runs[0][1] == (4000.0, 2.0)
    assert over_seconds.series[1].runs[0][1] == (2.0, 2.0)
    assert "salt: 4.5 at 0, 1.75 at 1,000" in over_tokens.summary


def test_a_run_has_its_measurements_and_its_steps(tmp_path):
    saved = read_saved_files([write_run(tmp_path / "run")])
    *measured, trained = curves_of(saved)
    assert measured[0].series[0].runs == (((0.0, 4.0), (2000.0, 3.0), (4000.0, 2.0)),)
    assert trained.series[0].runs[0] == tuple((1000.0 * n, 4.0 / n) for n in (1, 2, 3, 4))
    charts = {chart.title: chart for chart in new_token_charts(saved)}
    mass = charts["Probability on new tokens, target"]
    assert mass.levels == (("in the text", 0.5),)
    assert len(mass.series[0].runs[0]) == 3
    assert charts["Median rank of the right token where it is new, target"].is_log


def test_runs_of_a_comparison_are_not_shown_twice(tmp_path):
    out = write_comparison(tmp_path / "cmp")
    write_run(out / "salt-adapted-0")
    saved = read_saved_files([out, out / "salt-adapted-0"])
    assert [one.name for one in curves_of(saved)[0].series] == ["no transfer", "salt"]
    assert [one.name for one in new_token_charts(saved)[0].series] == ["salt"]


def test_layers_are_those_of_each_model(tmp_path):
    (chart,) = layer_charts(read_saved_files([write_evaluation(tmp_path, "a/llm", "b/new")]))
    assert chart.title == "target text: English to target"
    assert [(one.name, one.runs[0]) for one in chart.series] == [
        ("llm", ((0.0, 0.25), (1.0, 0.5))),
        ("new", ((0.0, 0.25), (1.0, 0.6))),
    ]
    assert curves_of([]) == new_token_charts([]) == layer_charts([]) == []
