"""``saltlm evaluate``."""

import json
from pathlib import Path

import click


@click.command("evaluate")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--suite", default="quick", show_default=True, help="quick | FILE.yaml")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where results go.")
@click.option(
    "--heldout",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language that no model has seen, one document a line. Repeatable.",
)
@click.option(
    "--english",
    multiple=True,
    type=click.Path(path_type=Path),
    help="English text, to see what is kept. Repeatable.",
)
@click.option(
    "--parallel",
    type=click.Path(path_type=Path),
    help="Sentences and translations: English, a tab, the target language.",
)
@click.option("--limit", type=int, help="Of each task, so many documents, pairs or questions.")
@click.option("--seed", type=int, help="Of distractors and intervals. Default: 0.")
@click.option("--device", help="cpu, cuda, cuda:1 ...  Default: a GPU if there is one.")
@click.option("--trust-remote-code", is_flag=True, help="Run the models' own code.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
def command(
    models: tuple[str, ...],
    suite: str,
    out: Path,
    heldout: tuple[Path, ...],
    english: tuple[Path, ...],
    parallel: Path | None,
    limit: int | None,
    seed: int | None,
    device: str | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Measure a new language, English, and what connects the two.

    Results go into --out, and the same command again measures only what is missing. Several
    models stand side by side, with the best of them and what is within chance of it.

    \b
      saltlm evaluate SOURCE llama-german --heldout de.txt --english en.txt \\
        --parallel en-de.tsv --out results
    """
    from saltlm.evaluate.config import QuickConfig, SuiteConfig, read_suite, with_options

    chosen = SuiteConfig(quick=QuickConfig()) if suite == "quick" else read_suite(Path(suite))
    chosen = with_options(
        chosen, heldout=heldout, english=english, parallel=parallel, limit=limit, seed=seed
    )
    from saltlm.evaluate.run import evaluate
    from saltlm.evaluate.side_by_side import as_json as to_json
    from saltlm.evaluate.side_by_side import failure_text, speed_notes, write_summary

    found = evaluate(models, chosen, out, device=device, trust_remote_code=trust_remote_code)
    write_summary(found, out)
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        from saltlm.cli.tables import evaluation_table, show

        show(evaluation_table(found, out))
        for note in speed_notes(found):
            click.echo(note)
    for failure in found.failures:
        click.echo(failure_text(failure), err=True)
    if found.failures:
        raise SystemExit(1)
