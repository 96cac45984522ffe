"""A whole recipe on tiny models: what it leaves, what is done again, and what a plan says."""

import gc
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapt_models import read_model
from recipes.test_corpus import sentences
from saltlm.adaptation.result import AdaptResult
from saltlm.cli.main import cli
from saltlm.comparison.score import Scores
from saltlm.config.recommended import load_recommended
from saltlm.errors import OutputError, SaltlmError
from saltlm.evaluation.results import Evaluation
from saltlm.models.cost import training_seconds
from saltlm.pretraining.sizes import SIZES, Size
from saltlm.recipes import plan as planning
from saltlm.recipes import recipe as recipes
from saltlm.recipes.config import RecipeConfig, load_recipe_config, read_seconds, run_of
from saltlm.recipes.plan import tokens_of
from saltlm.recipes.recipe import recipe
from tiny_pairs import write_pair

SHORT = {"sequence_length": 16, "batch_tokens": 64, "save_every": 2, "dtype": "float32"}


@pytest.fixture
def given(tmp_path, tokenizers_by_family, monkeypatch):
    """Options of a recipe of seconds."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr("saltlm.evaluation.generation.N_NEW", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(SIZES, "mini", Size("mini", 16, 2, 2, 64, 1e-2))
    monkeypatch.chdir(tmp_path)
    source, plm = write_pair(tmp_path, tokenizers_by_family)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(sentences(120)))
    return {
        "corpus": [str(text)],
        "source": str(source),
        "plm": str(plm),
        "budget": "200",
        "heldout_documents": 3,
        "pretrain": {"steps": 2, "arch": "gpt", **SHORT},
        "transfer": {"method": "mean"},
        "adapt": SHORT,
    }


def stamps(run):
    return {file.stem: file.stat().st_mtime_ns for file in (run / "steps").glob("*.json")}


def test_a_recipe_is_done_once_and_again_from_its_file(given, tmp_path, monkeypatch):
    run = tmp_path / "recipe-german"
    found = recipe("german", **given)
    assert (
        found.directory == run.relative_to(tmp_path) / "adapted"
        or found.directory == run / "adapted"
    )
    AutoModelForCausalLM.from_pretrained(found.directory)
    steps = ["corpus", "budget", "score", "transfer", "adapt", "evaluate", "report"]
    assert [*found.steps] == steps
    assert "<html" in (run / "report.html").read_text()
    assert found.steps["corpus"]["n_heldout"] == 3
    assert found.steps["adapt"]["bits_per_byte"].keys() == {"target"}
    assert "transfer: " in str(found)

    before, weights = stamps(run), read_model(run / "adapted")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the run is the one that its file lies in
    recipe(config=run / "recipe.yaml")
    assert stamps(run) == before
    (run / "evaluation" / "evaluation.json").unlink()
    (run / "report.html").unlink()
    recipe("german", out=run, **given)
    changed = {name for name, time in stamps(run).items() if time != before[name]}
    assert changed == {"evaluate", "report"}
    assert (run / "report.html").is_file()
    assert not any((tmp_path / "elsewhere").iterdir())
    monkeypatch.chdir(tmp_path)
    before = stamps(run)

    values = yaml.safe_load((run / "recipe.yaml").read_text())
    values["budget"] = "260"
    (run / "edited.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(recipes, "evaluate", lambda *_, **__: Evaluation((), (), ()))
    recipe(config=run / "edited.yaml")
    changed = {name for name, time in stamps(run).items() if time != before[name]}
    assert changed == {"budget", "adapt", "evaluate", "report"}
    assert read_model(run / "adapted") != weights

    for name in ("score", "transfer", "adapt"):
        monkeypatch.setattr(recipes, f"_{name}", lambda *_, name=name: {"said": name})
    before = stamps(run)
    (tmp_path / "text.txt").write_text("\n".join(sentences(130)))
    recipe(config=run / "edited.yaml")
    changed = {name for name, time in stamps(run).items() if time != before[name]}
    assert changed == {"corpus", "score", "transfer", "adapt", "evaluate", "report"}

    before = stamps(run)
    with (Path(given["plm"]) / "tokenizer.json").open("a") as another:
        another.write("\n")
    recipe(config=run / "edited.yaml")
    changed = {name for name, time in stamps(run).items() if time != before[name]}
    assert changed == {"score", "transfer", "adapt", "evaluate", "report"}

    (run / "report.html").unlink()
    (run / "steps" / "report.json").unlink(missing_ok=True)
    command = ["recipe", "--config", str(run / "edited.yaml"), "--no-report"]
    CliRunner().invoke(cli, command, catch_exceptions=False)
    assert not (run / "report.html").exists()


def test_the_budget_chooses_the_vocabulary_and_english_is_measured(given, tmp_path, monkeypatch):
    english = tmp_path / "english.txt"
    english.write_text("\n".join(sentences(140, seed=1)))
    asked = {}

    def seen(name, result):
        def step(*models, **options):
            asked[name] = options
            return result

        return step

    model = tmp_path / "model"
    monkeypatch.setattr(recipes, "score", seen("score", Scores(())))
    monkeypatch.setattr(recipes, "transfer", seen("transfer", SimpleNamespace(counts={})))
    monkeypatch.setattr(recipes, "adapt", seen("adapt", AdaptResult(model, 3, 300, 1.0, {})))
    monkeypatch.setattr(recipes, "evaluate", seen("evaluate", Evaluation((), (), ())))
    given |= {"transfer": {}, "budget": "300", "english": [str(english)], "report": False}
    monkeypatch.setattr(recipes, "vectors", seen("vectors", "a file"))
    recipe("german", **given, vectors=True)
    assert asked["transfer"]["budget"] == 300
    run = tmp_path / "recipe-german"
    assert asked["transfer"].pop("force")
    chosen = load_recommended(None, **asked["transfer"])
    assert (chosen.mode, chosen.vocabulary, chosen.method) == ("extend", "auto", "salt")
    assert chosen.aux == f"vectors:{run / 'vectors.bin'}"
    assert asked["score"]["config"] == chosen  # of the same tokens
    trained, kept = (str(run / "corpus/english" / f"{name}.jsonl") for name in ("train", "heldout"))
    heldout = {"target": str(run / "corpus/heldout.jsonl"), "english": kept}
    assert asked["adapt"]["english"] == trained
    assert asked["adapt"]["heldout"] == heldout
    assert asked["evaluate"] == {"heldout": heldout["target"], "english": kept}
    assert asked["adapt"]["teacher"] == "ngrams"
    assert "min_occurrences" not in asked["transfer"]  # as many new tokens as n-grams can teach
    training = {json.loads(line)["text"] for line in Path(trained).read_text().splitlines()}
    assert len(training) + len(Path(kept).read_text().splitlines()) == 140
    assert training <= {*english.read_text().splitlines()}
    for number, other in enumerate(({"teacher": "none"}, {"adapt": {"teacher": "none"}})):
        recipe("german", out=tmp_path / str(number), **given | other)
        assert asked["transfer"]["min_occurrences"] == 20


def test_a_gpt_has_the_new_tokens_and_teaches(given, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "evaluate", lambda *_, **__: Evaluation((), (), ()))
    given |= {"report": False, "pretrain": {**given["pretrain"], "vocab_size": 400}}
    names = [step.name for step in recipe("german", plan=True, teacher="gpt", **given).steps]
    assert names[2:5] == ["transfer", "teacher", "adapt"]
    found = recipe("german", teacher="gpt", **given)
    assert [*found.steps][3:6] == ["transfer", "teacher", "adapt"]
    run = tmp_path / "recipe-german"
    words = AutoTokenizer.from_pretrained(run / "transferred").get_vocab()
    taught = AutoTokenizer.from_pretrained(run / "teacher").get_vocab()
    assert len(taught) > 250
    assert taught.keys() - words.keys() <= {"<|pad|>"}
    steps = json.loads((run / "adapted/saltlm/manifest.json").read_text())["adaptations"]
    assert steps[-1]["options"]["teacher"] == str(run / "teacher")

    before, weights = stamps(run), read_model(run / "adapted")
    recipe("german", teacher="gpt", **given)
    assert stamps(run) == before

    for teacher, named in (("ngrams", "ngrams"), ("none", None)):
        before = stamps(run)
        recipe("german", teacher=teacher, **given)
        changed = {name for name, time in stamps(run).items() if time != before[name]}
        assert changed == {"adapt", "evaluate"}
        assert read_model(run / "adapted") != weights
        steps = json.loads((run / "adapted/saltlm/manifest.json").read_text())["adaptations"]
        assert steps[-1]["options"]["teacher"] == named


def test_a_killed_step_goes_on_and_those_before_it_stay(given, monkeypatch, tmp_path):
    out = tmp_path / "run"
    given |= {"plm": None}

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recipes, "adapt", killed)
        with pytest.raises(KeyboardInterrupt):
            recipe("german", out=out, **given)
    before = stamps(out)
    assert "result" not in json.loads((out / "steps" / "adapt.json").read_text())
    assert json.loads((out / "steps" / "pretrain.json").read_text())["result"]["reasons"]
    resumed = []
    with monkeypatch.context() as patch:
        patch.setattr(recipes, "adapt", lambda *_, resume, **__: resumed.append(resume) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recipe("german", out=out, **given)
        with pytest.raises(ZeroDivisionError):
            recipe("german", out=out, **given | {"budget": "300"})
    assert resumed == ["auto", "never"]
    after = stamps(out)
    assert all(after[name] == before[name] for name in ("corpus", "pretrain", "transfer"))


def test_a_plan_makes_nothing(given, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "seconds_a_trained_product", lambda *_: 2e-9)
    planned = recipe("german", plan=True, **given | {"plm": None, "vectors": True, "budget": "2h"})
    names = [step.name for step in planned.steps]
    wanted = ["corpus", "pretrain", "vectors", "score", "transfer", "adapt", "evaluate"]
    assert names == wanted
    assert not (tmp_path / "recipe-german").exists()
    n_source = sum(
        p.numel() for p in AutoModelForCausalLM.from_pretrained(given["source"]).parameters()
    )
    assert planned.n_tokens == round(7200 / training_seconds(1, n_source, 2e-9))
    adapt = next(step for step in planned.steps if step.name == "adapt")
    assert adapt.seconds == pytest.approx(7200 + 60, rel=1e-3)
    assert str(planned).startswith("about 2.")
    monkeypatch.setattr(planning, "seconds_of_tasks", lambda *given: len(given[2]))
    measured = recipe("german", plan=True, **given | {"english": given["corpus"]}).steps[-1]
    assert measured.seconds == 3 * 3 + 4 * 1  # two texts, and what is written, also in turns
    given["transfer"] = {}
    fitted = recipe("german", plan=True, **given)
    of = [
        next(one.seconds for one in plan.steps if one.name == "transfer")
        for plan in (planned, fitted)
    ]
    assert of == [30, pytest.approx(30 + training_seconds(10_000, n_source, 2e-9))]


def test_a_plan_needs_no_weights_and_a_run_looks_at_both_models_first(given, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "seconds_a_trained_product", lambda *_: 2e-9)
    weights = Path(given["source"]) / "model.safetensors"
    weights.rename(tmp_path / "aside")
    assert recipe("german", plan=True, **given).n_tokens == 200  # as of a model of the Hub
    with pytest.raises(SaltlmError, match="source holds neither model.safetensors nor"):
        recipe("german", **given)
    (tmp_path / "aside").rename(weights)
    (Path(given["plm"]) / "model.safetensors").unlink()
    with pytest.raises(SaltlmError, match="plm holds neither model.safetensors nor"):
        recipe("german", **given)
    config = Path(given["source"]) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_encoder_decoder": True}))
    with pytest.raises(SaltlmError, match="is an encoder-decoder"):
        recipe("german", plan=True, **given)
    assert not (tmp_path / "recipe-german").exists()


def test_a_file_of_options_belongs_to_the_run_that_it_lies_in(tmp_path):
    file, other = tmp_path / "recipe.yaml", tmp_path / "edited.yaml"
    file.touch()
    assert run_of(file, None) is None  # nothing was run there
    (tmp_path / "steps").mkdir()
    assert run_of(file, None) == run_of(str(other), None) == tmp_path
    assert (
        run_of(file, "dutch")
        is run_of(None, None)
        is run_of(RecipeConfig.model_construct(), None)
        is None
    )


def test_budgets():
    assert [read_seconds(text) for text in ("90s", "90min", "1.5h", "20M")] == [
        90,
        5400,
        5400,
        None,
    ]
    assert tokens_of("20M", 5.0) == 20_000_000
    assert tokens_of("1h", 500.0) == 1_800_000


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"language": "two words"}, "the language is 'two words'; name it in one word"),
        ({"corpus": []}, "there is no text of the language; give --corpus FILE"),
        ({"source": None}, "there is no LLM to give the language to; give --source SOURCE"),
        ({"budget": "soon"}, "the budget is 'soon'; write tokens"),
        ({"transfer": {"methd": "mean"}}, "methd"),
        ({"adapt": {"lrr": 1}}, "lrr"),
        ({"plm": "no/where/at/all"}, "no/where/at/all"),
        ({"english": ["gone.txt"]}, "gone.txt"),
        ({"teacher": "gpt", "adapt": {"teacher": "x"}}, "give only one"),
    ],
)
def test_options_that_do_not_fit_are_told_before_any_work(given, more, message, monkeypatch):
    monkeypatch.setattr(planning, "seconds_a_trained_product", None)
    with pytest.raises(SaltlmError, match=message):
        recipe(**{"language": "german", **given, **more})


def test_a_place_that_is_something_else(given, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OutputError, match="taken exists and is not a run of saltlm recipe"):
        recipe("german", out=tmp_path / "taken", **given)
    assert RecipeConfig.model_fields["budget"].default == "1M"


@pytest.mark.parametrize(("n_tokens", "teacher"), [(1_000_000, "ngrams"), (1_000_001, "none")])
def test_ngrams_teach_short_runs(n_tokens, teacher):
    config = RecipeConfig(language="x", corpus=["a"], source="b")
    assert recipes._named_teacher(config, n_tokens) == teacher
    assert recipes._named_teacher(config.model_copy(update={"teacher": "gpt"}), n_tokens) == "gpt"


@pytest.mark.parametrize(
    ("old", "new"), [(False, "none"), (True, "gpt"), (None, "none"), ("ngrams", "ngrams")]
)
def test_files_from_before_there_were_several_teachers_are_read(old, new, tmp_path):
    file = tmp_path / "recipe.yaml"
    values = {"language": "x", "corpus": ["a"], "source": "b", "teacher": old}
    file.write_text(yaml.safe_dump(values))
    assert load_recipe_config(file).teacher == new
