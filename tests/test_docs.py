"""What the documents say is what the code does."""

import importlib
import importlib.util
import inspect
import json
import os
import re
import types
import typing
from pathlib import Path

import click
import pytest
import yaml
from pydantic import BeforeValidator
from transformers import AutoModelForCausalLM, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

import saltlm
from coverage_table import coverage
from files.format_cases import table_of_formats
from saltlm.adaptation.config import AdaptConfig
from saltlm.cli.main import VERBS, cli
from saltlm.config.transfer import TransferConfig, load_config
from saltlm.evaluation.config import QuickConfig, SuiteConfig
from saltlm.methods.registry import METHODS, describe_options, option_defaults, parse_method
from saltlm.pretraining.config import PretrainConfig
from saltlm.recipes.config import RecipeConfig
from tiny_pairs import write_pair
from vectors_table import vectors_table

ROOT = Path(__file__).parents[1]
REWRITE = bool(os.environ.get("SALTLM_WRITE_DOCS"))


def compare_or_write(file, text):
    if REWRITE:
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text, (
        f"{file.name} is stale: SALTLM_WRITE_DOCS=1 python -m pytest tests/test_docs.py"
    )


def test_command_reference_is_the_help():
    parts = ["# Commands\n\nMade from `--help`; a test compares the two.\n"]
    width = {"terminal_width": 90, "max_content_width": 90}
    root = click.Context(cli, info_name="saltlm", **cli.context_settings, **width)
    for verb in ["", *VERBS]:
        command = importlib.import_module(f"saltlm.cli.{verb}").command if verb else cli
        context = click.Context(command, info_name=verb, parent=root, **width) if verb else root
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"## saltlm {verb}".rstrip() + f"\n\n```\n{help_text}\n```\n")
    compare_or_write(ROOT / "docs" / "commands.md", "\n".join(parts))


def options(section, prefix=""):
    """Yield the name and the field of every option, those of sections under joined names."""
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from options(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


VERB_OPTIONS = {
    "transfer": [TransferConfig],
    "adapt": [AdaptConfig],
    "pretrain": [PretrainConfig],
    "recipe": [RecipeConfig],
    "evaluate": [SuiteConfig, QuickConfig],
}


def flag_of(field):
    """Return what a flag has of a field: its help, type, metavar and default as plain data."""
    inner = [kind for kind in typing.get_args(field.annotation) if kind is not type(None)]
    is_optional = typing.get_origin(field.annotation) in (types.UnionType, typing.Union)
    kind = inner[0] if is_optional else field.annotation
    is_repeatable = typing.get_origin(kind) in (tuple, dict)
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
    is_read = any(isinstance(part, BeforeValidator) for part in field.metadata)
    names = {int: "integer", float: "number", bool: "switch", Path: "file"}
    named = "text" if is_read and kind is not Path else names.get(kind, "text")
    if typing.get_origin(kind) is typing.Literal:
        named = list(typing.get_args(kind))
    usual = {"integer": "N", "number": "X", "file": "FILE"}
    default = field.get_default(call_default_factory=True)
    return {
        "help": field.description,
        "type": named,
        "metavar": (field.json_schema_extra or {}).get("metavar", usual.get(str(named))),
        "is_repeatable": is_repeatable,
        "default": None if default is False or default in (None, (), {}) else str(default),
    }


def test_flags_are_the_schema():
    table = {
        verb: {
            name: flag_of(field)
            for section in sections
            for name, field in section.model_fields.items()
            if not hasattr(field.annotation, "model_fields")
        }
        for verb, sections in VERB_OPTIONS.items()
    }
    text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    compare_or_write(ROOT / "src" / "saltlm" / "cli" / "options.json", text)


def test_option_reference_is_the_schema():
    lines = [
        "# Options",
        "",
        "In a file (`--config run.yaml`), or one by one (`--set key=value`).",
        "Made from the code; a test compares the two.",
    ]
    for verb in ("transfer", "adapt", "pretrain", "recipe", "evaluate --suite FILE.yaml"):
        section = VERB_OPTIONS[verb.partition(" ")[0]][0]
        lines += ["", f"## saltlm {verb}", "", "| option | default | meaning |", "|---|---|---|"]
        for name, field in options(section):
            default = field.get_default(call_default_factory=True)
            shown = yaml.safe_dump(default if default != () else [], default_flow_style=True)
            shown = shown.strip().removesuffix("\n...")
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}` | `{shown}` | {meaning} |")
    lines += ["", "## --method", "", "As in `--method salt:ridge=1.0:centred=true`.", ""]
    lines += ["| method | option | default | meaning |", "|---|---|---|---|"]
    for method in METHODS:
        defaults = option_defaults(method)
        for name, meaning in describe_options(method).items():
            assert meaning
            lines.append(f"| `{method}` | `{name}` | `{defaults[name]}` | {meaning} |")
    compare_or_write(ROOT / "docs" / "options.md", "\n".join(lines) + "\n")


@pytest.mark.parametrize("section", [TransferConfig, AdaptConfig])
def test_every_option_is_described(section):
    assert all(field.description for _, field in options(section))


def test_tables_of_numbers_are_the_benchmarks_results():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    shown = []
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = file.read_text(encoding="utf-8")
        shown += re.findall(r"<!-- /([\w ]+) -->", text)
        compare_or_write(file, tables.filled(text))
    assert set(shown) == set(tables.TABLES)


def test_vocabularies_cost_what_they_may():
    found = json.loads((ROOT / "benchmarks/results/vocabularies.json").read_text(encoding="utf-8"))
    for code in ("de", "vi", "ar"):
        cut = {name: run[f"cut, {code}"] for name, run in found.items() if f"cut, {code}" in run}
        for name in ("replaced", "replaced, digits=plm", "joined", "joined to 8,000", "swapped"):
            assert not cut[name][f"{code}, documents changed"]
            assert not cut[name]["en, documents changed"]
        for name in ("replaced, digits=plm", "joined", "joined to 8,000"):
            most = 1.01 * cut["the PLM's own"][f"{code}, tokens"]
            assert cut[name][f"{code}, tokens"] <= most
        words = {name: one[f"{code}, tokens a word"] for name, one in cut.items()}
        assert words["swapped"] <= 1.05 * words["replaced"]
        assert cut["swapped"]["en, tokens"] <= 1.02 * cut["untouched"]["en, tokens"]


def test_every_method_is_documented_and_the_presets_are_options(tmp_path):
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### `(.+)`", text, re.MULTILINE)) == set(METHODS)
    for named in re.findall(r"--method ([a-z+-]+:[\w=.:+-]+)", text):
        parse_method(named)
    presets = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert presets
    for preset in presets:
        (tmp_path / "preset.yaml").write_text(preset)
        parse_method(load_config(tmp_path / "preset.yaml").method)


def test_coverage_is_the_cases_of_the_tests():
    compare_or_write(ROOT / "docs" / "coverage.md", coverage())


def test_vector_formats_are_the_cases_of_the_tests(tmp_path):
    compare_or_write(ROOT / "docs" / "vectors.md", vectors_table(tmp_path))


def test_the_table_of_formats_is_the_cases_of_the_tests():
    file = ROOT / "docs" / "formats.md"
    begin, end = (f"<!-- {edge}: tests/files/format_cases.py -->" for edge in ("begin", "end"))
    before, _, rest = file.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    compare_or_write(file, f"{before}{begin}\n{table_of_formats()}\n{end}{after}")


def test_the_names_in_the_headings_of_the_method_are_modules():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## .*\((`.*)\)$", text, re.MULTILINE)
    there = {path.stem for path in (ROOT / "src" / "saltlm").rglob("*")}
    assert len(headings) == 6
    assert {name.strip("` ") for line in headings for name in line.split(",")} <= there


def test_links_between_documents_hold():
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{file.name} links to {target}"


def type_text(hint):
    """Return a type as one would write it."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " | ".join(type_text(part) for part in typing.get_args(hint))
    if arguments := typing.get_args(hint):
        inner = ", ".join("..." if part is ... else type_text(part) for part in arguments)
        return f"{typing.get_origin(hint).__name__}[{inner}]"
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


def signature_text(name):
    """Return the call of a function of the root, one parameter a line, with types and defaults."""
    signature = inspect.signature(getattr(saltlm, name))
    lines, is_marked = [], False
    for key, one in signature.parameters.items():
        if one.kind is one.KEYWORD_ONLY and not is_marked:
            lines.append("    *,")
            is_marked = True
        default = "" if one.default is one.empty else f" = {one.default!r}"
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        lines.append(f"    {stars}{key}: {type_text(one.annotation)}{default},")
    returned = type_text(signature.return_annotation)
    return "\n".join([f"saltlm.{name}(", *lines, f") -> {returned}"]).replace("jaxtyping.", "")


def test_python_page_has_the_signatures():
    file = ROOT / "docs" / "python.md"
    pattern = r"(<!-- signature: (\w+) -->\n).*?(<!-- /signature: \2 -->)"
    text = file.read_text(encoding="utf-8")
    shown = [name for _, name, _ in re.findall(pattern, text, re.DOTALL)]
    assert shown == [verb for verb in shown if verb in saltlm.__all__]
    assert {*VERBS} - {"demo", "chat", "env"} | {"transfer_embeddings"} == set(shown)
    filled = re.sub(
        pattern,
        lambda found: f"{found[1]}\n```text\n{signature_text(found[2])}\n```\n\n{found[3]}",
        text,
        flags=re.DOTALL,
    )
    compare_or_write(file, filled)


@pytest.mark.allow_hosts(["127.0.0.1"])  # saltlm.watch serves there
def test_python_page_runs(tokenizers_by_family, corpus, tmp_path, monkeypatch, capsys):
    """All examples as they stand, one after the other, on tiny models and texts."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == len(VERBS) - 2  # without three verbs, with transfer_embeddings
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("saltlm.evaluation.generation.N_NEW", 3)
    source, plm = write_pair(tmp_path, tokenizers_by_family)
    for directory, name in ((source, "llm"), (plm, "plm")):
        directory.rename(name)
    english, german = corpus[:6], corpus[6:12]
    for name, lines in (("german", german * 6), ("german.heldout", german), ("english", english)):
        Path(f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    exec("\n".join(examples), {})
    printed = capsys.readouterr().out
    for start in ("Inspection(llm with plm: ", "the best first\n  ", "Explanation('"):
        assert start in printed
    for start in ("Comparison(llm with plm)\n  untouched: ", "2 models\n  llm: target"):
        assert start in printed


def test_readme_python_runs(tokenizers_by_family, save_tokenizer_dir, tmp_path, monkeypatch):
    """The snippet as it stands, with two tiny models under the names that it uses."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    for name, family, model, config in (
        ("HuggingFaceTB/SmolLM2-135M", "bytelevel", LlamaForCausalLM, LlamaConfig),
        ("deepset/gbert-base", "wordpiece", BertModel, BertConfig),
    ):
        tokenizer = tokenizers_by_family[family]
        save_tokenizer_dir(tokenizer, tmp_path / name)
        rows = tokenizer.get_vocab_size()
        model(config(vocab_size=rows, **small)).save_pretrained(tmp_path / name)
    exec(code, {})
    AutoModelForCausalLM.from_pretrained(tmp_path / "smollm2-german")
