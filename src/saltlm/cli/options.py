"""Flags: those made from the options' schema, and those that several commands share.

``options.json`` is the schema as plain data, so that ``--help`` need not load what checks options;
``make docs`` writes it, and a test compares it with the schema.
"""

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_TYPES: dict[str, Any] = {
    "file": click.Path(path_type=Path),
    "integer": click.INT,
    "number": click.FLOAT,
    "text": click.STRING,
}


@cache
def _schema() -> dict[str, dict[str, dict[str, Any]]]:
    text = (files("saltlm.cli") / "options.json").read_text(encoding="utf-8")
    schema: dict[str, dict[str, dict[str, Any]]] = json.loads(text)
    return schema


def options(verb: str, *names: str, required: bool = False) -> Callable[[_Command], _Command]:
    """Return a decorator that adds flags for options of a verb, in the order given.

    A flag that is not given is None or empty, so that a file of options can speak.
    """

    def add(command: _Command) -> _Command:
        for name in reversed(names):
            command = _flag(name, required=required, **_schema()[verb][name])(command)
        return command

    return add


def _flag(
    name: str,
    *,
    help: str,
    type: str | list[str],
    metavar: str | None,
    is_repeatable: bool,
    default: str | None,
    required: bool,
) -> Callable[[_Command], _Command]:
    text = f"{help[0].upper()}{help[1:]}."
    text += " Repeatable." if is_repeatable else ""
    text += f"  [default: {default}]" if default is not None else ""
    flag = "--" + name.replace("_", "-")
    if type == "switch":
        return click.option(flag, is_flag=True, default=None, help=text)
    kind = click.Choice(type) if isinstance(type, list) else _TYPES[type]
    return click.option(
        flag, type=kind, metavar=metavar, multiple=is_repeatable, required=required, help=text
    )


def settings(command: _Command) -> _Command:
    """Add the two flags that set any option of the schema."""
    assign = click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set any option of docs/options.md. Repeatable.",
    )
    read = click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Read options from this YAML file; flags win over it.",
    )
    return assign(read(command))


json_flag = click.option(
    "--json", "as_json", is_flag=True, help="Print the whole result as JSON instead of tables."
)

report_flag = click.option(
    "--no-report",
    "is_reported",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Do not write the page that saltlm report makes of the result.",
)
