"""Charts of what was measured while models were trained, and of what they understand by layer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from saltlm.inspection.report.plots import LineChart, Series
from saltlm.inspection.report.saved import SavedFiles, last_part

_Rows = Sequence[Mapping[str, Any]]

_AXES = (
    ("tokens", "tokens read"),
    ("n_bytes", "bytes of text read"),
    ("seconds", "seconds of training"),
)
_MEASURES = (
    ("probability", "Probability on new tokens", False),
    ("greedy", "Share of new among the likeliest tokens", False),
    ("rank", "Median rank of the right token where it is new", True),
    ("loss_new", "Nats a token where it is new", False),
)


def curves_of(saved: Sequence[SavedFiles]) -> list[LineChart]:
    """Return bits per byte of each text over tokens, over bytes of text and over seconds."""
    runs = dict(_curves(saved))
    untouched = _untouched(saved)
    texts = dict.fromkeys(
        text for some in runs.values() for run in some for text in run[0]["bits_per_byte"]
    )
    found = []
    for text in texts:
        levels = (("untouched", untouched[text]),) if text in untouched else ()
        for key, label in _AXES:
            series = tuple(_series(runs, key, text))
            found.append(LineChart(f"Bits per byte, {text}", label, series, levels))
    if trained := tuple(_trained(saved)):
        found.append(LineChart("Bits per byte, text trained on", "tokens read", trained))
    return [chart for chart in found if chart.series]


def _curves(saved: Sequence[SavedFiles]) -> Iterator[tuple[str, list[_Rows]]]:
    """Yield the measured points of each method or run, one list for each seed."""
    compared = set()
    for one in saved:
        for name, result in (one.comparison or {}).get("results", {}).items():
            adapted = result.get("adapted", ())
            compared |= {(one.directory / str(run.get("directory"))).resolve() for run in adapted}
            if curves := [run["curve"] for run in adapted if run.get("curve")]:
                yield shown_method(name), curves
    for one in saved:
        measured = [
            {**row, "n_bytes": row["bytes"]} for row in one.metrics if row.get("bits_per_byte")
        ]
        if measured and one.directory.resolve() not in compared:
            yield one.name, [measured]


def _trained(saved: Sequence[SavedFiles]) -> Iterator[Series]:
    """Yield what every step made of the text that it was trained on, for a run alone."""
    runs = [one for one in saved if one.metrics]
    for one in runs if len(runs) == 1 else []:
        steps = [row for row in one.metrics if "train_bits_per_byte" in row]
        points = tuple((float(row["tokens"]), row["train_bits_per_byte"]) for row in steps)
        if points:
            yield Series(one.name, (points,))


def shown_method(name: str) -> str:
    """Return a method's name; the source that was trained as it is has had no transfer."""
    return "no transfer" if name == "untouched" else name


def _untouched(saved: Sequence[SavedFiles]) -> dict[str, float]:
    for one in saved:
        result = (one.comparison or {}).get("results", {}).get("untouched", {})
        if result:
            return {
                text: result[text]["bits_per_byte"]
                for text in ("target", "English")
                if text in result
            }
    return {}


def _series(runs: Mapping[str, Sequence[_Rows]], key: str, text: str) -> Iterator[Series]:
    for name, some in runs.items():
        curves = tuple(
            tuple((float(row[key]), row["bits_per_byte"][text]) for row in run)
            for run in some
            if text in run[0]["bits_per_byte"]
        )
        if curves:
            yield Series(name, curves)


def new_token_charts(saved: Sequence[SavedFiles]) -> list[LineChart]:
    """Return what became of new tokens in training: mass, greedy share, rank and loss."""
    runs = dict(_new_token_runs(saved))
    texts = dict.fromkeys(
        text for run in runs.values() for row in run for text in row["new_tokens"]
    )
    found = []
    for text in texts:
        for key, title, is_log in _MEASURES:
            series = tuple(
                Series(name, (points,))
                for name, run in runs.items()
                if (points := tuple(_measured(run, text, key)))
            )
            levels = _targets(runs.values(), text) if key in ("probability", "greedy") else ()
            if series:
                title_here = f"{title}, {text}"
                found.append(LineChart(title_here, "tokens read", series, levels, is_log))
    return found


def _measured(run: _Rows, text: str, key: str) -> Iterator[tuple[float, float]]:
    for row in run:
        value = row["new_tokens"].get(text, {}).get(key)
        if value is not None:
            yield float(row["tokens"]), float(value)


def _targets(runs: Iterable[_Rows], text: str) -> tuple[tuple[str, float], ...]:
    """Return the share of new tokens in a text, which a model that knows them comes to."""
    shares = [row["new_tokens"][text]["targets"] for run in runs for row in run[-1:] if row]
    return (("in the text", shares[0]),) if shares else ()


def _new_token_runs(saved: Sequence[SavedFiles]) -> Iterator[tuple[str, _Rows]]:
    compared = set()
    for one in saved:
        for (name, _), rows in (one.runs or {}).items():
            measured = [row for row in rows if row.get("new_tokens")]
            if measured and name not in compared:  # the first seed stands for all
                compared.add(name)
                yield shown_method(name), measured
    if not compared:
        for one in saved:
            if measured := [row for row in one.metrics if row.get("new_tokens")]:
                yield one.name, measured


def layer_charts(saved: Sequence[SavedFiles]) -> list[LineChart]:
    """Return how many sentences find their translation at each layer, for both ways."""
    by_way: dict[str, list[Series]] = {}
    for one in saved:
        for result in one.results:
            for way, values in result.get("details", {}).get("layers", {}).items():
                points = tuple((float(layer), float(v)) for layer, v in enumerate(values))
                name = last_part(result["model"]["name"])
                by_way.setdefault(f"{result['task']}: {way}", []).append(Series(name, (points,)))
    return [LineChart(way, "layer", tuple(series)) for way, series in by_way.items()]
