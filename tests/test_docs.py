"""What the documents say is what the code does."""

import importlib
import os
import re
from pathlib import Path

import click
import yaml

from saltlm.cli.main import VERBS, cli
from saltlm.config import TransferConfig

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
    for verb in ["", *VERBS]:
        command = importlib.import_module(f"saltlm.cli.{verb}").command if verb else cli
        context = click.Context(command, info_name=f"saltlm {verb}".strip(), max_content_width=90)
        context.terminal_width = 90
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"## saltlm {verb}".rstrip() + f"\n\n```\n{help_text}\n```\n")
    compare_or_write(ROOT / "docs" / "commands.md", "\n".join(parts))


def test_option_reference_is_the_schema():
    lines = [
        "# Options",
        "",
        "Of `saltlm transfer`: in a file (`--config run.yaml`), or one by one (`--set key=value`).",
        "Made from the code; a test compares the two.",
        "",
        "| option | default | meaning |",
        "|---|---|---|",
    ]

    def walk(section, prefix=""):
        for name, field in section.model_fields.items():
            kind = field.annotation
            if hasattr(kind, "model_fields"):
                walk(kind, f"{prefix}{name}.")
            else:
                default = field.get_default(call_default_factory=True)
                shown = yaml.safe_dump(default if default != () else [], default_flow_style=True)
                shown = shown.strip().removesuffix("\n...")
                meaning = (field.description or "").replace("|", "\\|")
                lines.append(f"| `{prefix}{name}` | `{shown}` | {meaning} |")

    walk(TransferConfig)
    compare_or_write(ROOT / "docs" / "options.md", "\n".join(lines) + "\n")


def test_every_option_is_described():
    def walk(section):
        for name, field in section.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                walk(field.annotation)
            else:
                assert field.description, name

    walk(TransferConfig)


def test_links_between_documents_hold():
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{file.name} links to {target}"
