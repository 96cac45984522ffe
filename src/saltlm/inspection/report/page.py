"""The report as one HTML file: everything inside, nothing fetched, all text escaped."""

import base64
import functools
import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from saltlm.inspection.report.content import Content
from saltlm.inspection.report.plots import (
    draw_histogram,
    draw_intervals,
    draw_lines,
    draw_map,
    short,
)
from saltlm.inspection.report.saved import last_part
from saltlm.inspection.report.tables import (
    chart_numbers,
    earner_table,
    evaluation_tables,
    histogram_numbers,
    level_tables,
)
from saltlm.version import __version__

_EARNERS = (slice(12), slice(12, None))  # what is seen at once, and what on demand
_JOINER = "\u200d"


def page_of(content: Content, *, reloads: bool = False) -> str:
    """Return the page.

    Args:
        content: what it shows.
        reloads: whether it asks the server that it came from for a newer one, and nobody else.
    """
    style, script = (
        template_text("plots.css") + template_text("page.css"),
        template_text("script.js"),
    )
    script += template_text("reload.js") if reloads else ""
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "img-src data:",
            *(["connect-src 'self'"] if reloads else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    manifest: Mapping[str, Any] = content.manifest or {}
    text = manifest.get("text")
    return _template().render(
        content=content,
        manifest=manifest,
        facts=list(_facts(manifest)),
        counts={
            name: n for name, n in manifest.get("counts", {}).items() if name in _ORIGINS and n
        },
        origins=_ORIGINS,
        text=text,
        samples=list(_samples(text or {}, content.origins)),
        earners=[earner_table(text, part) for part in _EARNERS] if text else None,
        evaluations=list(evaluation_tables(content.saved)),
        levels=list(level_tables(content.saved)),
        recorded=list(_recorded(manifest)),
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        version=__version__,
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(template_text),
    )
    environment.globals.update(
        chart_numbers=chart_numbers,
        draw_histogram=draw_histogram,
        draw_intervals=draw_intervals,
        draw_lines=draw_lines,
        draw_map=draw_map,
        histogram_numbers=histogram_numbers,
        is_number=lambda cell: cell[:1] in "≈+-0123456789",
    )
    return environment.get_template("page.html")


_ORIGINS = {
    "shared": "in both vocabularies: copied",
    "kept": "only the source's: copied",
    "special": "special tokens: copied",
    "made": "new: made by the method",
    "sampled": "new: drawn at random",
    "padding": "of no token",
}


def _facts(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was done, a few words each."""
    if not manifest:
        return
    if method := manifest.get("method"):
        yield f"method {method['name']}"
    if vocabulary := manifest.get("vocabulary"):
        yield f"mode {vocabulary['mode']}"
    for run in manifest.get("adaptations", ()):
        yield f"trained on {short(run['tokens'])} tokens"
    for side in ("source", "plm"):
        if parent := manifest.get(side):
            yield f"licence of {last_part(parent['name'])}: {parent['licence'] or 'not stated'}"


def _recorded(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield parts of the record as YAML, under their titles."""
    parts = {
        "Options of the transfer": manifest.get("options"),
        "Seconds": manifest.get("seconds"),
        "Libraries": manifest.get("environment", {}).get("libraries"),
    }
    for number, run in enumerate(manifest.get("adaptations", ()), 1):
        parts[f"Options of adaptation {number}"] = run["options"]
    for title, part in parts.items():
        if part:
            yield title, yaml.safe_dump(part, sort_keys=False)


def _samples(text: Mapping[str, Any], origins: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield sentences with their tokens ready to be set side by side."""
    for sample in text.get("samples", ()):
        new = zip(joined(sample["new"]), sample["ids"], strict=True)
        yield {
            "text": sample["text"],
            "direction": direction_of(sample["text"]),
            "source": joined(sample["source"]),
            "new": [(name, id, origins[id] if id < len(origins) else "") for name, id in new],
        }


def direction_of(text: str) -> str:
    """Return "rtl" where the first letter says that text runs from right to left, else "ltr"."""
    classes = (unicodedata.bidirectional(character) for character in text)
    first = next((one for one in classes if one in ("L", "R", "AL")), "L")
    return "ltr" if first == "L" else "rtl"


def joined(pieces: Sequence[str]) -> list[str]:
    """Return pieces of text so that letters keep their joined shape where a word was cut.

    Letters of Arabic, Syriac and other such scripts look as they do in the whole word when a
    zero-width joiner stands where the neighbour was.
    """
    found = list(pieces)
    for place, (left, right) in enumerate(zip(pieces, pieces[1:], strict=False)):
        if _joins(left[::-1]) and _joins(right):
            found[place] += _JOINER
            found[place + 1] = _JOINER + found[place + 1]
    return found


def _joins(text: str) -> bool:
    """Whether the first character that is no mark is a letter of a script that joins."""
    first = next((c for c in text if not unicodedata.category(c).startswith("M")), "")
    return first.isalpha() and unicodedata.bidirectional(first) == "AL"


def template_text(name: str) -> str:
    """Return a file of the folder ``templates``."""
    return (files("saltlm.inspection.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return how a policy names a script or a style by its content."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
