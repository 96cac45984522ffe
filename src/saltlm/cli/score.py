"""``saltlm score``."""

import json
from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import json_flag, options, settings


@click.command("score")
@click.argument("models", metavar="SOURCE PLM...", nargs=-1)
@click.option(
    "--method",
    multiple=True,
    help="Score this method, name or name:option=value. Repeatable.  [default: the one that"
    " saltlm transfer takes, and all others that need no further files]",
)
@click.option("--select", is_flag=True, help="Also search for the best options of each method.")
@click.option(
    "--folds",
    default=5,
    show_default=True,
    metavar="N",
    help="Number of folds; 5 means that 20 % of the shared tokens are held out each time.",
)
@click.option(
    "--repeats",
    default=1,
    show_default=True,
    metavar="N",
    help="How many times to divide the shared tokens into folds.",
)
@options("transfer", "preset", "aux", "corpus", "mode", "vocabulary", "budget", "keep")
@options("transfer", "prune_to", "target_tokenizer", "match", "untie", "seed")
@settings
@click.option("--list", "as_list", is_flag=True, help="List the methods and their options.")
@json_flag
def command(
    models: tuple[str, ...],
    method: tuple[str, ...],
    select: bool,
    folds: int,
    repeats: int,
    config: Path | None,
    assignments: tuple[str, ...],
    as_list: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare methods and PLMs without training.

    Holds out some of the tokens that SOURCE and PLM share, and lets every method predict their rows
    in SOURCE from the rest. r2 is 1 for a perfect prediction and 0 for the mean row. Each PLM is
    scored on the tokens that it shares. The vocabulary is the one that saltlm transfer makes with
    the same options.

    \b
      saltlm score SOURCE PLM --corpus german.txt
      saltlm score SOURCE PLM --method salt --method salt:ridge=0.1 --method focus
      saltlm score SOURCE PLM_A PLM_B PLM_C --method global-residual
    """
    if as_list:
        _list_methods()
        return
    if len(models) < 2:
        raise click.UsageError("SOURCE and at least one PLM are needed.")
    from saltlm.config.recommended import load_recommended

    options = load_recommended(config, assignments, **flags)
    from saltlm.comparison.score import score

    scores = score(
        models[0],
        models[1:],
        method=method,
        select=select,
        folds=folds,
        repeats=repeats,
        config=options,
    )
    if as_json:
        click.echo(json.dumps([pair.to_json() for pair in scores.pairs], indent=2))
        return
    from saltlm.cli.render import show
    from saltlm.cli.render_runs import plm_table, score_table

    for pair in scores.pairs:
        show(score_table(pair))
    if len(scores.pairs) > 1:
        show(plm_table(scores.pairs))
    from saltlm.cli.ends import after_stop, end, flags_again, free_name
    from saltlm.cli.ends_runs import of_scores
    from saltlm.config.transfer import PRESETS

    best_plm, best = scores.best
    chosen = [] if options.preset in PRESETS else ["--method", best]
    again = flags_again(config, assignments, flags)
    verdict, out = of_scores(scores), free_name(models[0], "transferred")
    if verdict.level == "stop" and options.corpus:
        end(verdict, *after_stop(models[0], options.corpus))
        return
    end(verdict, "transfer", models[0], best_plm, *chosen, *again, "--out", out)


def _list_methods() -> None:
    from saltlm.methods.registry import METHODS, describe_options, option_defaults

    for name, method in METHODS.items():
        click.echo(f"{name:16} {method.description}")
        defaults = option_defaults(name)
        for option, description in describe_options(name).items():
            click.echo(f"    {option}={defaults[option]}: {description}")
