"""``saltlm recipe``."""

from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import options, report_flag, settings


@click.command("recipe")
@click.argument("language", metavar="[LANGUAGE]", required=False)
@options("recipe", "corpus", "source", "plm", "arch", "english", "budget", "vectors", "teacher")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory of the run.  [default: that of --config if it is a run's, or recipe-LANGUAGE]",
)
@click.option(
    "--plan",
    is_flag=True,
    help="Only say what would be done, how long it takes, and how much memory it needs.",
)
@report_flag
@settings
def command(
    language: str | None,
    out: Path | None,
    plan: bool,
    is_reported: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Do all steps in one directory: from a text to a measured model.

    The text is cleaned and some of it held out; a PLM is trained, unless one is given; the LLM gets
    new tokens, is trained on the text, and is measured beside the source. After a kill, give the
    same command again, and it continues. DIR/recipe.yaml has all options; edit it and run it again
    with --config.

    \b
      saltlm recipe german --corpus german.txt --source SOURCE --budget 20M --plan
      saltlm recipe german --corpus german.txt --source SOURCE --budget 20M
      saltlm recipe --config recipe-german/recipe.yaml
    """
    from saltlm.recipes.config import load_recipe_config, run_of

    report = {} if is_reported else {"report": False}
    options = load_recipe_config(config, assignments, language=language, **flags, **report)
    from saltlm.recipes.plan import RecipePlan
    from saltlm.recipes.recipe import recipe

    found = recipe(out=out or run_of(config, language), plan=plan, config=options)
    click.echo(str(found))
    from saltlm.cli.ends import end, flags_again, next_line
    from saltlm.record.verdicts import Verdict

    if isinstance(found, RecipePlan):
        given = [*([language] if language else []), *flags_again(config, assignments, flags)]
        given += [] if is_reported else ["--no-report"]
        next_line("recipe", *given, *(["--out", out] if out else []))
    elif judged := found.steps["evaluate"].get("verdict"):
        end(Verdict(*judged), "chat", found.directory)
