"""``saltlm check``."""

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("check")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--trust-remote-code", is_flag=True, help="Run code that DIR brings along.")
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON on stdout.")
def command(directory: Path, trust_remote_code: bool, as_json: bool) -> None:
    """Is this model directory sound?

    Loads it with plain transformers and compares what is loaded with what is stored; exit code 1
    if anything failed.

    \b
      saltlm check llama-german
    """
    from saltlm.inspection.check import check

    found = check(directory, trust_remote_code=trust_remote_code)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        from saltlm.cli.render import finding_table, show

        show(finding_table(found.findings))
    if not found.is_sound:
        raise SystemExit(1)
