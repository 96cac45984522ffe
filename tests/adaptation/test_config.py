"""Options of an adaptation from flags, assignments and files."""

import re
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from click.testing import CliRunner

from saltlm.adaptation.config import StageConfig, load_adapt_config
from saltlm.cli.main import cli
from saltlm.errors import ConfigError


def load(*assignments, **options):
    return load_adapt_config(None, assignments, **{"data": ("a.txt",), **options})


def test_shares_and_names_of_files():
    config = load(
        data=("de.txt", "en.txt=0.1", "owner/name:config=.25"),
        heldout=("de.held.txt", "english=/x/en=1.txt"),
    )
    assert config.data == {"de.txt": None, "en.txt": 0.1, "owner/name:config": 0.25}
    assert config.heldout == {"target": Path("de.held.txt"), "english": Path("/x/en=1.txt")}


@pytest.mark.parametrize(
    ("text", "tokens"), [("100M", 100_000_000), ("1.5b", 1_500_000_000), ("2_000", 2000), (7, 7)]
)
def test_counts(text, tokens):
    assert load(tokens=text).tokens == tokens


def test_english_has_its_share_of_the_text():
    assert load(data=("a", "b=0.3"), english="e.txt").texts == {"a": None, "b": 0.3, "e.txt": 0.05}
    two = load("english_share=0.2", english=("e.txt", "f.txt"))
    assert two.texts == {"a.txt": None, "e.txt": 0.1, "f.txt": 0.1}


def test_stages_and_sections_by_assignment():
    config = load("stages=[embeddings:0.2,full]", "lr.new=2e-3", "lora.rank=4")
    assert config.stages == (
        StageConfig(kind="embeddings", share=0.2),
        StageConfig(kind="full", share=None),
    )
    assert (config.lr.new, config.lr.shared, config.lora.rank) == (2e-3, 3e-4, 4)


def test_flags_win_over_assignments_and_those_over_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: {a.txt: , b.txt: 0.1}\nsteps: 5\nseed: 1\nkeep: 1\n")
    config = load_adapt_config(file, ["seed=2", "keep=2"], tokens="1k", keep=3)
    assert config.data == {"a.txt": None, "b.txt": 0.1}
    assert (config.tokens, config.steps, config.seed, config.keep) == (1000, None, 2, 3)


def test_a_config_that_was_written_reads_back(tmp_path):
    config = load("stages=[lora,full:0.5]", tokens="3k", heldout=("x.txt",))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_adapt_config(file) == config


def test_the_example_in_the_documents_is_read(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "adapt.md").read_text(encoding="utf-8")
    file = tmp_path / "run.yaml"
    file.write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    config = load_adapt_config(file)
    assert config.data == {"german.txt.gz": None, "english.txt.gz": 0.1}
    assert (config.tokens, config.lr.new, config.stages[1].kind) == (100_000_000, 2e-3, "full")


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP")])
def test_shipped_files_are_what_accelerate_launch_reads(tmp_path, name, kind):
    printed = CliRunner().invoke(cli, ["adapt", "--launch-config", name])
    assert printed.exit_code == 0
    (tmp_path / "launch.yaml").write_text(printed.stdout)
    read = load_config_from_file(str(tmp_path / "launch.yaml"))
    assert (read.distributed_type, read.num_processes, read.mixed_precision) == (kind, -1, "no")


@pytest.mark.parametrize(
    ("assignments", "options", "message"),
    [
        ((), {"data": ()}, "there is no text to train on; give --data FILE"),
        (("steps=1", "epochs=1"), {}, "give only one of tokens, steps and epochs"),
        (("sequence_length=100", "batch_tokens=512"), {}, "batch_tokens=512 is not .*=500"),
        ((), {"data": ("e", "a"), "english": ("e",)}, "e is given as data and as english"),
        ((), {"data": ("a=1.0",), "english": ("e",)}, "the shares of the data sum to 1.05, not 1"),
        (("lr.nwe=1",), {}, r"there is no option 'lr.nwe'\nhint: did you mean lr.new\?"),
        (("stages=[half]",), {}, "option stages.0.kind='half'"),
        (("stages=[full:0.5]",), {}, "the shares of the stages sum to 0.5, not 1; leave one out"),
        (("stages=[lora:0.9,full:0.9]",), {}, "the shares of the stages sum to 1.8, not 1"),
        ((), {"data": ("a=0.3",)}, "the shares of the data sum to 0.3, not 1; leave one out"),
        ((), {"data": ("a=0.7", "b=0.8")}, "the shares of the data sum to 1.5, not 1"),
        ((), {"data": ("a", "b=1.5")}, "option data.b='1.5': Input should be less than or equal"),
        (("stages=[full:2]",), {}, "option stages.0.share='2'"),
        (("seed",), {}, "--set takes key=value, not 'seed'"),
        (("seed.x=1", "seed.x.y=1"), {}, "'x' in --set seed.x.y=1 is not a section"),
        (("seed=[",), {}, "--set seed=.: the value is not YAML"),
        ((), {"tokens": "many"}, "option tokens='many'"),
        ((), {"heldout": ("a", "b")}, "two files have the same name; write NAME=FILE"),
    ],
)
def test_mistakes_are_named(assignments, options, message):
    with pytest.raises(ConfigError, match=message):
        load(*assignments, **options)


def test_a_preset_lies_under_what_is_given(tmp_path):
    laptop = load_adapt_config(data="de.txt", preset="laptop")
    assert (laptop.micro_batch, laptop.keep) == (2, 1)
    given = load_adapt_config(None, ["micro_batch=4"], data="de.txt", preset="laptop", keep=3)
    assert (given.micro_batch, given.keep) == (4, 3)
    assert load_adapt_config(given) == given
    with pytest.raises(ConfigError, match="option preset='desktop'"):
        load_adapt_config(data="de.txt", preset="desktop")
