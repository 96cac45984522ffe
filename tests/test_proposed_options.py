"""Each flag, option and verb that a text of the code names is there, in every verb that says it."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import saltlm
from saltlm.adaptation.config import AdaptConfig
from saltlm.cli.main import VERBS
from saltlm.config.reading import option_names
from saltlm.config.transfer import FasttextConfig, TransferConfig
from saltlm.methods.registry import parse_method
from saltlm.pretraining.config import PretrainConfig
from saltlm.recipes.config import RecipeConfig

PACKAGE = Path(saltlm.__file__).parent
PAIR = ("inspect", "score", "transfer", "compare")  # verbs that make a vocabulary
TRAINS = ("adapt", "pretrain")
# By the beginning of a module's name: the verbs in which its texts are read; the longest counts.
SAID_IN = {
    "": (),  # any
    "adaptation/": TRAINS,
    "adaptation/config": ("adapt",),
    "adaptation/merge": ("merge",),
    "adaptation/model": ("adapt",),  # checkpointing
    "adaptation/parameters": ("adapt",),  # stages
    "adaptation/prepare": ("adapt",),  # a suite
    "adaptation/schedule": ("adapt",),  # stages
    "alignment/": PAIR,
    "auxiliary/": ("score", "transfer", "compare"),
    "auxiliary/fasttext_training": ("score", "transfer", "compare", "vectors"),
    "auxiliary/make": ("vectors",),
    "auxiliary/writing": ("vectors",),
    "comparison/": ("compare",),
    "config/": PAIR,
    "evaluation/": ("evaluate",),
    "inspection/": (),
    "methods/": ("score", "transfer"),
    "models/": PAIR,
    "models/architecture": ("transfer",),  # --dtype
    "models/gguf": ("export",),
    "models/logits": (),
    "models/untie": ("inspect", "score", "transfer"),
    "models/write": ("transfer",),
    "pretraining/": ("pretrain",),
    "recipes/": ("recipe",),
    "recipes/demo/": ("demo",),
    "tokenizer/": PAIR,
    "vocabulary_transfer/": PAIR,
    "vocabulary_transfer/rows": ("score", "transfer", "compare"),
    "vocabulary_transfer/transfer": ("transfer",),
}
OTHERS = r"\b(pip|hf|accelerate|llama-gguf-split|saltlm [A-Z]+)\b[^;\n]*"
COMMAND = r"\bsaltlm ([a-z]+)(?=[ ,:)\n]|$)((?:[^;\n](?!saltlm))*)"
SHELL = (
    rf"\b(saltlm ({'|'.join(VERBS)})|mkdir -p|rm|rm -r|cp -rL|ls|ls -ld|python -m json.tool"
    r"|hf download|unzip( -p)?) [^;:,=]*$|--(resume|aux|corpus) $"
)
COMMANDS = {verb: importlib.import_module(f"saltlm.cli.{verb}").command for verb in VERBS}
FLAGS = {
    verb: {name: one.type for one in command.params for name in (*one.opts, "--help")}
    for verb, command in COMMANDS.items()
}
KEYS = {verb: option_names(TransferConfig) for verb in PAIR} | {
    "adapt": option_names(AdaptConfig),
    "pretrain": option_names(PretrainConfig),
    "recipe": option_names(RecipeConfig),
    "vectors": [f"fasttext.{name}" for name in option_names(FasttextConfig)],
}


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield what a source says: strings of several words that are no docstrings."""
    nodes = [*ast.walk(tree)]
    bodies = [node.body for node in nodes if isinstance(getattr(node, "body", 0), list)]
    left_out = {id(line.value) for body in bodies for line in body if isinstance(line, ast.Expr)}
    for node in nodes:  # from the outside inwards
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in ast.walk(node)}
            values = (getattr(part, "value", "") for part in node.values)
            text = "".join(value if isinstance(value, str) else "\0" for value in values)
        else:
            continue
        if " " in text:
            yield text


def unquoted(tree: ast.Module) -> Iterator[str]:
    """Yield the values in commands of a source that a shell would take apart at a blank."""
    for text in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        before = ""
        for part in text.values:
            if isinstance(part, ast.Constant):
                before += part.value
                continue
            value = ast.unparse(part.value)
            is_path = part.format_spec is None and part.conversion < 0
            if (
                is_path
                and re.search(SHELL, before)
                and not re.search(r"quote|^out$|^name$|^chosen$", value)
            ):
                yield value
            before += "\0"


def wrong(text: str, verbs: tuple[str, ...]) -> Iterator[str]:
    """Yield what a text proposes and a verb does not have; no verbs stand for any of them."""
    text = re.sub(OTHERS, "", text)
    for verb, words in re.findall(COMMAND, text):
        if verb in VERBS:
            yield from wrong(words, (verb,))
    text = re.sub(COMMAND, "", text)
    for key in re.findall(r"--set ([a-z][\w.]*)(?=[=;]|$)", text):
        has = [key in KEYS.get(verb, ()) for verb in verbs or KEYS]
        if not (all(has) if verbs else any(has)):
            yield f"--set {key} in {verbs}"
        if any("--" + key.replace("_", "-") in FLAGS[verb] for verb in verbs):
            yield f"--set {key}, which its flag wins over, in {verbs}"
    for flag, value in re.findall(r"(?<![\w-])(--[a-z][\w-]*)(?: ([a-z-]+)\b)?", text):
        has = [flag in FLAGS[verb] for verb in verbs or VERBS]
        if not (all(has) if verbs else any(has) or flag in {"--completion", "--help"}):
            yield f"{flag} in {verbs}"
        kinds = [FLAGS[verb].get(flag) for verb in verbs]
        if any(
            isinstance(kind, click.Choice) and value not in ("", "out", *kind.choices)
            for kind in kinds
        ):
            yield f"{flag} {value} in {verbs}"


@pytest.fixture(scope="module")
def trees():
    """Sources by the module's name."""
    files = {file.relative_to(PACKAGE).as_posix(): file for file in PACKAGE.rglob("*.py")}
    return {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files.items()}


@pytest.fixture(scope="module")
def said(trees):
    """Texts by the module's name."""
    return {name: [*texts(tree)] for name, tree in trees.items()}


@pytest.mark.parametrize("begin", SAID_IN)
def test_what_a_text_proposes_is_there(said, begin):
    for name in said:
        if begin == max(filter(name.startswith, SAID_IN), key=len):
            assert [one for text in said[name] for one in wrong(text, SAID_IN[begin])] == [], name


def test_methods_that_texts_propose_are_there(said):
    pattern = r"--method ([a-z-]+[/:][^\s\0;]+)"
    found = {name for each in said.values() for text in each for name in re.findall(pattern, text)}
    assert "salt:ridge=0.1:centred=true" in found
    for name in found:
        assert parse_method(name.rstrip("/"))


def test_paths_in_commands_are_quoted(trees):
    own = "cli/demo.py"  # its commands are done, not proposed
    assert {name for name, tree in trees.items() if name != own and [*unquoted(tree)]} == set()
    text = ast.parse('f"look: rm -r {path} and {quoted(path)}; {path}"')
    assert [*unquoted(text)] == ["path"]


def test_what_is_not_there_is_found():
    source = (
        '"a docstring --no"\nraise E(f"--set fits.inptu={1}; saltlm adapt {2} --dat x", "--ut")'
    )
    source += '\nE("add --untie, or --set match=exact: --matsch")'
    assert [line for text in texts(ast.parse(source)) for line in wrong(text, ("transfer",))] == [
        "--dat in ('adapt',)",
        "--set fits.inptu in ('transfer',)",
        "--set match, which its flag wins over, in ('transfer',)",
        "--matsch in ('transfer',)",
    ]
    assert next(wrong("--mode extned", ("transfer",)))
