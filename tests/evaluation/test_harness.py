"""The lm-evaluation-harness with a tiny local task, questions from files, and what is missing."""

import gc
import json
import logging
import sys
from pathlib import Path

import lm_eval
import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset, DatasetDict
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapt_models import save_model
from saltlm.cli.main import cli
from saltlm.errors import ConfigError, MissingExtraError
from saltlm.evaluation import harness
from saltlm.evaluation.config import HarnessConfig, QuestionsConfig, SuiteConfig, suite_named
from saltlm.evaluation.evaluate import evaluate
from saltlm.evaluation.harness import harness_tasks
from saltlm.evaluation.paper import all_paper_tasks, paper_tasks
from saltlm.evaluation.questions import question_task, read_questions
from saltlm.evaluation.task import Subject

TASKS = Path(lm_eval.__file__).parent / "tasks"
FOLDERS = ("arc", "hellaswag", "mlqa", "multiblimp", "okapi", "xquad")
CHOICE = """
task: {name}
dataset_path: {dataset}
dataset_kwargs: {{data_files: {{test: {folder}/choices.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.5}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return save_model(folder, max_position_embeddings=512, initializer_range=0.3)


@pytest.fixture(scope="module")
def subject(model):
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    return Subject(loaded, AutoTokenizer.from_pretrained(model))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(gc, "collect", lambda: 0)
    harness._manager.cache_clear()


@pytest.fixture
def choice(tmp_path):
    docs = [
        {"question": "Wo ist das Haus?", "choices": ["am Fluss", "am Meer"], "answer": i % 2}
        for i in range(6)
    ]
    (tmp_path / "choices.jsonl").write_text("\n".join(map(json.dumps, docs)))
    file = tmp_path / "choice.yaml"
    file.write_text(CHOICE.format(name="tiny_choice", dataset="json", folder=tmp_path))
    return file


def squad(*questions):
    """Return the layout of SQuAD, MLQA and XQuAD."""
    qas = [
        {"id": str(number), "question": question, "answers": [{"text": text} for text in answers]}
        for number, (question, *answers) in enumerate(questions)
    ]
    context = "Das alte Haus steht nahe am Fluss."
    return {"version": "1.0", "data": [{"paragraphs": [{"context": context, "qas": qas}]}]}


@pytest.fixture
def german(tmp_path):
    file = tmp_path / "dev-context-de-question-en.json"
    asked = squad(("Where is it?", "am Fluss", "nahe am Fluss"), ("What is old?", "das Haus"))
    file.write_text(json.dumps(asked))
    return file


def test_the_pinned_tasks_are_in_the_installed_harness():
    manager = TaskManager(include_defaults=False, include_path=[TASKS / name for name in FOLDERS])
    pinned = {
        task
        for purposes in all_paper_tasks().values()
        for tasks in purposes.values()
        for task in tasks
    }
    assert len(pinned) == 29
    assert pinned <= set(manager.all_subtasks)
    for name in pinned:
        if not name.startswith("xquad_"):  # compared by answers.py
            load_yaml(manager.task_index[name].yaml_path)  # imports what it is computed with


def test_answers_of_xquad_are_compared_as_those_of_mlqa(subject, monkeypatch):
    answers = {"text": ["am Fluss"], "answer_start": [25]}
    row = {"context": "Das Haus steht nahe am Fluss.", "question": "Wo?", "answers": answers}
    asked, seen = [], []

    def load(path, name, **_):
        asked.append((path, name))
        return DatasetDict(validation=Dataset.from_list([row]))

    monkeypatch.setattr("datasets.load_dataset", load)
    manager = TaskManager(include_defaults=False, include_path=TASKS / "xquad")
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: manager)
    (task,) = harness_tasks([HarnessConfig(task="xquad_de")], limit=None, seed=0, batch=1)
    assert asked == [("google/xquad", "xquad.de")]
    assert task.version == "1.0, compared as MLQA"
    # "fluss" against "am fluss": 2 of 1 and 2.
    for output, exact, score in (("der »Fluss«\n", 0.0, 2 / 3), ("am Fluss!\n", 1.0, 1.0)):
        monkeypatch.setattr(subject.model, "generate", _writes(output, subject, seen))
        metrics = task.measure(subject).metrics
        assert metrics["exact_match"]["value"] == exact
        assert metrics["f1"]["value"] == pytest.approx(score)
    assert seen[0] == "Kontext: Das Haus steht nahe am Fluss.\n\nFrage: Wo?\n\nAntwort:"


def test_the_tasks_are_listed_without_a_model(monkeypatch):
    listed = CliRunner().invoke(cli, ["evaluate", "--list"])
    assert listed.exit_code == 0
    for language in ("ar", "de", "vi"):
        assert f"paper, {language}\n  after initialisation: arc_{language}, " in listed.stdout
    monkeypatch.setattr(harness, "installed_tasks", lambda: {"belebele_deu_Latn", "arc_de"})
    german = CliRunner().invoke(cli, ["evaluate", "--list", "--lang", "de"]).stdout
    assert german.endswith("modern, de\n  reading: belebele_deu_Latn\n  English kept: \n")
    assert "mlqa_de_en, mlqa_en_de" in german
    assert "paper, ar" not in german
    assert "modern: --list --lang CODE names its tasks" in listed.stdout
    assert [item.task for item in suite_named("paper", "de").harness] == [
        task for tasks in paper_tasks("de").values() for task in tasks
    ]


@pytest.mark.parametrize("language", [None, "fr"])
def test_the_paper_has_three_languages(language):
    with pytest.raises(ConfigError, match="the suite paper has ar, de, vi, not "):
        suite_named("paper", language)


@pytest.mark.parametrize("which", [0, 1, 5])
def test_an_item_that_cannot_be_scored_is_left_out_and_told(choice, subject, which):
    (task,) = harness_tasks([HarnessConfig(task=str(choice))], limit=None, seed=0, batch=1)
    whole = task.measure(subject)
    assert whole.details["not scored"] == []
    manager = TaskManager(include_defaults=False)
    loaded = manager.load([str(choice)])
    (part,) = loaded["tasks"].values()
    score = part.process_results
    seen = []

    def fail_once(doc, outputs):
        seen.append(doc)
        if len(seen) - 1 == which:
            raise ValueError("odd answer\nmore")
        return score(doc, outputs)

    part.process_results = fail_once
    task = harness.harness_task("c", loaded, None, limit=None, seed=0, batch=1)
    rest = task.measure(subject)
    assert rest.details["not scored"] == ["ValueError: odd answer"]
    items = whole.metrics["acc"]["items"][0]
    assert rest.metrics["acc"]["items"][0] == items[:which] + items[which + 1 :]


def test_a_data_set_that_is_a_program_is_named_with_what_to_do(monkeypatch):
    manager = TaskManager(include_defaults=False, include_path=TASKS / "mlqa")
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: manager)
    monkeypatch.setattr(harness, "_load", lambda *_: 1 / 0)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "4.0.0")  # of datasets
    (failure,) = harness_tasks([HarnessConfig(task="mlqa_de_de")], limit=None, seed=0, batch=1)
    assert failure.reason == (
        "its data set is a program, which is not run; give its own files as questions of a suite:"
        " docs/evaluate.md"
    )
    monkeypatch.setattr("importlib.metadata.version", lambda _: "3.6.0")
    (failure,) = harness_tasks([HarnessConfig(task="mlqa_de_de")], limit=None, seed=0, batch=1)
    assert failure.reason == "its data set cannot be had: ZeroDivisionError: division by zero"


def test_a_suite_has_a_name_or_is_a_file():
    with pytest.raises(ConfigError, match="there is no suite 'papr'"):
        suite_named("papr")


def test_a_task_of_the_harness_gives_its_metrics_with_items(model, choice, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "_BOOTSTRAP", 8)  # the harness's own, in processes of its own
    more = "  - {metric: f1, aggregation: f1, higher_is_better: true}\nmetadata"
    choice.write_text(choice.read_text().replace("metadata", more))
    suite = SuiteConfig(harness=(HarnessConfig(task=str(choice)),), limit=5)
    found = evaluate([str(model)], tmp_path / "out", suite=suite)
    assert found.failures == ()
    ((result,),) = found.results
    assert result["engine"].startswith("lm-eval 0.")
    assert (result["task"], result["version"]) == (str(choice), "1.5")
    assert result["settings"]["shots"] == [0]
    accuracy = result["metrics"]["acc"]
    assert accuracy["n"] == 5
    assert accuracy["better"] == "higher"
    answers = accuracy["items"][0]
    assert accuracy["value"] == pytest.approx(sum(answers) / 5)
    assert answers[0] != answers[1]  # the same question with the other answer
    whole = result["metrics"]["f1"]  # no mean over questions
    assert whole["items"] is None
    low, high = whole["interval"]
    assert (low + high) / 2 == pytest.approx(whole["value"])
    assert (high - low) / 2 == pytest.approx(1.96 * whole["stderr"])
    assert not list((tmp_path / "out").glob("*/*.answers*"))


def test_a_group_is_one_number_and_a_tag_one_for_each_part(choice, subject, tmp_path, monkeypatch):
    text = choice.read_text()
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("tiny_choice", f"{name}\ntag: both"))
    total = {"metric": "acc", "aggregation": "mean", "weight_by_size": True}
    group = {"group": "all", "task": ["one", "two"], "aggregate_metric_list": [total]}
    (tmp_path / "group.yaml").write_text(json.dumps(group))
    manager = TaskManager(include_defaults=False, include_path=tmp_path)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: manager)
    wanted = [HarnessConfig(task=name) for name in ("both", "all")]
    tag, whole = (task.measure(subject) for task in harness_tasks(wanted, limit=5, seed=0, batch=4))
    assert list(tag.metrics) == ["one: acc", "two: acc"]
    assert list(whole.metrics) == ["acc"]
    items = [metric["items"][0] for metric in tag.metrics.values()]
    assert whole.metrics["acc"]["items"][0] == items[0] + items[1]
    assert whole.metrics["acc"]["n"] == 10


def test_two_tasks_of_one_name_are_refused(german, tmp_path):
    twice = {"file": str(german), "context": "de"}
    suite = SuiteConfig.model_validate({"questions": [twice, twice]})
    with pytest.raises(ConfigError, match="the suite has more than one dev-context-de-question-en"):
        evaluate(["./no-such-model"], tmp_path / "out", suite=suite)


def test_shots_and_changed_questions_are_other_results(choice, tmp_path):
    def key(**options):
        (task,) = harness_tasks(
            [HarnessConfig(task=str(choice), **options)], limit=3, seed=0, batch=2
        )
        return task.settings["shots"], task.data

    assert key(shots=2)[0] == [2]
    first = key()
    choices = tmp_path / "choices.jsonl"
    lines = choices.read_text().splitlines()
    choices.write_text("\n".join([*lines[:3], "", *lines[:3]]))
    assert key() == first  # beyond the limit
    choices.write_text("\n".join(lines[::-1]))
    assert key() != first


def test_a_missing_data_set_is_named_and_the_rest_goes_on(model, choice, tmp_path):
    gone = tmp_path / "gone.yaml"
    gone.write_text(CHOICE.format(name="gone", dataset="no/such_data", folder=tmp_path))
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"harness: [{gone}, {choice}]\nlimit: 2\n")
    arguments = ["evaluate", str(model), "--suite", str(suite), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exit_code == 1, shown.output
    assert f"not measured: {gone}: its data set cannot be had: " in shown.stderr
    assert "no/such_data" in shown.stderr
    assert "acc" in shown.stdout


def test_a_task_that_needs_what_is_not_installed_is_named(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text("task: old\nprocess_results: !function no_such_module.score\n")
    (failure,) = harness_tasks([HarnessConfig(task=str(file))], limit=1, seed=0, batch=1)
    assert failure.reason.startswith("it does not load: ImportError: Cannot import module 'no_such")


def test_a_task_that_the_harness_does_not_know_is_named(monkeypatch):
    monkeypatch.setattr(
        "lm_eval.tasks.TaskManager", lambda **_: TaskManager(include_defaults=False)
    )
    (failure,) = harness_tasks([HarnessConfig(task="arc_dee")], limit=1, seed=0, batch=1)
    assert failure.task == "arc_dee"
    assert failure.reason.endswith(" has no such task")


def test_answers_that_a_killed_run_has_had_are_not_asked_for_again(subject, choice, tmp_path):
    (task,) = harness_tasks([HarnessConfig(task=str(choice))], limit=4, seed=0, batch=2)
    cached = Subject(subject.model, subject.tokenizer, tmp_path / "half.answers")
    asked = []
    handle = subject.model.register_forward_pre_hook(lambda *_: asked.append(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "_measured", lambda *_: 1 / 0)
        patch.setattr(Path, "unlink", lambda _: None)
        with pytest.raises(ZeroDivisionError):
            task.measure(cached)
    n_asked = len(asked)
    assert n_asked > 0
    measured = task.measure(cached)
    handle.remove()
    assert len(asked) == n_asked
    assert measured.metrics == task.measure(subject).metrics
    assert not cached.cache.exists()


def test_questions_are_answered_greedily_to_the_end_of_the_line(subject, german, monkeypatch):
    config = QuestionsConfig(file=german, context="de", question="en")
    task = question_task(config, limit=None, seed=0, batch=2)
    monkeypatch.setattr(subject.model, "generate", _writes("der Fluss\nund mehr", subject, []))
    measured = task.measure(subject)
    exact, score = measured.metrics["exact match"], measured.metrics["F1"]
    assert exact["items"][0] == [0.0, 0.0]
    # "fluss" against "am fluss": 2 of 1 and 2; nothing in common with "haus".
    assert score["items"][0] == pytest.approx([2 / 3, 0.0])
    assert score["value"] == pytest.approx(1 / 3)
    assert measured.details["examples"][0] == {"target": "am Fluss", "answers": ["der Fluss"]}
    assert task.settings["context"] == "de"


def _writes(text, subject, seen):
    """Return a stand-in for ``generate`` that writes the same after every prompt."""
    new = subject.tokenizer(text, return_tensors="pt").input_ids

    def generate(input_ids, **_):
        seen.extend(subject.tokenizer.decode(row, skip_special_tokens=True) for row in input_ids)
        return torch.cat([input_ids, new.expand(len(input_ids), -1)], 1)

    return generate


def test_the_prompt_has_context_question_and_examples(subject, german, tmp_path, monkeypatch):
    examples = tmp_path / "examples.json"
    examples.write_text(json.dumps(squad(("Wo?", "am Meer"), ("Wer?", "der Hund"))))
    config = QuestionsConfig(file=german, context="de", shots=1, examples=examples)
    task = question_task(config, limit=1, seed=0, batch=1)
    seen = []
    monkeypatch.setattr(subject.model, "generate", _writes("x\n", subject, seen))
    task.measure(subject)
    context = "Context: Das alte Haus steht nahe am Fluss.\n\n"
    shown = [
        f"{context}Question: {question}\n\nAnswer: {answer}\n\n"
        for question, answer in (("Wo?", "am Meer"), ("Wer?", "der Hund"))
    ]
    own = f"{context}Question: Where is it?\n\nAnswer:"
    assert seen in [[shown[0] + own], [shown[1] + own]]
    other = question_task(config.model_copy(update={"shots": 0}), limit=1, seed=0, batch=1)
    assert other.settings != task.settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"q\.json is not in SQuAD's layout: JSONDecodeError: "),
        ("[]", r"q\.json is not in SQuAD's layout: TypeError: "),
        ('{"data": ["x"]}', r"q\.json is not in SQuAD's layout: TypeError: "),
        ('{"data": [{}]}', r"q\.json is not in SQuAD's layout: KeyError: 'paragraphs'"),
        (
            '{"data": [{"paragraphs": [{"qas": []}]}]}',
            "paragraph 1 is not as in SQuAD: KeyError: 'context'",
        ),
        ('{"data": []}', r"q\.json holds no question"),
        (json.dumps(squad(("Wo?",))), "question 0 has no answer"),
    ],
)
def test_files_that_hold_no_questions(tmp_path, content, message):
    file = tmp_path / "q.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_questions(file)


@pytest.mark.parametrize(("context", "is_told"), [("DE", False), ("zh-TW", False), ("isl", True)])
def test_answers_in_a_language_that_mlqa_does_not_have_are_told_of(
    german, caplog, context, is_told
):
    caplog.set_level(logging.WARNING, logger="saltlm")
    question_task(QuestionsConfig(file=german, context=context), limit=1, seed=0, batch=1)
    assert ("MLQA says nothing of answers in 'isl'" in caplog.text) == is_told


def test_shots_need_examples(german):
    config = QuestionsConfig(file=german, context="de", shots=2)
    with pytest.raises(ConfigError, match="2 shots for .*: there are no examples to show"):
        question_task(config, limit=None, seed=0, batch=1)


@pytest.mark.parametrize("prompt", ["{context}", "{context} {question} {", "{context} {q}"])
def test_a_prompt_has_both_and_nothing_else(tmp_path, prompt):
    suite = tmp_path / "s.yaml"
    asked = {"file": "q.json", "context": "de", "prompt": prompt}
    suite.write_text(json.dumps({"questions": [asked]}))
    with pytest.raises(ConfigError, match=r"option questions\.0\.prompt=.*it needs {context} and"):
        suite_named(str(suite))


def test_without_the_extra_nothing_starts(monkeypatch, tmp_path, german):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    suite = SuiteConfig(questions=(QuestionsConfig(file=german, context="de"),))
    with pytest.raises(MissingExtraError, match=r"pip install 'saltlm\[eval\]'"):
        evaluate(["./no-such-model"], tmp_path / "out", suite=suite)
    assert not (tmp_path / "out").exists()


def test_a_missing_file_of_questions_is_named(model, tmp_path):
    suite = SuiteConfig(questions=(QuestionsConfig(file=tmp_path / "no.json", context="de"),))
    found = evaluate([str(model)], tmp_path / "out", suite=suite)
    assert [
        failure.reason.startswith(f"{tmp_path / 'no.json'} cannot be read")
        for failure in found.failures
    ] == [True]
