"""``saltlm chat``."""

import sys
from collections.abc import Iterator

import click

from saltlm.cli.options import options


@click.command("chat")
@click.argument("model", metavar="MODEL")
@click.option(
    "--prompt",
    "prompts",
    metavar="TEXT",
    multiple=True,
    help="Say this, and stop after the answer. Repeatable.",
)
@click.option(
    "--tokens",
    default=128,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Length of the longest answer, in tokens.",
)
@click.option(
    "--temperature",
    default=0.0,
    show_default=True,
    metavar="X",
    type=click.FloatRange(min=0),
    help="Draw tokens at this temperature; 0 takes the likeliest token.",
)
@click.option("--device", help="Run the model on cpu, cuda, cuda:1 ...  [default: a GPU if any]")
@options("transfer", "trust_remote_code")
def command(
    model: str,
    prompts: tuple[str, ...],
    tokens: int,
    temperature: float,
    device: str | None,
    trust_remote_code: bool | None,
) -> None:
    """Talk to a model in the terminal.

    MODEL is a directory or a Hub id. With a chat template it answers and remembers the chat;
    without one it continues what you write. An empty line ends the chat.

    \b
      saltlm chat llama-german
      saltlm chat llama-german --prompt 'Was ist ein Fluss?'
    """
    from saltlm.evaluation.evaluate import load_subject
    from saltlm.evaluation.talk import reply

    subject = load_subject(model, device, trust_remote_code=bool(trust_remote_code))
    turns: list[dict[str, str]] = []
    for said in prompts or _lines():
        if prompts:
            click.echo(f"> {said}", err=True)
        turns.append({"role": "user", "content": said})
        text = reply(subject.model, subject.tokenizer, turns, n_new=tokens, temperature=temperature)
        turns.append({"role": "assistant", "content": text})
        click.echo(text)


def _lines() -> Iterator[str]:
    """Yield what a user writes, a line each, until an empty one."""
    is_asked = sys.stdin.isatty()
    while True:
        click.echo("> " if is_asked else "", err=True, nl=False)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line
