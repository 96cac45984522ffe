"""A PLM from text alone: runs on a tiny text, killed and not, and what a transfer makes of it."""

import json
import os
import re
import shlex

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import enable_progress_bar

from adapt_models import read_model, save_model, save_text
from saltlm.adaptation import training
from saltlm.adaptation.metrics import read_metrics
from saltlm.cli.main import cli
from saltlm.errors import CheckpointError, ConfigError, DataError, OutputError, TrainingError
from saltlm.pretraining import models
from saltlm.pretraining.config import load_pretrain_config
from saltlm.pretraining.pretrain import pretrain
from saltlm.pretraining.sizes import SIZES, Size, choose_size
from saltlm.pretraining.start import make_start, plan, read_start
from saltlm.record.manifest import read_manifest
from saltlm.tokenizer.losses import losses
from saltlm.vocabulary_transfer.transfer import transfer

TINY = Size("mini", 16, 2, 2, 64, 1e-2)
ARCHS = ("gpt", "bert", "t5")


@pytest.fixture(autouse=True)
def tiny(monkeypatch, quick):
    """A model of 16 dimensions."""
    monkeypatch.setitem(SIZES, "mini", TINY)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return save_text(tmp_path_factory.mktemp("text") / "text.txt")


def options(text, **more):
    usual = {
        "corpus": text,
        "vocab_size": 480,
        "steps": 10,
        "sequence_length": 16,
        "batch_tokens": 64,
        "dtype": "float32",
        "save_every": 5,
        "eval_every": 10,
        "cache": text.parent / "cache",
    }
    return usual | more


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """A function that returns what a run of an architecture ends with; made once."""
    made = {}

    def run(arch):
        if arch not in made:
            given = options(text, arch=arch, heldout=text, eval_documents=2)
            made[arch] = pretrain(tmp_path_factory.mktemp(arch) / "whole", **given)
        return made[arch]

    return run


@pytest.mark.parametrize("arch", ["bert", "t5"])  # a gpt is trained as `adapt` trains
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, text, whole, monkeypatch, capfd, arch):
    """Also in the tokenizer, which the second run trains anew; no bar of transformers is shown."""
    enable_progress_bar()
    given = options(text, arch=arch, heldout=text, eval_documents=2)
    with monkeypatch.context() as patch:
        patch.setattr(training, "learning_rate_factor", lambda step, *_: 1.0 if step < 7 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain(tmp_path / "broken", **given)
    again = pretrain(tmp_path / "broken", **given)
    assert read_model(tmp_path / "broken") == read_model(whole(arch).directory)
    assert "Writing model" not in (shown := capfd.readouterr().err)
    assert "Loading weights" not in shown
    assert again.bits_per_byte == whole(arch).bits_per_byte
    assert again.n_tokens == 480
    rows = read_metrics(whole(arch).directory / "saltlm" / "metrics.jsonl")
    measured = [row["bits_per_byte"]["target"] for row in rows if "bits_per_byte" in row]
    assert measured[-1] < measured[0]


@pytest.mark.parametrize("arch", ARCHS)
def test_the_result_is_a_plain_model_that_a_transfer_takes(tmp_path, whole, arch):
    out = whole(arch).directory
    assert losses(Tokenizer.from_file(str(out / "tokenizer.json"))) == []
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModel.from_pretrained(out)
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), TINY.width)
    if arch == "bert":
        framed = tokenizer("Haus")["input_ids"]
        assert (framed[0], framed[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    manifest = json.loads((out / "saltlm" / "manifest.json").read_text())
    assert manifest["kind"] == "pretrained"
    assert manifest["pretraining"]["made_of"]["options"]["arch"] == arch
    assert "`saltlm pretrain`" in (out / "README.md").read_text()
    made = transfer(save_model(tmp_path / "source"), out, tmp_path / "new", method="mean")
    assert made.counts["shared"] > 200  # single bytes among them


def test_a_continued_tokenizer_leaves_no_token_out_of_reach(tmp_path, text):
    """Not so of one that was trained anew: there `extend` finds tokens that it cannot make."""
    source = save_model(tmp_path / "source", has_record=False)
    source_tokens = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab()
    tail = text.parent / "more.txt"
    tail.write_text("Zielsprachenmodelle und Zielsprachenmodelle sind Zielsprachenmodelle\n" * 9)
    given = options(text, arch="gpt", steps=1, vocab_size=None, min_occurrences=5)
    given |= {"corpus": [tail], "continue_tokenizer": str(source)}
    out = pretrain(tmp_path / "plm", **given).directory
    tokens = Tokenizer.from_file(str(out / "tokenizer.json")).get_vocab()
    new = tokens.keys() - source_tokens.keys() - {"<|pad|>"}
    assert "\u0120Zielsprachenmodelle" in new
    assert len(tokens) < len(source_tokens)  # those that the corpus has not are left out
    made = tmp_path / "new"
    transfer(source, out, made, mode="extend", method="mean", min_shared=1, keep=[text])
    reach = json.loads((made / "saltlm" / "manifest.json").read_text())["vocabulary"]
    assert reach["extension"]["n_out_of_reach"] == 0


def test_the_vocabulary_is_as_large_as_a_budget_teaches(tmp_path, text):
    """20 times in the budget: as often in the corpus as this is a part of it."""
    found = []
    for share in (0.25, 1.0, 4.0):
        config = load_pretrain_config(None, **options(text, arch="gpt", vocab_size=None))
        planned = plan(config)
        budget = round(planned.n_tokens * share)
        config = config.model_copy(update={"budget": budget, "min_occurrences": 8})
        make_start(tmp_path / f"{share}", config, planned)
        made = read_start(tmp_path / f"{share}")
        said = f"occur {round(8 / share)} times in the corpus: 8 times in a budget of {budget:,}"
        assert said in made.reasons[-1]
        found.append(len(made.tokenizer.definition.ids))
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_too_little_text_is_told_and_the_way_out_is_not_another_run(tmp_path, text):
    given = options(text, arch="gpt", steps=1, sequence_length=4096, batch_tokens=8192)
    with pytest.raises(DataError, match="fewer than one sequence of 4096") as caught:
        pretrain(tmp_path / "out", **given)
    shorter = {key: int(n) for key, n in re.findall(r"--set (\w+)=(\d+)", caught.value.hint)}
    assert shorter.keys() == {"sequence_length", "batch_tokens"}
    assert pretrain(tmp_path / "out", **given | shorter).n_read == shorter["batch_tokens"]


def test_what_cannot_be_continued_is_said(tmp_path, text):
    out = tmp_path / "out"
    pretrain(out, **options(text, arch="gpt", steps=1))
    left = out / "saltlm" / ".start.saltlm-partial"  # of a run that was killed while it tidied up
    left.mkdir()
    os.utime(left, (0, 0))
    for other, said in (
        ({"seed": 1}, "seed was 0, is 1"),
        ({"hidden_share": 0.5}, "was 0.2"),
        ({"size": "mini"}, "was null, is mini"),
    ):
        with pytest.raises(TrainingError, match=f"holds a run with other settings: .*{said}"):
            pretrain(out, **options(text, arch="gpt", steps=1, **other))
    assert not left.exists()
    again = pretrain(out, resume="never", **options(text, arch="gpt", steps=1, vocab_size=450))
    assert again.n_tokens == 450
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OutputError, match="taken exists and is not a run of saltlm"):
        pretrain(tmp_path / "taken", **options(text, arch="gpt"))


def test_a_model_s_teacher_has_its_tokens_and_teaches_it(tmp_path, text, monkeypatch, caplog):
    """By the command that is named when it is made."""
    monkeypatch.chdir(tmp_path)
    model, short = save_model(tmp_path / "model"), ["--set", "sequence_length=16"]
    short += ["--set", "batch_tokens=64", "--set", f"cache={tmp_path}", "--steps", "4"]
    given = ["--corpus", str(text), "--tokenizer-of", str(model), "--out", "teacher", *short]
    with caplog.at_level("INFO", "saltlm"):
        assert CliRunner().invoke(cli, ["pretrain", *given]).exit_code == 0
    reasons = read_manifest(tmp_path / "teacher")["pretraining"]["reasons"]
    assert reasons[-1].endswith(f"tokens: those of {model} that the corpus uses")
    (command,) = (line for line in caplog.messages if line.startswith("next: "))
    words = shlex.split(command)[2:]
    assert words[:4] == ["adapt", str(model), "--teacher", "teacher"]
    short += ["--set", "samples=0", "--no-report"]
    assert CliRunner().invoke(cli, [*words, *short]).exit_code == 0
    assert len(read_metrics(tmp_path / "model-adapted/saltlm/metrics.jsonl")) == 5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"corpus": []}, "there is no text to train on; give --corpus FILE"),
        ({"epochs": 1.0}, "give only one of tokens, steps and epochs"),
        (
            {"continue_tokenizer": "x", "tokenizer": "bpe"},
            "a tokenizer that is continued is of the source's kind; leave --tokenizer out",
        ),
        (
            {"tokenizer_of": "x"},  # beside vocab_size
            "tokenizer_of says which tokens there are; leave --vocab-size out",
        ),
        (
            {"tokenizer_of": "x", "vocab_size": None, "arch": "bert"},
            "a bert cannot teach (tokenizer_of); give --arch gpt",
        ),
    ],
)
def test_options_that_do_not_fit(tmp_path, text, more, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        pretrain(tmp_path / "out", **options(text, **more))


def test_a_model_that_is_not_there_is_named_before_anything_is_made(tmp_path, text):
    for option in ("continue_tokenizer", "tokenizer_of"):
        with pytest.raises(CheckpointError, match="absent"):
            pretrain(
                tmp_path / "out",
                **options(text, vocab_size=None, **{option: str(tmp_path / "absent")}),
            )
        assert not (tmp_path / "out").exists()


def test_the_size_is_the_largest_that_is_fed(monkeypatch):
    monkeypatch.setitem(SIZES, "mini", Size("mini", 128, 4, 4, 4096, 2e-3))
    n = {name: size.n_parameters for name, size in SIZES.items()}
    assert choose_size(None, 20 * n["small"] - 1)[0].name == "mini"
    assert choose_size(None, 20 * n["small"])[0].name == "small"
    assert choose_size("base", 1)[0].name == "base"
    size, reason = choose_size(None, 1_000_000)
    assert size.name == "mini"
    assert reason == (
        "size mini, the smallest there is, though 20 tokens a parameter would be better: its layers"
        " have 0.8M parameters, and about 1,000,000 tokens are read, 1.3 for each"
    )


def test_the_layers_have_about_as_many_parameters_as_said():
    roles = {"pad": 0, "eos": 1, "bos": 1}
    for arch in ARCHS:
        model = models.new_model(arch, Size("mini", 64, 4, 4, 1, 1e-3), 100, roles, 32, 0)
        body = sum(
            weight.numel()
            for name, weight in model.named_parameters()
            if "embed" not in name and "shared" not in name
        )
        assert body == pytest.approx(12 * 64**2 * 4, rel=0.2), arch
