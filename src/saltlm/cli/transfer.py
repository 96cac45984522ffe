"""``saltlm transfer``."""

import logging
from pathlib import Path

import click


@click.command("transfer")
@click.argument("source", metavar="SOURCE")
@click.argument("plm", metavar="PLM")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory to make.")
@click.option("--method", help="salt (default), or another: saltlm score --list names them.")
@click.option("--aux", help="plm (default) | train | fasttext:FILE.bin | vectors:FILE")
@click.option(
    "--corpus",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text of the target language (docs/formats.md), for --aux train and --prune-to. "
    "Repeatable.",
)
@click.option("--mode", help="replace (default) | extend: keep the source's tokens, add the PLM's.")
@click.option(
    "--prune-to",
    type=int,
    metavar="N",
    help="Take N tokens: those that --corpus needs most, then others like them.",
)
@click.option(
    "--target-tokenizer", metavar="DIR", help="Take this tokenizer's tokens, not the PLM's."
)
@click.option("--match", help="exact (default) | symbols | casefold")
@click.option("--seed", type=int, help="Of sampled rows and of fastText. Default: 0.")
@click.option("--dtype", help="bfloat16 | float16 | float32. Default: the source's.")
@click.option("--max-shard-size", metavar="SIZE", help="Of a file, as 5GB. Default: the source's.")
@click.option("--pad-to-multiple-of", type=int, metavar="N", help="Add rows up to a multiple.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Any other option.")
@click.option("--config", type=click.Path(path_type=Path), help="A YAML file of options.")
@click.option("--force", is_flag=True, help="Replace --out if it exists.")
@click.option("--trust-remote-code", is_flag=True, default=None, help="Run the models' own code.")
def command(
    source: str,
    plm: str,
    out: Path,
    method: str | None,
    aux: str | None,
    corpus: tuple[Path, ...],
    mode: str | None,
    prune_to: int | None,
    target_tokenizer: str | None,
    match: str | None,
    seed: int | None,
    dtype: str | None,
    max_shard_size: str | None,
    pad_to_multiple_of: int | None,
    assignments: tuple[str, ...],
    config: Path | None,
    force: bool,
    trust_remote_code: bool | None,
) -> None:
    """Give an LLM the vocabulary of a target-language model.

    SOURCE is a causal language model, PLM a small model of the target language; each a Hub id or
    a directory.

    \b
      saltlm transfer meta-llama/Llama-3.2-1B deepset/gbert-base --out llama-german
      saltlm transfer SOURCE PLM --out DIR --aux fasttext:cc.de.300.bin   # as in the paper
      saltlm transfer SOURCE xlm-roberta-base --out DIR --prune-to 32000 --corpus german.txt
      saltlm transfer SOURCE PLM --out DIR --mode extend
    """
    from saltlm.config.transfer import load_config

    options = load_config(
        config,
        assignments,
        method=method,
        aux=aux,
        corpus=corpus or None,
        mode=mode,
        prune_to=prune_to,
        target_tokenizer=target_tokenizer,
        match=match,
        seed=seed,
        dtype=dtype,
        max_shard_size=max_shard_size,
        pad_to_multiple_of=pad_to_multiple_of,
        trust_remote_code=trust_remote_code,
    )
    from saltlm.vocabulary_transfer.transfer import transfer

    result = transfer(source, plm, out, config=options, force=force)

    from saltlm.cli.render import show, special_tokens_table, transfer_table
    from saltlm.tokenizer.target import role_table

    show(special_tokens_table(role_table(result.target)))
    show(transfer_table(result))
    logger = logging.getLogger(__name__)
    for note in result.target.notes:
        logger.info("note: %s", note)
    logger.info("next: saltlm check %s", out)
