"""``saltlm transfer``."""

from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import options, report_flag, settings
from saltlm.cli.report import report_at_end

_SCORED = (
    *("preset", "aux", "corpus", "mode", "vocabulary", "budget", "keep", "prune_to"),
    *("target_tokenizer", "match", "untie", "seed"),
)
"""Flags that saltlm score has too."""


@click.command("transfer")
@click.argument("source", metavar="SOURCE")
@click.argument("plm", metavar="PLM")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the new model into this directory.",
)
@options(
    *("transfer", "preset", "method", "aux", "corpus", "mode", "vocabulary", "budget", "keep"),
    *("prune_to", "target_tokenizer", "match", "untie", "seed", "dtype", "max_shard_size"),
    *("link",),
    *("pad_to_multiple_of", "trust_remote_code"),
)
@click.option("--force", is_flag=True, help="Replace --out if it exists.")
@report_flag
@settings
def command(
    source: str,
    plm: str,
    out: Path,
    force: bool,
    is_reported: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Give an LLM new tokens, with rows made from a PLM.

    SOURCE is a causal language model, PLM a small model of the target language; each is a Hub id or
    a directory.

    With --corpus and no other choice, new tokens are added to those of SOURCE, chosen for the
    --budget, and their rows are fitted to the corpus (--preset best). Without a corpus, the tokens
    of PLM replace those of SOURCE.

    \b
      saltlm transfer SOURCE PLM --corpus german.txt --out DIR --budget 500k
      saltlm transfer SOURCE PLM --corpus german.txt --out DIR --preset paper
      saltlm transfer SOURCE PLM --out DIR --aux fasttext:cc.de.300.bin
      saltlm transfer SOURCE xlm-roberta-base --out DIR --prune-to 32000 --corpus german.txt
      saltlm transfer SOURCE PLM --out DIR --mode swap --corpus german.txt
    """
    from saltlm.config.recommended import load_recommended

    options = load_recommended(config, assignments, **flags)
    from saltlm.vocabulary_transfer.transfer import transfer

    result = transfer(source, plm, out, config=options, force=force)

    from saltlm.cli.render import show, special_tokens_table
    from saltlm.cli.render_pairs import transfer_table
    from saltlm.tokenizer.target import role_table

    show(special_tokens_table(role_table(result.target)))
    show(transfer_table(result))
    from saltlm.cli.ends import end, flags_again, notes
    from saltlm.record.manifest import read_manifest
    from saltlm.record.verdicts import of_transfer

    notes(result.notes)
    report_at_end([out], out / "saltlm" / "report.html", is_wanted=is_reported)
    verdict = of_transfer(read_manifest(out))
    if verdict.level == "stop":
        again = flags_again(config, assignments, {name: flags[name] for name in _SCORED})
        end(verdict, "score", source, plm, *again)
    else:
        end(verdict, "check", out)
