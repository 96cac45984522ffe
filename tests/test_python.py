"""The Python API: the verbs of the command line, with the same options and typed results."""

import importlib
import inspect
import typing
from pathlib import Path

import click
import pytest

import saltlm
from saltlm.cli.main import VERBS, cli
from saltlm.evaluation.config import QuickConfig
from saltlm.inspection.explain import Influence
from saltlm.inspection.finding import Check, Finding

FUNCTIONS = [verb for verb in VERBS if verb not in ("demo", "chat", "env")]
# How the command line shows a result, or that it shows something else; and --set KEY=VALUE, which
# in Python is the keyword KEY.
SHOWN = {"json", "top", "list", "set", "launch_config", "no_report"}
SCHEMAS = {
    "inspect": [saltlm.TransferConfig],
    "score": [saltlm.TransferConfig],
    "transfer": [saltlm.TransferConfig],
    "compare": [saltlm.TransferConfig],
    "adapt": [saltlm.AdaptConfig],
    "pretrain": [saltlm.PretrainConfig],
    "recipe": [saltlm.RecipeConfig],
    "vectors": [saltlm.FasttextConfig],
    "evaluate": [saltlm.SuiteConfig, QuickConfig],
}
NOT_GIVEN = (None, (), False, inspect.Parameter.empty)


def test_dir_shows_the_verbs_and_all_that_is_exported():
    assert set(FUNCTIONS) <= set(dir(saltlm))
    assert dir(saltlm) == sorted(saltlm.__all__)
    assert set(saltlm.__all__) == {*saltlm._HOMES, "__version__"}


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_an_option_of_a_command_is_a_keyword_with_the_same_default(verb):
    command = importlib.import_module(f"saltlm.cli.{verb}").command
    # Under cli, as a command keeps the help flags that it is first asked for.
    whole = click.Context(cli, **cli.context_settings)
    values = command.make_context(verb, [], parent=whole, resilient_parsing=True).params
    parameters = inspect.signature(getattr(saltlm, verb)).parameters
    fields = {name for schema in SCHEMAS.get(verb, ()) for name in schema.model_fields}
    compared = set()
    for item in command.params:
        name = item.opts[0].removeprefix("--").replace("-", "_")
        if item.param_type_name == "argument" or name in SHOWN:
            continue
        value = values[item.name]
        if name in parameters:
            default = parameters[name].default
            assert default == value or (default in NOT_GIVEN and value in NOT_GIVEN), name
        else:
            assert value in NOT_GIVEN, name  # so that the schema's default holds
            assert name in fields, name
            assert parameters["options"].kind is inspect.Parameter.VAR_KEYWORD
        compared.add(name)
    arguments = {item.name for item in command.params if item.param_type_name == "argument"}
    arguments = {"source", "plm"} if verb == "score" else arguments  # the command has SOURCE PLM...
    assert parameters.keys() - compared - {"config", "options"} == arguments


def types_in(hint):
    """Yield the classes of a type, as deep as they are."""
    if isinstance(hint, type) and not typing.get_args(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from types_in(inner)


@pytest.mark.parametrize("verb", [*FUNCTIONS, "transfer_embeddings"])
def test_every_type_in_a_signature_is_exported(verb):
    hints = typing.get_type_hints(getattr(saltlm, verb))
    own = {t for hint in hints.values() for t in types_in(hint) if t.__module__[:6] == "saltlm"}
    assert own or verb == "check"
    for one in own:
        assert getattr(saltlm, one.__name__) is one


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("inspect", ["source", "plm"]),
        ("score", ["source", "plm"]),
        ("transfer", ["source", "plm", "out"]),
        ("adapt", ["model", "out"]),
        ("pretrain", ["out"]),
        ("evaluate", ["model", "out"]),
    ],
)
def test_an_unknown_keyword_is_told_with_the_nearest(verb, arguments):
    with pytest.raises(saltlm.SaltlmError, match="there is no option 'sead'\nhint: did you mean"):
        getattr(saltlm, verb)(*arguments, sead=1)


def test_results_say_what_came_out():
    found = Check(
        Path("out"),
        (Finding("a", "ok", "x"), Finding("b", "warning", "y"), Finding("c", "failed", "z")),
    )
    assert repr(found) == ("Check(out: NOT SOUND; 1 checks ok)\n  warning: b: y\n  failed: c: z")
    assert not found.is_sound
    assert Check(Path("out"), found.findings[:2]).is_sound
    adapted = saltlm.AdaptResult(Path("out"), 3, 96_000, 1.5, {"target": 1.25, "English": 2.0})
    assert repr(adapted) == (
        "AdaptResult(out: 96,000 tokens; bits per byte: target 1.250, English 2.000)"
    )
    influences = tuple(Influence(f"t{i}", i, 0.5 - i / 10, 0.9, 0.1) for i in range(7))
    made = saltlm.Explanation("_Haus", "Haus", 7, "made", 3, None, (), 0.25, 1.0, influences)
    assert repr(made) == (
        "Explanation('Haus', id 7: made of +0.50 t0, +0.40 t1, +0.30 t2, +0.20 t3, +0.10 t4"
        " and 2 more; residual 0.25)"
    )
    shared = saltlm.Explanation("_Hund", "Hund", 8, "shared", 4, 55)
    assert repr(shared) == "Explanation('Hund', id 8: shared, the source's row 55)"
