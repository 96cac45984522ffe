"""``saltlm pretrain``."""

from pathlib import Path
from typing import Any

import click

from saltlm.cli.options import options, settings

EXAMPLE_SOURCE = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the README's


@click.command("pretrain")
@options("pretrain", "corpus", "arch")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the PLM into this directory.",
)
@options(
    "pretrain", "size", "vocab_size", "tokenizer", "continue_tokenizer", "tokenizer_of", "budget"
)
@options("pretrain", "heldout", "tokens", "steps", "epochs", "keep")
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="auto|never|DIR",
    help="auto: continue from the last checkpoint in --out; never: start again; DIR: continue from"
    " this checkpoint.",
)
@settings
def command(
    out: Path, resume: str, config: Path | None, assignments: tuple[str, ...], **flags: Any
) -> None:
    """Train a small PLM from text, for a language that has none.

    The model has a standard class (gpt: Llama's, bert: BERT's, t5: T5's), and its tokenizer loses
    no text. Size and vocabulary are chosen for the corpus, and the reasons are printed. After a
    kill, give the same command again, and it continues. saltlm transfer takes the result as PLM.

    \b
      saltlm pretrain --corpus german.txt --out german-gpt
      saltlm pretrain --corpus german.txt --continue-tokenizer SOURCE --out german-gpt
      saltlm pretrain --corpus german.txt --arch bert --out german-bert
      saltlm transfer SOURCE german-gpt --out llm-german
      saltlm pretrain --corpus german.txt --tokenizer-of llm-german --out teacher
    """
    from saltlm.pretraining.config import load_pretrain_config

    options = load_pretrain_config(config, assignments, **flags)
    from saltlm.pretraining.pretrain import pretrain

    result = pretrain(out, resume=resume, config=options)
    from saltlm.adaptation.engine import is_main_process

    if not is_main_process():
        return
    click.echo(str(result))
    from saltlm.cli.ends import end
    from saltlm.cli.ends_runs import of_pretraining

    if options.tokenizer_of is not None:
        data = [word for file in options.corpus for word in ("--data", file)]
        adapted = ("--out", f"{Path(options.tokenizer_of).name}-adapted")
        words = ("adapt", options.tokenizer_of, "--teacher", out, *data, *adapted)
        end(of_pretraining(result), *words)
        return
    source = options.continue_tokenizer or EXAMPLE_SOURCE
    corpus = [word for file in options.corpus for word in ("--corpus", file)]
    end(of_pretraining(result), "score", source, out, *corpus)
