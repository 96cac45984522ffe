"""``saltlm evaluate``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import json_flag, options, report_flag
from saltlm.cli.report import report_at_end


@click.command("evaluate")
@click.argument("models", metavar="MODEL...", nargs=-1)
@click.option(
    "--suite",
    default="quick",
    show_default=True,
    help="What to measure: quick | paper | modern | FILE.yaml",
)
@click.option("--lang", help="Language of --suite paper or modern, and of --chat: a code.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write results into this directory.  [required]",
)
@options("evaluate", "heldout", "english", "parallel", "chat", "instructions", "answers")
@options("evaluate", "code", "functions", "tasks", "limit", "seed")
@click.option("--device", help="Run models on cpu, cuda, cuda:1 ...  [default: a GPU if any]")
@options("transfer", "trust_remote_code")
@click.option(
    "--card", is_flag=True, help="Also put the table into the cards of models that saltlm made."
)
@click.option("--list", "is_listing", is_flag=True, help="List what the suites measure.")
@report_flag
@json_flag
def command(
    models: tuple[str, ...],
    suite: str,
    lang: str | None,
    out: Path | None,
    device: str | None,
    trust_remote_code: bool | None,
    card: bool,
    is_listing: bool,
    is_reported: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Measure models side by side, in the new language and in English.

    Results go into --out, and the same command again measures only what is missing. The best model
    is marked, and so are those whose difference from it may be chance. What cannot be measured is
    named, the rest is done, and the exit code is 1.

    \b
      saltlm evaluate SOURCE llama-german --heldout de.txt --english en.txt \\
        --parallel en-de.tsv --out results
      saltlm evaluate SOURCE llama-german --suite modern --lang de --out results
    """
    if is_listing:
        click.echo(_listing(lang))
        return
    if not models:
        raise click.UsageError("Missing argument 'MODEL...'.")
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    from saltlm.evaluation.evaluate import evaluate
    from saltlm.evaluation.side_by_side import as_json as to_json

    found = evaluate(
        models,
        out,
        suite=suite,
        lang=lang,
        device=device,
        trust_remote_code=bool(trust_remote_code),
        card=card,
        **flags,
    )
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        from saltlm.cli.render_runs import show_evaluation

        show_evaluation(found, out)
    for failure in found.failures:
        click.echo(str(failure), err=True)
    report_at_end([out, *_made_here(models)], out / "report.html", is_wanted=is_reported)
    if not as_json:
        from saltlm.cli.ends import end
        from saltlm.cli.ends_runs import after_evaluation
        from saltlm.evaluation.side_by_side import of_evaluation

        again = {"suite": suite, "lang": lang, **flags, "out": out}
        end(of_evaluation(found), *after_evaluation(found, models[-1], again))
    if found.failures:
        click.echo("hint: see to that, then give the same command: only this is left", err=True)
        raise SystemExit(1)


def _made_here(models: Sequence[str]) -> list[Path]:
    """Return those of some models that saltlm has made, so that the report can speak of them."""
    return [path for model in models if ((path := Path(model)) / "saltlm").is_dir()]


def _listing(language: str | None) -> str:
    from saltlm.evaluation.paper import all_paper_tasks

    pinned = all_paper_tasks()
    suites = {f"paper, {code}": pinned[code] for code in pinned if language in (None, code)}
    if language:
        from saltlm.evaluation.harness import installed_tasks
        from saltlm.evaluation.modern import modern_tasks

        suites[f"modern, {language}"] = modern_tasks(language, installed_tasks())
    lines = [
        "quick: target text, English text, generation, retrieval, ranking, chat, answers, code"
    ]
    for name, purposes in suites.items():
        lines += [name]
        lines += [f"  {purpose}: {', '.join(tasks)}" for purpose, tasks in purposes.items()]
    if not language:
        lines += ["modern: --list --lang CODE names its tasks in a language, such as sw"]
        lines += ["others: any of lm-eval ls tasks, in a --suite FILE.yaml"]
    return "\n".join(lines)
