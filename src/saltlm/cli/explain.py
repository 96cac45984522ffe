"""``saltlm explain``."""

import json
from pathlib import Path

import click

from saltlm.cli.options import json_flag


@click.command("explain")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("tokens", metavar="TOKEN...", nargs=-1, required=True)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Number of neighbours to show for each token.",
)
@json_flag
def command(directory: Path, tokens: tuple[str, ...], top: int, as_json: bool) -> None:
    """Show how the row of a token was made.

    TOKEN is a token as the tokenizer writes it, an id such as #812, or a word, which shows all its
    tokens.

    \b
      saltlm explain llama-german Haus Straße '#812'
    """
    from saltlm.inspection.explain import explain

    explanations = explain(directory, list(tokens))
    if as_json:
        data = [explanation.to_json() for explanation in explanations]
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    from saltlm.cli.render import explanation_table, show

    for explanation in explanations:
        show(explanation_table(explanation, top))
    from saltlm.cli.ends import end, free_name
    from saltlm.record.verdicts import of_rows

    page = free_name(str(directory), "report", ".html")
    end(of_rows([one.origin for one in explanations]), "report", directory, "--out", page)
