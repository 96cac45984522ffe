"""``saltlm push``."""

from pathlib import Path

import click


@click.command("push")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("repo", metavar="REPO")
@click.option("--public", is_flag=True, help="Make it public.  [default: private]")
@click.option("--dry-run", is_flag=True, help="Only list the files that would be uploaded.")
def command(directory: Path, repo: str, public: bool, dry_run: bool) -> None:
    """Put a model directory on the Hugging Face Hub.

    REPO is owner/name; it is created if it does not exist, and private unless you say --public.
    Checkpoints of training are not uploaded.

    \b
      saltlm push llama-german-adapted me/llama-german --dry-run
      saltlm push llama-german-adapted me/llama-german
    """
    from saltlm.cli.render import show, table
    from saltlm.record.upload import push

    found = push(directory, repo, public=public, dry_run=dry_run)
    rows = [(name, f"{size / 1e6:,.1f}") for name, size in found.files.items()]
    show(table(repr(found).removeprefix("Push(").removesuffix(")"), ("file", "MB"), rows))
    for sentence in found.to_know:
        click.echo(f"warning: {sentence}", err=True)
    if found.url:
        click.echo(found.url)
    else:
        from saltlm.cli.ends import next_line

        next_line("push", directory, repo, *["--public"] * public)
