"""Options from files, assignments and flags, and what a wrong one is told."""

import itertools
import re
from pathlib import Path

import pytest

from saltlm.config.recommended import load_recommended
from saltlm.config.transfer import TransferConfig, load_config
from saltlm.errors import ConfigError

AUTO = {"vocabulary": "auto", "budget": "100k", "mode": "extend", "corpus": "de.txt"}

OPTIONS = "docs/options.md lists every option"


def load(text, tmp_path, *assignments, **options):
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    return load_config(tmp_path / "run.yaml", assignments, **options)


def test_nothing_said_is_the_default(tmp_path):
    assert load_config() == load("", tmp_path) == TransferConfig()
    assert load_config(aux=None, seed=None) == TransferConfig()


def test_later_sources_win(tmp_path):
    text = "seed: 1\nmatch: symbols\nfasttext:\n  dimension: 10\n  epochs: 3\ncorpus: [a.txt]\n"
    config = load(text, tmp_path, "seed=2", "fasttext.dimension=20", "aux=vectors:v=1.txt", seed=3)
    assert (config.seed, config.match, config.aux) == (3, "symbols", "vectors:v=1.txt")
    assert (config.fasttext.dimension, config.fasttext.epochs) == (20, 3)
    assert config.corpus == (Path("a.txt"),)
    assert load(text, tmp_path, "seed=2").seed == 2


def test_values_are_read_as_yaml():
    config = load_config(
        None,
        [
            "fasttext.learning_rate=1e-2",
            "trust_remote_code=true",
            "corpus=[a.txt, b.txt]",
            "special_tokens.roles.pad=</s>",
            "special_tokens.drop=['<mask>']",
        ],
    )
    assert config.fasttext.learning_rate == 0.01
    assert config.trust_remote_code is True
    assert config.corpus == (Path("a.txt"), Path("b.txt"))
    assert config.special_tokens.roles == {"pad": "</s>"}
    assert config.special_tokens.drop == ("<mask>",)


@pytest.mark.parametrize(
    ("assignment", "what", "hint"),
    [
        ("min_shard=3", "there is no option 'min_shard'", "did you mean min_shared?"),
        ("dimension=3", "there is no option 'dimension'", "did you mean fasttext.dimension?"),
        (
            "fasttext.dimention=3",
            "there is no option 'fasttext.dimention'",
            "did you mean fasttext.dimension?",
        ),
        ("zzzzzz=1", "there is no option 'zzzzzz'", "known: method, corpus, "),
        ("match=exakt", "option match='exakt': Input should be 'exact', 'symbols'", OPTIONS),
        ("seed=-1", "option seed=-1: Input should be greater than or equal to 0", OPTIONS),
        ("seed=1.5", "option seed=1.5: ", OPTIONS),
        ("aux=", "option aux=None: Input should be a valid string", OPTIONS),
        ("fasttext.model=glove", "option fasttext.model='glove': ", OPTIONS),
        ("special_tokens.roles=7", "option special_tokens.roles=7: ", OPTIONS),
        ("seed", "--set takes key=value, not 'seed'", "write --set KEY=VALUE; docs/options.md"),
        ("=3", "--set takes key=value, not '=3'", "write --set KEY=VALUE; "),
        ("seed.x.y=1", "'x' in --set seed.x.y=1 is not a section", OPTIONS),
        (
            "corpus=[a",
            "--set corpus=[a: the value is not YAML (while parsing",
            "put it in quotes: --set 'corpus=",
        ),
    ],
)
def test_a_wrong_assignment(assignment, what, hint):
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["seed.x=1", assignment] if assignment == "seed.x.y=1" else [assignment])
    assert caught.value.what.startswith(what)
    assert "\n" not in caught.value.what
    assert caught.value.hint.startswith(hint)


def test_a_value_in_the_place_of_a_section(tmp_path):
    with pytest.raises(
        ConfigError, match=r"'fasttext' in --set fasttext.epochs=2 is not a section"
    ):
        load("fasttext: 3", tmp_path, "fasttext.epochs=2")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("seed: [1", r"run\.yaml cannot be read as YAML: while parsing"),
        ("- seed\n", r"run\.yaml holds a list, not options as 'key: value'"),
        ("seed", r"run\.yaml holds a str, not options"),
        ("sed: 1", "there is no option 'sed'"),
        ("1: 2", "there is no option '1'"),
        ("seed: many", "option seed='many': Input should be a valid integer"),
    ],
)
def test_a_wrong_file(text, what, tmp_path):
    with pytest.raises(ConfigError, match=what) as caught:
        load(text, tmp_path)
    assert "\n" not in caught.value.what


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml cannot be read as YAML: .*No such file"):
        load_config(tmp_path / "no.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary cannot be read as YAML"):
        load_config(tmp_path / "binary")


def test_options_cannot_change_under_way():
    with pytest.raises(ValueError, match="frozen"):
        TransferConfig().seed = 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "100k"}, "--budget is only for --vocabulary auto, .*; leave --budget out"),
        ({"vocabulary": "auto", "corpus": ["a"]}, "; add --mode extend\n"),
        ({"vocabulary": "auto", "budget": 9, "mode": "extend"}, "; add --corpus FILE\n"),
        ({"vocabulary": "auto"}, "; add --corpus FILE --mode extend\n"),
        (
            {"preset": "best"},
            "preset=best and vocabulary=auto choose .* a text .*; add --corpus",
        ),
        (AUTO | {"prune_to": 9}, "leave --prune-to out"),
        (AUTO | {"target_tokenizer": "x"}, "both say which .* new; leave --target-tokenizer out"),
    ],
)
def test_a_vocabulary_for_a_budget_needs_text_and_a_place(options, message):
    with pytest.raises(ConfigError, match=message):
        load_config(**options)
    assert load_config(**AUTO).budget == 100_000


WORDS = [
    *("preset=best", "preset=paper", "vocabulary=auto", "vocabulary=joined", "vocabulary=plm"),
    *("mode=replace", "mode=extend", "mode=swap", "digits=plm", "copy_shared=false"),
    *("budget=9k", "keep=FILE", "prune_to=9", "corpus=FILE", "target_tokenizer=x"),
]


def refusal(options):
    try:
        load_recommended(None, [f"{key}={value}" for key, value in options.items()])
    except ConfigError as error:
        return error.what
    return None


@pytest.mark.parametrize("n", [1, 2, 3])
def test_what_does_not_fit_together_is_told_until_it_does(n):
    """Done as it says, no refusal comes of an earlier one: what one adds, no other takes away."""
    refused = 0
    for words in itertools.combinations(WORDS, n):
        options, changed = dict(word.split("=") for word in words), set()
        while (what := refusal(options)) is not None:
            (way,) = re.findall(r"; (?:leave (\S+) out|add (--.*))$", what)
            gone = {way[0].lstrip("-").partition("=")[0].replace("-", "_")} - {""}
            more = dict(re.findall(r"--(\S+) (\S+)", way[1].replace("-to N", "_to 9")))
            assert not changed & (gone | more.keys()), (words, what)
            changed |= gone | more.keys()
            options = {key: options[key] for key in options.keys() - gone} | more
            refused += 1
    assert refused > n
