"""``saltlm``: the group of verbs, and the edge where errors become messages."""

import atexit
import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from saltlm.errors import SaltlmError, printable, shown
from saltlm.version import __version__

# In the order in which they are used. The text is repeated here so that --help loads no verb.
VERBS = {
    "pretrain": "Train a small PLM from text, for a language that has none.",
    "vectors": "Train fastText vectors, or make a file of vectors smaller.",
    "inspect": "Check two models before you use compute time.",
    "score": "Compare methods and PLMs without training.",
    "transfer": "Give an LLM new tokens, with rows made from a PLM.",
    "explain": "Show how the row of a token was made.",
    "check": "Check that a model directory is sound.",
    "adapt": "Train MODEL on text of its new language, on one device or many.",
    "merge": "Move an adapted model part of the way back to its source.",
    "compare": "Transfer with several methods and put the results side by side.",
    "evaluate": "Measure models side by side, in the new language and in English.",
    "report": "Make one page of all results, to read, search and share.",
    "watch": "Show the report of a run in a browser, while it runs.",
    "chat": "Talk to a model in the terminal.",
    "push": "Put a model directory on the Hugging Face Hub.",
    "export": "Write a model directory in the format of another program.",
    "cache": "List or clear what saltlm keeps to save time.",
    "env": "Show versions and hardware, for a bug report.",
    "recipe": "Do all steps in one directory: from a text to a measured model.",
    "demo": "Show all steps on small real models.",
}

_GO_ON = {"adapt", "compare", "evaluate", "pretrain", "recipe"}  # from what they have kept
_ENDED_BY_HAND = {"chat", "watch"}  # as they say themselves
_INTERRUPTED = 130  # as shells say it

_COLLECTED_AFTER = (50_000, 20, 20)
"""Objects between two searches for cycles: modules and vocabularies are many objects that stay."""


class _Verbs(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            verb, said = ctx.invoked_subcommand, "nothing is half-written"
            if verb in _GO_ON:
                said = "the same command again continues from what is saved"
            if verb not in _ENDED_BY_HAND:
                click.echo(f"\nstopped: {said}", err=True)
            ctx.exit(_INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"saltlm.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error


def _print_completion(context: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is not None:
        from click.shell_completion import get_completion_class

        made = get_completion_class(shell)
        assert made is not None
        click.echo(made(cli, {}, "saltlm", "_SALTLM_COMPLETE").source())
        context.exit()


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="saltlm")
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    callback=_print_completion,
    help='Print the shell completion, and stop: eval "$(saltlm --completion bash)".',
)
@click.option("-v", "--verbose", is_flag=True, help="Show more details.")
@click.option("-q", "--quiet", is_flag=True, help="Show only errors and results; no progress bars.")
def cli(verbose: bool, quiet: bool) -> None:
    """Give an LLM that was made for English a new language.

    \b
      saltlm inspect  meta-llama/Llama-3.2-1B deepset/gbert-base --corpus german.txt
      saltlm transfer meta-llama/Llama-3.2-1B deepset/gbert-base --out llama-german
      saltlm check    llama-german
    """
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    for handler in logging.root.handlers:
        handler.setFormatter(_Plain())
    logging.getLogger("saltlm").setLevel(level)


def main(args: Sequence[str] | None = None) -> Any:
    """Run the command line; an error becomes one message and exit code 1, never a traceback."""
    gc.set_threshold(*_COLLECTED_AFTER)
    # Threads that wait busily hold up those they wait for where others need the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch reads it when it is loaded
    atexit.register(gc.freeze)  # what is left then goes with the process, unsearched
    try:
        return cli.main(args=args, prog_name="saltlm", standalone_mode=True)
    except BaseException as error:
        if isinstance(error, SystemExit | KeyboardInterrupt) or os.environ.get("SALTLM_DEBUG"):
            raise
        message = str(error)
        if not isinstance(error, SaltlmError):
            message = f"{type(error).__name__}: {shown(str(error), 400)}\nhint: {_advice(error)}"
        click.echo(f"error: {message}", err=True)
        sys.exit(1)


def _advice(error: BaseException) -> str:
    """Return what to do about an error that is not saltlm's own."""
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return (
            "free memory, or take a larger machine: saltlm inspect SOURCE PLM says what is needed"
        )
    if isinstance(error, OSError):
        return "check that path, its permissions and its disk, then give the same command again"
    return "this should not happen: SALTLM_DEBUG=1 shows where it did, please report it"


class _Plain(logging.Formatter):
    """What a log says of others' files steers no terminal; a warning is called one."""

    def format(self, record: logging.LogRecord) -> str:
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        return kind + printable(super().format(record))


if __name__ == "__main__":
    main()
