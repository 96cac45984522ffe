"""``saltlm evaluate``."""

import json
from pathlib import Path

import click


@click.command("evaluate")
@click.argument("models", metavar="MODEL...", nargs=-1)
@click.option("--suite", default="quick", show_default=True, help="quick | paper | FILE.yaml")
@click.option("--lang", "language", help="Language of the suite paper: ar, de or vi.")
@click.option("--out", type=click.Path(path_type=Path), help="Where results go.")
@click.option(
    "--heldout",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language that no model has seen. Repeatable.",
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
    help="Sentences and translations: English, a tab, the target language; or EN,DE: two files.",
)
@click.option("--limit", type=int, help="Of each task, so many documents, pairs or questions.")
@click.option("--seed", type=int, help="Of distractors, examples and intervals. Default: 0.")
@click.option("--device", help="cpu, cuda, cuda:1 ...  Default: a GPU if there is one.")
@click.option("--trust-remote-code", is_flag=True, help="Run the models' own code.")
@click.option("--card", is_flag=True, help="Also put the table into the cards of saltlm's models.")
@click.option("--list", "is_listing", is_flag=True, help="Name the tasks of the suites and stop.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
def command(
    models: tuple[str, ...],
    suite: str,
    language: str | None,
    out: Path | None,
    heldout: tuple[Path, ...],
    english: tuple[Path, ...],
    parallel: Path | None,
    limit: int | None,
    seed: int | None,
    device: str | None,
    trust_remote_code: bool,
    card: bool,
    is_listing: bool,
    as_json: bool,
) -> None:
    """Measure a new language, English, and what connects the two.

    Results go into --out, and the same command again measures only what is missing. Several
    models stand side by side, with the best of them and what is within chance of it. What cannot
    be measured is named, the rest is done, and the exit code is 1.

    \b
      saltlm evaluate SOURCE llama-german --heldout de.txt --english en.txt \\
        --parallel en-de.tsv --out results
      saltlm evaluate SOURCE llama-german --suite paper --lang de --out results
    """
    if is_listing:
        click.echo(_listing(language))
        return
    if not models:
        raise click.UsageError("Missing argument 'MODEL...'.")
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    from saltlm.evaluation.evaluate import evaluate
    from saltlm.evaluation.side_by_side import as_json as to_json
    from saltlm.evaluation.side_by_side import failure_text

    found = evaluate(
        models,
        out,
        suite=suite,
        lang=language,
        device=device,
        trust_remote_code=trust_remote_code,
        card=card,
        heldout=heldout,
        english=english,
        parallel=parallel,
        limit=limit,
        seed=seed,
    )
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        from saltlm.cli.render import show_evaluation

        show_evaluation(found, out)
    for failure in found.failures:
        click.echo(failure_text(failure), err=True)
    if found.failures:
        raise SystemExit(1)


def _listing(language: str | None) -> str:
    from saltlm.evaluation.paper import all_paper_tasks, paper_tasks

    pinned = {language: paper_tasks(language)} if language else all_paper_tasks()
    lines = ["quick: target text, English text, generation, retrieval, ranking"]
    for code, purposes in pinned.items():
        lines += [f"paper, {code}"]
        lines += [f"  {purpose}: {', '.join(tasks)}" for purpose, tasks in purposes.items()]
    if not language:
        lines += ["others: multiblimp_CODE, for about 100 languages, or any in a --suite FILE.yaml"]
        lines += ["  lm-eval ls tasks names what the harness has"]
    return "\n".join(lines)
