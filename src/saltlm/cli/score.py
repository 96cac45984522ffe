"""``saltlm score``."""

import json
from pathlib import Path

import click


@click.command("score")
@click.argument("models", metavar="SOURCE PLM...", nargs=-1)
@click.option("--method", "methods", multiple=True, help="A method to score. Repeatable.")
@click.option("--select", is_flag=True, help="Also search each method's options.")
@click.option("--aux", help="As in transfer.")
@click.option(
    "--corpus",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language: tells frequent tokens from rare ones. Repeatable.",
)
@click.option("--folds", default=5, show_default=True, help="5 hold out a fifth at a time.")
@click.option("--repeats", default=1, show_default=True, help="How often to divide anew.")
@click.option("--seed", type=int, help="Of the folds and the methods. Default: 0.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="As in transfer.")
@click.option("--config", type=click.Path(path_type=Path), help="As in transfer.")
@click.option(
    "--list", "as_list", is_flag=True, help="Name the methods and their options, and stop."
)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
def command(
    models: tuple[str, ...],
    methods: tuple[str, ...],
    select: bool,
    aux: str | None,
    corpus: tuple[Path, ...],
    folds: int,
    repeats: int,
    seed: int | None,
    assignments: tuple[str, ...],
    config: Path | None,
    as_list: bool,
    as_json: bool,
) -> None:
    """Find out without training which method and which PLM to take.

    Holds out some of the tokens that SOURCE and PLM share and predicts their rows of SOURCE from
    the rest, with every method. r2 is 1 for a perfect prediction and 0 for the mean row. With
    several PLMs, each is scored on the tokens that it shares.

    \b
      saltlm score SOURCE PLM
      saltlm score SOURCE PLM --method salt --method salt:ridge=0.1 --method focus
      saltlm score SOURCE PLM_A PLM_B PLM_C --method global-residual
    """
    if as_list:
        from saltlm.methods.registry import METHODS, describe_options, option_defaults

        for name, method in METHODS.items():
            click.echo(f"{name:16} {method.description}")
            defaults = option_defaults(name)
            for option, description in describe_options(name).items():
                click.echo(f"    {option}={defaults[option]}: {description}")
        return
    if len(models) < 2:
        raise click.UsageError("SOURCE and at least one PLM are needed.")
    from saltlm.config.transfer import load_config

    options = load_config(config, assignments, aux=aux, corpus=corpus or None, seed=seed)
    from saltlm.comparison.score import score

    found = score(
        models[0],
        models[1:],
        method=methods,
        select=select,
        folds=folds,
        repeats=repeats,
        config=options,
    ).pairs
    if as_json:
        click.echo(json.dumps([scores.to_json() for scores in found], indent=2))
        return
    from saltlm.cli.render import plm_table, score_table, show

    for scores in found:
        show(score_table(scores))
    if len(found) > 1:
        show(plm_table(found))
