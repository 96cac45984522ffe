"""A chat as a model's template writes it, rendered apart: a template is a program of its author's.

It runs in a process of its own, in jinja2's sandbox as transformers uses it, with a bound on time,
memory and what it writes.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

from saltlm.errors import VocabularyError, shown

SECONDS = 5
_BYTES = 2**29
_MOST_LETTERS = 10**6
_CHILD = "import sys; sys.path[:] = {path!r}; from saltlm.tokenizer import chat; chat.answer()"


def render_chat(tokenizer: Any, turns: Sequence[Mapping[str, str]], *, is_open: bool) -> str:
    """Return a chat as text.

    Args:
        tokenizer: of transformers, with a template.
        turns: role and content of each.
        is_open: end with what begins an answer.

    Raises:
        VocabularyError: the template is broken, or does not end within its bounds.
    """
    given = {
        "template": tokenizer.get_chat_template(),
        "values": {
            **{role: str(token) for role, token in tokenizer.special_tokens_map.items()},
            "messages": [dict(turn) for turn in turns],
            "add_generation_prompt": is_open,
            "tools": None,
            "documents": None,
        },
    }
    return _rendered(json.dumps(given))


@cache
def _rendered(given: str) -> str:
    hint = "correct chat_template.jinja, or remove it: the model then has no chat template"
    command = [sys.executable, "-I", "-c", _CHILD.format(path=sys.path)]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=2 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise VocabularyError(f"it does not end within {2 * SECONDS} seconds", hint) from None
    if done.returncode < 0:
        raise VocabularyError(f"it does not end within {SECONDS} seconds of work", hint)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says no more"])[-1]
        raise VocabularyError(shown(reason), hint)
    return done.stdout


def answer() -> None:
    """Render what stdin holds to stdout; what the process of its own does."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if sys.platform == "linux":  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    given = json.load(sys.stdin)
    try:
        text = _render(given["template"], given["values"])
    except Exception as error:  # jinja2's, and whatever the template raises itself
        raise SystemExit(f"{type(error).__name__}: {error}") from None
    if len(text) > _MOST_LETTERS:
        raise SystemExit(f"it writes {len(text):,} letters for a chat of two lines")
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(text)


def _render(template: str, values: Mapping[str, Any]) -> str:
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """``{% generation %}`` marks what an assistant says, and writes nothing itself."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def as_json(value: Any, **how: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **how})

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda how: datetime.now().strftime(how)
    return environment.from_string(template).render(**values)
