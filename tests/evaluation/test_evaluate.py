"""``saltlm evaluate`` from the command line, on tiny models."""

import gc
import json
import re
import shutil

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from adapt_models import save_model
from conftest import CORPUS
from saltlm.cli.main import cli
from saltlm.errors import ConfigError, OutputError
from saltlm.evaluation import generation
from saltlm.evaluation.config import QuickConfig, SuiteConfig, suite_named, with_options
from saltlm.evaluation.device import chosen_device
from saltlm.evaluation.evaluate import evaluate, plan_tasks
from saltlm.evaluation.side_by_side import evaluation_rows


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [
        str(save_model(folder / "one")),
        str(save_model(folder / "two", is_tied=False)),
    ]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(generation, "N_NEW", 4)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # a second in a process with a big heap


@pytest.fixture
def files(tmp_path):
    german, english = CORPUS[6:12], CORPUS[:6]
    texts = {
        "de.txt": german,
        "en.txt": english,
        "en-de.tsv": [f"{left}\t{right}" for left, right in zip(english, german, strict=True)],
    }
    for name, lines in texts.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])


def flags(files):
    return [
        *("--heldout", files / "de.txt", "--english", files / "en.txt"),
        *("--parallel", files / "en-de.tsv", "--out", files / "out"),
    ]


def results(out):
    return {file: file.read_bytes() for file in sorted(out.glob("*/*.json"))}


TASKS = ["target text", "English text", "retrieval, 1 of 6", "generation", "ranking, 1 of 4"]


def test_some_tasks_can_be_chosen(models, files):
    shown = invoke(*models, *flags(files), "--tasks", "English", "--tasks", "retrieval")
    assert shown.exit_code == 0, shown.stderr
    names = {json.loads(text)["task"] for text in results(files / "out").values()}
    assert names == {"English text", "retrieval, 1 of 6"}
    shown = invoke(models[0], *flags(files), "--tasks", "german")
    assert shown.exit_code == 1
    assert "there is no task 'german' here" in str(shown.exception)
    assert "speed in turns" not in str(shown.exception)


def test_a_device_that_is_not_here_is_told_first(files):
    with pytest.raises(ConfigError, match="there is no device nowhere here: ") as caught:
        evaluate("no/model", files / "out", device="nowhere", heldout=files / "de.txt")
    flag, device = caught.value.hint.split()
    assert (flag, chosen_device(device)) == ("--device", "cpu")


def test_a_suite_of_nothing_names_what_is_enough(files):
    with pytest.raises(ConfigError, match="measures nothing") as caught:
        plan_tasks(SuiteConfig())
    names = {"heldout": "de.txt", "english": "de.txt", "parallel": "en-de.tsv"}
    assert re.findall(r"--(\w+)", caught.value.hint) == [*names]
    for name, file in names.items():
        assert plan_tasks(SuiteConfig(quick={name: files / file}))


def test_all_of_quick_and_what_is_done_is_not_done_again(models, files, monkeypatch):
    shown = invoke(*models, *flags(files))
    assert shown.exit_code == 0, shown.stderr
    assert "two" in shown.stdout
    assert re.search(
        r"two writes the same text [\d.]+ times \(.*\) as fast as \S+one", shown.stdout
    )
    table = (files / "out" / "evaluation.md").read_text()
    assert "| task | metric | n | one | two |" in table
    for task in TASKS:
        assert f"| {task} | " in table
    before = results(files / "out")
    assert len(before) == 2 * len(TASKS) + 1  # the speed of the second beside the first

    one = json.loads(next(iter(before.values())))
    assert one.keys() == {
        *("schema", "model", "task", "version", "engine", "settings", "data", "seed"),
        *("metrics", "details", "seconds", "environment"),
    }
    by_task = {json.loads(text)["task"]: json.loads(text) for text in before.values()}
    layers = by_task["retrieval, 1 of 6"]["details"]["layers"]
    assert {len(values) for values in layers.values()} == {3}
    outputs = by_task["generation"]["details"]["outputs"]
    assert [output["n_tokens"] for output in outputs] == [4] * 6

    with monkeypatch.context() as patch:
        patch.setattr("saltlm.evaluation.evaluate._try_to_load", lambda *_: 1 / 0)
        again = invoke(*models, *flags(files), "--json")
    assert again.exit_code == 0, again.stderr
    assert results(files / "out") == before
    told = json.loads(again.stdout)
    assert [result["task"] for result in told["results"]] == [*TASKS, *TASKS, "speed in turns"]
    assert told["failures"] == []


def test_another_text_setting_or_model_is_another_result(models, files, tmp_path):
    model = str(shutil.copytree(models[0], tmp_path / "model"))
    arguments = ["--heldout", files / "de.txt", "--out", files / "out"]
    counts = []
    for change in (
        lambda: None,
        lambda: arguments.extend(["--limit", "2"]),
        lambda: arguments.extend(["--seed", "1"]),
        lambda: (files / "de.txt").write_text("Das Haus\nDer Hund\n"),
        lambda: shutil.copy(f"{models[1]}/model.safetensors", f"{model}/model.safetensors"),
        lambda: (tmp_path / "model" / "README.md").write_text("a card"),
    ):
        change()
        assert invoke(model, *arguments).exit_code == 0
        counts.append(len(results(files / "out")))
    assert counts == [2, 4, 6, 8, 10, 10]


def test_what_is_missing_is_named_and_the_rest_goes_on(models, files):
    (files / "en-de.tsv").write_text("only one column\n")
    arguments = flags(files)
    arguments[arguments.index(files / "en.txt")] = files / "no.txt"
    shown = invoke(models[0], *arguments)
    assert shown.exit_code == 1
    assert "target text" in shown.stdout
    assert f"not measured: English text: {files / 'no.txt'} does not exist" in shown.stderr
    assert "hint: see to that, then give the same command: only this is left" in shown.stderr
    assert f"not measured: retrieval: {files / 'en-de.tsv'} is not in columns" in shown.stderr
    assert len(results(files / "out")) == 2
    assert "- not measured: English text: " in (files / "out" / "evaluation.md").read_text()


def test_a_task_that_fails_does_not_stop_the_others(models, files, tmp_path, monkeypatch):
    broken = shutil.copytree(models[0], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    shown = invoke(broken, models[1], "--heldout", files / "de.txt", "--out", files / "out")
    assert shown.exit_code == 1
    assert f"not measured: target text of {broken}: {broken} does not load: " in shown.stderr
    assert (
        "| target text | bits per byte | 6 |  | " in (files / "out" / "evaluation.md").read_text()
    )
    monkeypatch.setattr("saltlm.evaluation.quick.bits_per_byte", lambda *_: 1 / 0)
    arguments = [models[0], "--heldout", files / "de.txt", "--out", files / "out"]
    shown = invoke(*arguments)
    assert f"not measured: target text of {models[0]}: division by zero" in shown.stderr
    assert "sound outputs" in shown.stdout
    monkeypatch.setenv("SALTLM_DEBUG", "1")
    assert isinstance(invoke(*arguments).exception, ZeroDivisionError)


def test_a_value_that_is_no_number_is_no_result(models, files, tmp_path):
    broken = shutil.copytree(models[1], tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(broken)
    (last,) = tokenizer(CORPUS[6], add_special_tokens=False).input_ids[-2:-1]
    weights["model.embed_tokens.weight"][last] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    suite = SuiteConfig(quick=QuickConfig(heldout=(files / "de.txt",)), limit=1)
    found = evaluate([str(broken), models[0]], files / "out", suite=suite)
    (failure, *_) = found.failures
    assert failure.reason == "bits per byte is not a number"
    assert [result["task"] for result in found.results[1]] == [
        *("target text", "generation", "speed in turns")
    ]
    rows = [(row.task, row.metric) for row in evaluation_rows(found)]
    assert rows[0] == ("target text", "bits per byte")


def test_mistakes_are_found_before_anything_is_measured(models, files):
    suite = SuiteConfig(quick=QuickConfig(heldout=(files / "de.txt",)))
    with pytest.raises(ConfigError, match="the suite measures nothing: no file was given"):
        evaluate(models, files / "out", suite=SuiteConfig())
    with pytest.raises(OutputError, match=r"de\.txt cannot be made: File exists"):
        evaluate(models, files / "de.txt", suite=suite)
    assert "Missing argument 'MODEL...'" in invoke("--out", files / "out").stderr
    few = SuiteConfig(quick=QuickConfig(parallel=files / "en-de.tsv", distractors=6), limit=6)
    found = evaluate(models[:1], files / "out", suite=few)
    assert found.failures[0].reason == "6 pairs do not have 6 distractors for each"
    way = yaml.safe_load(found.failures[0].hint.partition("--suite FILE.yaml with ")[2])
    (files / "way.yaml").write_text(yaml.safe_dump(way))
    told = with_options(suite_named(files / "way.yaml"), limit=6, parallel=files / "en-de.tsv")
    assert "ranking, 1 of 6" in [task.name for task in plan_tasks(told)]


def test_the_card_of_saltlms_own_model_gets_the_table(models, files, tmp_path):
    own = shutil.copytree(models[0], tmp_path / "own")
    (own / "README.md").write_text("---\nlicense: mit\n---\n# Own\n\nText.\n")
    foreign = shutil.copytree(models[1], tmp_path / "foreign")
    shutil.rmtree(foreign / "saltlm")
    arguments = ["--heldout", files / "de.txt", "--out", files / "out", "--card"]
    refused = invoke(foreign, *arguments)
    assert isinstance(refused.exception, ConfigError)
    assert refused.exception.what.startswith(f"saltlm made none of {foreign}, so no card")
    (own / "saltlm" / "provenance.safetensors").unlink()
    for _ in range(2):
        assert invoke(foreign, own, *arguments).exit_code == 0
    assert "target text" in (files / "out" / "report.html").read_text()
    card = (own / "README.md").read_text()
    assert card.startswith(
        "---\nlicense: mit\n---\n# Own\n\nText.\n\n<!-- saltlm evaluate -->\n## Eval"
    )
    assert card.count("| task | metric | n | foreign | own |") == 1
    assert card.endswith("<!-- /saltlm evaluate -->\n")
    assert not (foreign / "README.md").exists()
    assert not list(own.glob(".*"))


def test_a_suite_from_a_file_with_flags_over_it(tmp_path):
    file = tmp_path / "suite.yaml"
    file.write_text("limit: 50\nseed: 3\nquick:\n  heldout: de.txt\n  distractors: 9\n")
    suite = with_options(
        suite_named(str(file)), limit=7, seed=None, english=("en.txt",), parallel=None
    )
    assert (suite.limit, suite.seed) == (7, 3)
    assert [str(path) for path in suite.quick.heldout + suite.quick.english] == ["de.txt", "en.txt"]
    assert suite.quick.distractors == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limt: 5", "there is no option 'limt'\nhint: did you mean limit"),
        ("limit: 0", "option limit=0: Input should be greater than or equal to 1"),
        (
            "quick: {heldot: a}",
            r"there is no option 'quick\.heldot'\nhint: did you mean quick\.heldout",
        ),
        ("- a", r"suite\.yaml holds a list, not options"),
    ],
)
def test_a_suite_that_is_wrong(tmp_path, text, message):
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        suite_named(str(file))
