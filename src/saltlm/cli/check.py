"""``saltlm check``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from saltlm.cli.options import json_flag, options


@click.command("check")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@options("transfer", "trust_remote_code")
@json_flag
def command(directory: Path, trust_remote_code: bool | None, as_json: bool) -> None:
    """Check that a model directory is sound.

    Loads it with plain transformers and compares what is loaded with what is stored; exit code 1
    if anything failed.

    \b
      saltlm check llama-german
    """
    from saltlm.inspection.check import check

    found = check(directory, trust_remote_code=bool(trust_remote_code))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        from saltlm.cli.render import finding_table, show

        show(finding_table(found.findings))
    from saltlm.cli.ends import after_check, end, of_check

    if not as_json:
        end(of_check(found), *(after_check(directory) if found.is_sound else []))
    if not found.is_sound:
        raise SystemExit(1)
