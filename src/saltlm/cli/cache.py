"""``saltlm cache``."""

import json

import click

from saltlm.cli.options import json_flag
from saltlm.files.caches import KINDS


@click.command("cache")
@click.option(
    "--clear",
    multiple=True,
    type=click.Choice([*KINDS, "all"]),
    help="Remove what is kept of this kind. Repeatable.",
)
@json_flag
def command(clear: tuple[str, ...], as_json: bool) -> None:
    """List or clear what saltlm keeps to save time.

    There are texts as tokens (packed), models read from GGUF files (gguf), trained vectors
    (auxiliary) and models of the demo (demo), also unfinished ones of killed runs. All of it is
    made again when it is needed.

    \b
      saltlm cache
      saltlm cache --clear packed --clear gguf
    """
    from saltlm.files.caches import cache

    found = cache(clear=clear)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    from saltlm.cli.render import cache_table, show

    show(cache_table(found))
