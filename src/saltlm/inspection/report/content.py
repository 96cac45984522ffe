"""All that a report shows, whatever its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from saltlm.inspection.report.curves import curves_of, layer_charts, new_token_charts
from saltlm.inspection.report.geometry import (
    RowMap,
    histograms_of,
    map_of,
    read_rows_of,
    sample_ids,
)
from saltlm.inspection.report.glance import (
    TextMarks,
    best_method,
    marks_of,
    tokens_per_word,
    warnings_of,
)
from saltlm.inspection.report.plots import Histogram, LineChart
from saltlm.inspection.report.saved import SavedFiles, last_part
from saltlm.inspection.report.tokens import columns_of, read_token_table, scripts_of
from saltlm.record.manifest import Manifest


@dataclass(frozen=True)
class Content:
    """All that a report shows, whatever its format.

    Attributes:
        title: what was transferred into what.
        saved: the directories that it is of.
        manifest: of the model whose vocabulary is shown.
        model: its directory.
        warnings: a sentence each, the gravest first.
        marks: bits per byte on the way.
        words: tokens a word before and after, and of which text.
        curves: of training.
        new_tokens: what became of new tokens in training.
        layers: understanding across languages by layer.
        yardsticks: method, r2 and the ends of its interval.
        scripts: script -> origin -> tokens.
        histograms: of neighbours, residuals and norms.
        row_map: new and shared rows.
        origins: of each id of the vocabulary.
        columns: of every token, packed.
    """

    title: str
    saved: Sequence[SavedFiles]
    manifest: Manifest | None
    model: str
    warnings: Sequence[str]
    marks: Sequence[TextMarks]
    words: tuple[float, float, str] | None
    curves: Sequence[LineChart]
    new_tokens: Sequence[LineChart]
    layers: Sequence[LineChart]
    yardsticks: Sequence[tuple[str, float, float, float]]
    scripts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    histograms: Sequence[Histogram] = ()
    row_map: RowMap | None = None
    origins: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


def content_of(saved: Sequence[SavedFiles]) -> Content:
    """Return what a report of some directories shows.

    Raises:
        CheckpointError: a file is damaged.
        VocabularyError: the tokenizer does not say where words begin.
    """
    model = _model_of(saved)
    manifest = model.manifest if model else None
    marks = marks_of(saved)
    content = Content(
        title=_title(saved, manifest),
        saved=saved,
        manifest=manifest,
        model=model.name if model else "",
        warnings=warnings_of(saved, manifest, marks),
        marks=marks,
        words=tokens_per_word(saved),
        curves=curves_of(saved),
        new_tokens=new_token_charts(saved),
        layers=layer_charts(saved),
        yardsticks=_yardsticks(saved),
    )
    if model is None:
        return content
    table = read_token_table(model)
    ids = sample_ids(table, seed=0)
    rows = read_rows_of(model, ids)
    return replace(
        content,
        scripts=scripts_of(table),
        histograms=histograms_of(table, rows),
        row_map=map_of(table, ids, rows),
        origins=table.origins,
        columns=columns_of(table),
    )


def _model_of(saved: Sequence[SavedFiles]) -> SavedFiles | None:
    """Return the model whose vocabulary is shown: the last, or that of the best method."""
    models = [one for one in saved if one.has_vocabulary]
    for one in saved:
        _, best = best_method((one.comparison or {}).get("results", {}))
        models += [other for other in models if other.name == best.get("directory")]
    return models[-1] if models else None


def _title(saved: Sequence[SavedFiles], manifest: Manifest | None) -> str:
    if manifest and manifest.get("kind") == "transfer":
        source, plm = (_short(manifest[side]["name"]) for side in ("source", "plm"))
        return f"{source} with the vocabulary of {plm}"
    for one in saved:
        if one.comparison:
            return f"{_short(one.comparison['source'])} with {_short(one.comparison['plm'])}"
    return ", ".join(one.name for one in saved)


def _short(name: str) -> str:
    """Return a model's name without the folders before it; a Hub id as it is."""
    return last_part(name) if name.count("/") > 1 else name


def _yardsticks(saved: Sequence[SavedFiles]) -> list[tuple[str, float, float, float]]:
    """Return the r2 on held-out shared rows of each method, the best first."""
    scores = {
        name: result["yardstick"]
        for one in saved
        for name, result in (one.comparison or {}).get("results", {}).items()
        if result.get("yardstick")
    }
    for one in saved:
        manifest = one.manifest or {}
        if manifest.get("yardstick") and not scores:
            scores[manifest["method"]["name"]] = manifest["yardstick"]
    found = [
        (name, score["r2"]["value"], score["r2"]["low"], score["r2"]["high"])
        for name, score in scores.items()
        if score.get("r2")
    ]
    return sorted(found, key=lambda row: -row[1])
