"""Tables of numbers that the stages saved, the same for every format of the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltlm.inspection.report.curves import shown_method
from saltlm.inspection.report.plots import Histogram, LineChart, short
from saltlm.inspection.report.saved import SavedFiles, last_part

_MOST_ROWS = 60  # of the numbers behind a chart


@dataclass(frozen=True)
class NumberTable:
    """Cells of text.

    Attributes:
        title: of the table.
        heads: of the columns.
        rows: a cell for each column.
        best: row and column of the cells that are the best of their row.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()


def chart_numbers(chart: LineChart) -> NumberTable:
    """Return the numbers behind lines, evenly thinned where there are many."""
    lines = {one.name: dict(one.mean) for one in chart.series}
    places = sorted({x for line in lines.values() for x in line})
    step = -(-len(places) // _MOST_ROWS)
    kept = sorted({*places[::step], *places[-1:]})
    rows = tuple(
        (short(x), *(f"{line[x]:.3f}" if x in line else "" for line in lines.values()))
        for x in kept
    )
    return NumberTable(chart.title, (chart.x_label, *lines), rows)


def histogram_numbers(chart: Histogram) -> NumberTable:
    """Return the numbers behind a histogram."""
    rows = tuple(
        (short(low), *(f"{shares[place]:.1f} %" for _, shares in chart.groups))
        for place, low in enumerate(chart.edges[:-1])
    )
    return NumberTable(chart.title, (f"{chart.x_label} from", *(n for n, _ in chart.groups)), rows)


def evaluation_tables(saved: Sequence[SavedFiles]) -> Iterator[NumberTable]:
    """Yield a table of each evaluation: values, their intervals, the best and what is level."""
    for one in saved:
        if one.evaluation is None:
            continue
        names = [model["name"] for model in one.evaluation["models"]]
        metrics = {
            (result["model"]["name"], result["task"], name): metric
            for result in one.evaluation["results"]
            for name, metric in result["metrics"].items()
        }
        rows, best = [], set()
        for number, row in enumerate(one.evaluation["places"]):
            task, metric = row["task"], row["metric"]
            found = [metrics.get((name, task, metric)) for name in names]
            n = next((f"{each['n']:,}" for each in found if each), "")
            cells = [
                _measured(each, place) for each, place in zip(found, row["places"], strict=True)
            ]
            rows.append((task, metric, n, *cells))
            best |= {(number, 3 + p) for p, place in enumerate(row["places"]) if place == "best"}
        heads = ("task", "metric", "n", *map(last_part, names))
        yield NumberTable(f"Side by side, in {one.name}", heads, tuple(rows), frozenset(best))


def _measured(metric: Mapping[str, Any] | None, place: str | None) -> str:
    if metric is None:
        return ""
    text = ("≈ " if place == "level" else "") + _digits(metric["value"])
    if metric.get("interval"):
        low, high = metric["interval"]
        text += f" ({_digits(low)} to {_digits(high)})"
    return text


def _digits(value: float) -> str:
    return f"{value:.{1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3}f}"


def level_tables(saved: Sequence[SavedFiles]) -> Iterator[NumberTable]:
    """Yield how much training each method of a comparison took to come down to a value."""
    for one in saved:
        levels = (one.comparison or {}).get("levels", ())
        if not levels:
            continue
        heads = tuple(f"to {level['target_bits_per_byte']:.3f}" for level in levels)
        rows = tuple(
            (shown_method(name), *(_reached(level["reached"].get(name, ())) for level in levels))
            for name in levels[0]["reached"]
        )
        yield NumberTable(
            "Tokens to come down to a value (text read, seconds; of the slowest seed)",
            ("method", *heads),
            rows,
        )


def _reached(seeds: Sequence[Mapping[str, float] | None]) -> str:
    found = [seed for seed in seeds if seed is not None]
    if not found or len(found) < len(seeds):
        return "not reached"
    slowest = max(found, key=lambda seed: seed["tokens"])
    bytes_read, seconds = slowest["n_bytes"] / 1e3, slowest["seconds"]
    return f"{slowest['tokens']:,.0f} ({bytes_read:,.0f} kB, {seconds:,.0f} s)"


def earner_table(text: Mapping[str, Any], part: slice) -> NumberTable:
    """Return part of the new tokens that make text shorter, the most useful first."""
    rows = tuple(
        (
            one["token"],
            f"{one['count']:,}",
            str(one["pieces"]),
            f"{one['count'] * (one['pieces'] - 1):,}",
        )
        for one in text["earners"][part]
    )
    heads = ("new token", "occurs", "tokens before", "tokens saved")
    return NumberTable("New tokens that earn their place", heads, rows)
