"""A report reads what the stages saved, and says what is not there."""

import json
import shutil

import pytest

from report_files import write_comparison, write_evaluation, write_run
from saltlm.errors import CheckpointError
from saltlm.inspection.report.saved import read_saved_files


def test_each_kind_of_directory_is_known_by_its_files(model, tmp_path):
    (transferred,) = read_saved_files([model])
    assert transferred.manifest["kind"] == "transfer"
    assert transferred.has_vocabulary
    (run,) = read_saved_files([write_run(tmp_path / "run")])
    assert (len(run.metrics), run.manifest, run.has_vocabulary) == (5, None, False)
    (evaluated,) = read_saved_files([write_evaluation(tmp_path / "ev", "a", "b")])
    assert [one["model"]["name"] for one in evaluated.results] == ["a", "b"]


def test_a_comparison_comes_with_its_models_and_their_runs(model, tmp_path):
    out = write_comparison(tmp_path / "cmp", "salt")
    shutil.copytree(model, out / "salt")
    write_run(out / "salt-adapted-1")
    compared, of_salt = read_saved_files([out])
    assert compared.comparison["plm"] == "plm"
    assert [*compared.runs] == [("salt", 1)]
    assert of_salt.directory == out / "salt"


def test_a_directory_of_directories_stands_for_them(model, tmp_path):
    """The adapted model comes last, whatever its name."""
    for name in ("a-adapted", "b"):
        (tmp_path / name / "saltlm").mkdir(parents=True)
    manifest = json.loads((model / "saltlm" / "manifest.json").read_text())
    (tmp_path / "b" / "saltlm" / "manifest.json").write_text(json.dumps(manifest))
    manifest["adaptations"] = [{"tokens": 5, "options": {}}]
    (tmp_path / "a-adapted" / "saltlm" / "manifest.json").write_text(json.dumps(manifest))
    assert [one.name for one in read_saved_files([tmp_path])] == ["b", "a-adapted"]


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    file = write_run(tmp_path) / "saltlm" / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 5, "tok')
    assert len(read_saved_files([tmp_path])[0].metrics) == 5


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, "", "saltlm has saved nothing in .*\nhint: give a directory that transfer"),
        ("comparison.json", '{"schema": 9}', "comparison.json has the layout 9; saltlm .* reads 1"),
        ("comparison.json", "{", "comparison.json cannot be read as JSON"),
        ("saltlm/metrics.jsonl", "{]\n", "metrics.jsonl is damaged: "),
        ("saltlm/manifest.json", '{"schema": 7}', "manifest.json has the layout 7"),
    ],
)
def test_what_cannot_be_read_is_named(file, content, message, tmp_path):
    (tmp_path / "saltlm").mkdir()
    if file:
        (tmp_path / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_saved_files([tmp_path])
