"""``saltlm compare``."""

import json
from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import json_flag, options, report_flag, settings
from saltlm.cli.report import report_at_end


@click.command("compare")
@click.argument("source", metavar="SOURCE")
@click.argument("plm", metavar="PLM")
@click.option(
    "--methods", required=True, help="Methods, separated by commas: salt,focus,global-residual"
)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write models and results into this directory.",
)
@options("evaluate", "heldout", required=True)
@options("evaluate", "english")
@options("transfer", "preset", "corpus", "aux", "mode", "vocabulary", "budget", "keep", "prune_to")
@options("transfer", "target_tokenizer", "match", "untie", "seed")
@click.option(
    "--documents",
    default=100,
    show_default=True,
    metavar="N",
    help="Number of documents of --heldout and of --english to measure.",
)
@click.option(
    "--adapt",
    metavar="KEY=VALUE ...",
    help='Then adapt each model on --corpus with these options of saltlm adapt, such as "tokens=1M'
    ' batch_tokens=8192 sequence_length=512".',
)
@click.option(
    "--adapt-seeds",
    metavar="N,N",
    help="Adapt each model once for each of these seeds.  [default: the seed in --adapt, or 0]",
)
@click.option(
    "--quick",
    is_flag=True,
    help="At the end run the suite quick of saltlm evaluate on SOURCE and on each model; results go"
    " into the models' cards and DIR/evaluation.",
)
@options("evaluate", "parallel")
@report_flag
@settings
@json_flag
def command(
    source: str,
    plm: str,
    out: Path,
    methods: str,
    heldout: tuple[Path, ...],
    english: tuple[Path, ...],
    documents: int,
    adapt: str | None,
    adapt_seeds: str | None,
    quick: bool,
    parallel: Path | None,
    is_reported: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Transfer with several methods and put the results side by side.

    Each method's model and result go into --out; the same command again makes only what is
    missing. The table has three measurements before training: how well the method predicts rows
    that it is not shown, bits per byte of held-out text, and how much probability new rows get.

    With --adapt each model is then trained on the same text in the same order, and the table shows
    how many tokens each needs to reach the same bits per byte. With "untouched" among the methods,
    SOURCE is also trained as it is.

    \b
      saltlm compare SOURCE PLM --methods salt,focus,global-residual --heldout test.txt --out DIR
      saltlm compare SOURCE PLM --methods salt,focus --corpus german.txt --heldout test.txt \\
        --out DIR --adapt "tokens=1M batch_tokens=8192 sequence_length=512"
    """
    from saltlm.config.transfer import load_config

    options = load_config(config, assignments, **flags)
    from saltlm.comparison.compare import compare

    found = compare(
        source,
        plm,
        out,
        methods=methods,
        heldout=heldout,
        english=english,
        documents=documents,
        adapt=adapt,
        adapt_seeds=adapt_seeds or (),
        quick=quick,
        parallel=parallel,
        config=options,
    )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        from saltlm.cli.render_runs import show_comparison

        show_comparison(found, out)
        for failure in found.failures:
            click.echo(f"failed: {failure}", err=True)
    evaluated = [out / "evaluation"] if found.evaluation else []
    report_at_end([out, *evaluated], out / "report.html", is_wanted=is_reported)
    if not as_json:
        from saltlm.cli.ends import end
        from saltlm.cli.ends_runs import after_comparison, of_comparison

        end(of_comparison(found), *after_comparison(found, out, heldout, english, options.corpus))
    if found.failures:
        raise SystemExit(1)
