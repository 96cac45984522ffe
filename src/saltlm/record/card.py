"""The model card of a new model: ``README.md`` with both parents and their licences."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from saltlm.config.yaml_text import parse_yaml
from saltlm.errors import CheckpointError, shown
from saltlm.files.damage import reading
from saltlm.files.markdown import as_markdown
from saltlm.methods.registry import METHODS
from saltlm.record.manifest import FOLDER, Manifest, read_manifest
from saltlm.record.verdicts import Verdict, of_held_out, of_transfer

_TEMPLATE = """\
---
{{ metadata | safe }}---

# {{ name }}

{{ source.name }} with {{ choice }}, made by saltlm {{ version }}.
Method: {{ method }}, {{ methods[method].description }}
{%- if output %}; {{ "halfway to" if is_one_row else "for the head" }} {{ output }}, \
{{ methods[output].description.removeprefix("for the head alone: ") }}{% endif %}; see
[SALT](https://arxiv.org/abs/2505.10945) and the documents of saltlm.
{%- if loses is not none %}
{%- if loses %}
It cannot write some text that {{ source.name }} can: {{ loses | join(", ") }}.
{%- else %}
It writes every kind of text that {{ source.name }} does, white space included.
{%- endif %}
{%- endif %}

{% for run in adaptations -%}
Adapted on {{ "{:,}".format(run.tokens) }} tokens of {{ run.texts | join(", ") }}
{%- for name, bits in run.bits_per_byte.items() %}
{{- "; bits per byte at the end: " if loop.first else ", " }}{{ name }} {{ "%.3f" | format(bits) }}
{%- endfor %}.
{% else -%}
**This model has not been adapted yet.** Its new rows are initial values: continue pre-training on
text of the target language before use.
{% endfor %}
{%- for sample in samples %}
{%- if loop.first %}
| beginning of a text that it was not trained on | written before training | after |
|---|---|---|
{%- endif %}
| {{ sample.beginning }} ... | {{ sample.before }} | {{ sample.after }} |
{%- if loop.last %}
{% endif %}
{%- endfor %}
{%- for when, verdict in verdicts %}
Verdict {{ when }} training ({{ verdict.level }}): {{ verdict.reason }}.
{% endfor %}
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({{ place }})
model = AutoModelForCausalLM.from_pretrained({{ place }}, dtype="auto")
```
{% for merge in merges %}
{{ merge }}
{% endfor %}
| | from | licence |
|---|---|---|
| layers, shared and special token rows | {{ source.name }} | {{ source.licence or "not stated" }} |
| {{ "what" if tokenizer else "vocabulary, and what" }} the new rows are mapped from | \
{{ plm.name }} | {{ plm.licence or "not stated" }} |
{%- if tokenizer %}
| vocabulary | {{ tokenizer.name }} | {{ tokenizer.licence or "not stated" }} |
{%- endif %}

A licence that is not stated has to be looked up before the model is passed on.

{% for parent in (source, plm) if parent.get("dequantised_from") -%}
{{ parent.name }} was read **dequantised**, from `{{ parent.dequantised_from.file }}` (\
{% for type, count in parent.dequantised_from.ggml_types | dictsort(false, "value", true) -%}
{{ count }} {{ type }}{{ " tensors" if loop.last else ", " }}{% endfor %}): what
quantisation rounded away is lost.

{% endfor -%}
| tokens | origin of the row |
|---|---|
{% for origin, count in counts.items() -%}
| {{ "{:,}".format(count) }} | {{ origins[origin] }} |
{% endfor %}
Auxiliary space: {{ auxiliary }}.
{%- if yardstick and yardstick.r2 %}

Of {{ "{:,}".format(yardstick.n_tokens) }} shared tokens that it was not shown, the method predicts
the source's rows with an r2 of {{ "%.3f" | format(yardstick.r2.value) }} (95 % interval \
{{ "%.3f to %.3f" | format(yardstick.r2.low, yardstick.r2.high) }}),
a centred cosine of {{ "%.3f" | format(yardstick.cosine.value) }} and a norm ratio of \
{{ "%.3f" | format(yardstick.norm_ratio.value) }}; {{ "%.1f" | format(
100 * yardstick.retrieval.value) }} % of the predictions
are nearest to their own row.
{%- endif %}
{%- for note in notes %}
{%- if loop.first %}
{% endif %}
- {{ note }}
{%- endfor %}

```yaml
{{ options | safe }}```

Every row's origin, neighbours and coefficients are in `saltlm/provenance.safetensors`
(`saltlm explain DIR TOKEN`), the inputs' hashes in `saltlm/manifest.json`.
"""

_ORIGINS = {
    "shared": "copied from the source: the token stands in both vocabularies",
    "made": "new: made by the method",
    "sampled": "drawn: the token has no auxiliary vector",
    "special": "copied from the source: a special token",
    "kept": "copied from the source: the token is not the PLM's",
    "padding": "of no token: the mean of all others, up to a round number of rows",
}
_NEVER_FOLDED = 10**9  # so that no part of a value begins a line, and ends the block
_LONGEST_HEAD = 2**22  # bytes of a card in which its front matter ends; with tables of results too
_CODE = re.compile(r"[a-z]{2,3}(-[\w-]+)?")  # of a language
_FOLDERS = re.compile(r"(^|[:=,])(?:~[^/:=,]*|\.{1,2})?/(?!/)(?:[^:=,/]+/)*")
"""What of a path comes before its name, alone or behind a prefix as in vectors:FILE."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?\n)---\s*$", re.DOTALL | re.MULTILINE)


def licence_of(directory: Path) -> str | None:
    """Return the licence that a model directory's card states, None if it states none."""
    licence = _metadata_of(directory).get("license")
    return shown(str(licence)) if licence else None


def languages_of(directory: Path) -> list[str]:
    """Return the codes of the languages that a model directory's card states."""
    stated = _metadata_of(directory).get("language") or []
    codes = [stated] if isinstance(stated, str) else stated
    return [code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)]


def _metadata_of(directory: Path) -> dict[str, Any]:
    card = directory / "README.md"
    if not card.is_file():
        return {}
    with card.open("rb") as opened:
        front = _FRONT_MATTER.match(opened.read(_LONGEST_HEAD).decode("utf-8", errors="replace"))
    try:
        metadata = parse_yaml(front[1]) if front else None
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _named(parent: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parent as others may see it: by its Hub id, or by its name without the folders."""
    name, is_local = parent["name"], parent.get("revision", "") is None
    is_id = _HUB_ID.fullmatch(name) is not None and not is_local
    return {**parent, "name": name if is_id else Path(name).name}


def _without_folders(value: Any) -> Any:
    """Return options as others may see them: files of somebody's disk by their names alone."""
    if isinstance(value, dict):
        return {key: _without_folders(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_folders(one) for one in value]
    return _FOLDERS.sub(r"\1", value) if isinstance(value, str) else value


def _texts_of(options: Mapping[str, Any]) -> list[str]:
    """Return the texts that a model was trained on, English included."""
    return [*options["data"], *options.get("english", ())]


def _named_note(note: str, manifest: Manifest) -> str:
    """Return a note in which the parents have the names that others may see."""
    for parent in (manifest["source"], manifest["plm"]):
        if "/" in parent["name"]:
            note = note.replace(parent["name"], _named(parent)["name"])
    return note


def _languages(manifest: Manifest) -> list[str]:
    """Return the codes of the model's languages: the source's, and the new one if it is known."""
    given = manifest["options"].get("language")
    of_plm = manifest["plm"].get("languages", [])
    new = [given] if given else of_plm if len(of_plm) == 1 else []
    return list(dict.fromkeys([*manifest["source"].get("languages", []), *new])) if new else []


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        keep_trailing_newline=True, undefined=jinja2.StrictUndefined, finalize=_as_text
    )
    return environment.from_string(_TEMPLATE)


def model_card(name: str, manifest: Manifest) -> str:
    """Return the card of a model.

    Args:
        name: of the new model.
        manifest: its record; see `saltlm.record.manifest`.
    """
    vocabulary, output = manifest["vocabulary"], manifest["output"] or {}
    tokenizer = vocabulary["tokenizer"]
    taken = "the vocabulary" if vocabulary["mode"] == "replace" else "new tokens"
    source, plm = _named(manifest["source"]), _named(manifest["plm"])
    tokenizer = _named(tokenizer) if tokenizer else None
    owner = (tokenizer or plm)["name"]
    parents = [source, plm, *([tokenizer] if tokenizer else [])]
    metadata = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": [parent["name"] for parent in parents[:2]],
        "tags": ["saltlm", "embedding-transfer"],
    }
    if languages := _languages(manifest):
        metadata["language"] = languages
    licences = {parent["licence"] for parent in parents}
    if len(licences) == 1 and None not in licences:
        metadata["license"] = licences.pop()
    return _template().render(
        name=name,
        metadata=yaml.safe_dump(metadata, sort_keys=False),
        source=source,
        plm=plm,
        place=json.dumps(name, ensure_ascii=False),
        verdicts=list(_verdicts(manifest)),
        choice=f"{taken} of {owner}",
        tokenizer=tokenizer,
        loses=vocabulary.get("loses"),
        notes=[_named_note(note, manifest) for note in manifest.get("notes", ())],
        version=manifest["environment"]["libraries"]["saltlm"],
        counts={
            origin: count
            for origin, count in manifest["counts"].items()
            if origin in _ORIGINS and count
        },
        origins=_ORIGINS,
        auxiliary=manifest["auxiliary"],
        yardstick=manifest.get("yardstick"),
        method=manifest["method"]["name"],
        output=output.get("name"),
        is_one_row=bool(output) and manifest["source"]["is_tied"] and not manifest["untied"],
        methods=METHODS,
        adaptations=[
            {**run, "texts": _without_folders(_texts_of(run["options"]))}
            for run in manifest.get("adaptations", ())
        ],
        samples=_samples(manifest),
        merges=list(map(merge_text, manifest.get("merges", ()))),
        options=yaml.safe_dump(
            _without_folders(manifest["options"]), sort_keys=False, width=_NEVER_FOLDED
        ),
    )


def _verdicts(manifest: Manifest) -> Iterator[tuple[str, Verdict]]:
    """Yield what was judged before training, and after the last one."""
    if manifest.get("yardstick"):
        yield "before", of_transfer(manifest)
    for run in manifest.get("adaptations", [])[-1:]:
        bits = (run.get(key, {}) for key in ("bits_per_byte", "before", "untouched"))
        if verdict := of_held_out(*bits):
            yield "after", verdict


def check_record(directory: Path) -> None:
    """Make sure that a card can be made of a model's record, if it has one, before it is added to.

    Raises:
        CheckpointError: the record is damaged.
    """
    file = directory / FOLDER / "manifest.json"
    if not file.is_file():
        return
    manifest = read_manifest(directory)
    with reading(file, CheckpointError, f"give the command again that made {directory}"):
        if manifest["kind"] == "transfer":
            model_card(directory.name, manifest)
        _ = [*manifest.get("adaptations", []), *map(merge_text, manifest.get("merges", []))]


def _samples(manifest: Manifest) -> list[dict[str, str]]:
    """Return what the model wrote before and after its last training, each in one line."""
    runs = manifest.get("adaptations") or [{}]
    return [
        {key: " ".join(text.split()) for key, text in sample.items()}
        for sample in runs[-1].get("samples", ())
    ]


def _as_text(value: object) -> object:
    """What others wrote (names, licences, notes with tokens) is text in the card, and no mark."""
    return as_markdown(value) if type(value) is str else value


def merge_text(record: Mapping[str, Any]) -> str:
    """Return a paragraph on a merge.

    Args:
        record: what `saltlm.adaptation.merge` has written into the manifest.
    """
    weight, ends = record["weight"], record["ends"]
    base = _without_folders(record["base"]["name"])
    text = f"Merged with {base} ({record['method']}, weight {weight:g}"
    text += f", of the first and last layers {', '.join(f'{w:g}' for w in ends)}" if ends else ""
    text += f"; special tokens' rows: {record['special']}, shared rows: {record['shared']})"
    curve = record["bits_per_byte"].get(f"{weight:g}")
    if curve:
        bits = ", ".join(f"{name} {value:.3f}" for name, value in curve.items())
        text += f"; the weight was chosen on held-out text, bits per byte there: {bits}"
    return f"{text}."


def with_section(card: str, name: str, section: str) -> str:
    """Return a card with a section at its end; an earlier one of that name gives way.

    Args:
        card: any text in Markdown.
        name: of the section, for machines.
        section: heading and content.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    rest, begin, after = card.partition(opening)
    tail = after.partition(closing)[2].strip("\n") if begin else ""
    parts = [rest.rstrip("\n"), f"{opening}\n{section.rstrip()}\n{closing}", tail]
    return "\n\n".join(part for part in parts if part) + "\n"
