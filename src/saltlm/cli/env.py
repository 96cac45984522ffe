"""``saltlm env``."""

import json
import os
import platform

import click

from saltlm.cli.options import json_flag

_LIBRARIES = ("accelerate", "datasets", "peft", "floret", "gguf", "lm_eval", "sentencepiece")


@click.command("env")
@json_flag
def command(as_json: bool) -> None:
    """Show versions and hardware, for a bug report.

    It names none of your files and models.

    \b
      saltlm env
      saltlm env --json
    """
    import importlib.metadata

    import torch

    from saltlm.record.manifest import environment

    seen = environment()
    versions = dict(seen.pop("libraries"))
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = {
        **versions,
        "python": seen["python"],
        "system": f"{platform.system()} {platform.release()}, {seen['machine']}",
        "cores": f"{os.cpu_count()}, torch uses {seen['threads']}",
        "gpu": ", ".join(
            torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())
        )
        or "none",
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        click.echo(f"{name:16} {value}")
