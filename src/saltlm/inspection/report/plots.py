"""Plots as SVG that follow the page: light or dark, and read without colour.

Every series has a dash and a mark of its own beside its colour, and its name at its end. Colours
are classes, which ``templates/plots.css`` fills in; the same data give the same bytes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 440, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 112, 12, 40
_LINE = 13  # from one line of text to the next
_STYLES = 6  # of series; see plots.css
_MARKS = 4  # shapes
_MOST_MARKS = 24  # on a line

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Series:
    """A line, or a band where there are several runs.

    Attributes:
        name: at its end.
        runs: the points of each seed.
    """

    name: str
    runs: tuple[Points, ...]

    @property
    def mean(self) -> Points:
        """The mean of the runs, as far as all of them go."""
        return tuple(
            tuple(sum(values) / len(values) for values in zip(*points, strict=True))
            for points in zip(*self.runs, strict=False)
        )


@dataclass(frozen=True)
class LineChart:
    """Lines over one axis.

    Attributes:
        title: what is seen.
        x_label: of the axis.
        series: the lines.
        levels: values to compare with, by name.
        is_log: whether the vertical axis is logarithmic.
    """

    title: str
    x_label: str
    series: tuple[Series, ...]
    levels: tuple[tuple[str, float], ...] = ()
    is_log: bool = False

    @property
    def summary(self) -> str:
        """The chart in words."""
        parts = [
            f"{one.name}: {short(one.mean[0][1])} at {short(one.mean[0][0])},"
            f" {short(one.mean[-1][1])} at {short(one.mean[-1][0])}"
            for one in self.series
        ]
        parts += [f"{name}: {short(value)} throughout" for name, value in self.levels]
        return f"Over {self.x_label}. " + "; ".join(parts) + "."


@dataclass(frozen=True)
class Histogram:
    """How many values of one or two groups fall between edges.

    Attributes:
        title: what is counted.
        x_label: of the values.
        edges: one more than there are counts.
        groups: name and share of its values in each bin, in per cent.
        summary: the histogram in words.
    """

    title: str
    x_label: str
    edges: tuple[float, ...]
    groups: tuple[tuple[str, tuple[float, ...]], ...]
    summary: str


def short(value: float) -> str:
    """Return a number with three significant digits: 1.23, 45.6, 12,300 as 12.3k."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def draw_lines(chart: LineChart) -> Markup:
    """Return a chart of lines; a band spans the seeds."""
    points = [point for one in chart.series for run in one.runs for point in run]
    values = [y for _, y in points] + [value for _, value in chart.levels]
    is_log = chart.is_log and min(values) > 0
    axis_x = _Axis.over([x for x, _ in points] + [0.0], _LEFT, _WIDTH - _RIGHT)
    axis_y = _Axis.over(values, _HEIGHT - _BOTTOM, _TOP, is_log=is_log)
    parts = [*_frame(axis_x, axis_y, chart.x_label)]
    names: list[tuple[float, int | None, str]] = []
    for name, value in chart.levels:
        y = axis_y.place(value)
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        names.append((y, None, name))
    for number, one in enumerate(chart.series):
        style = f"s{number % _STYLES}"
        placed = [[(axis_x.place(x), axis_y.place(y)) for x, y in run] for run in one.runs]
        if len(placed) > 1:
            parts.append(_band(placed, style))
        mean = [(axis_x.place(x), axis_y.place(y)) for x, y in one.mean]
        parts.append(f'<polyline class="line {style}" points="{_path(mean)}"/>')
        parts += [_mark(x, y, number) for x, y in mean[:: 1 + len(mean) // _MOST_MARKS]]
        names.append((mean[-1][1], number, one.name))
    parts += _names(names)
    return _svg(_WIDTH, _HEIGHT, parts, chart.title, chart.summary)


def draw_histogram(chart: Histogram) -> Markup:
    """Return a histogram: the first group filled, a second one as an outline."""
    right = _WIDTH - 12
    axis_x = _Axis(chart.edges[0], chart.edges[-1], _LEFT, right)
    axis_y = _Axis.over(
        [0.0, *(share for _, shares in chart.groups for share in shares)], _HEIGHT - _BOTTOM, _TOP
    )
    parts = [*_frame(axis_x, axis_y, chart.x_label, right)]
    for number, (_, shares) in enumerate(chart.groups):
        outline = [(axis_x.place(chart.edges[0]), axis_y.place(0.0))]
        for (low, high), share in zip(pairwise(chart.edges), shares, strict=True):
            y = axis_y.place(share)
            outline += [(axis_x.place(low), y), (axis_x.place(high), y)]
        outline.append((axis_x.place(chart.edges[-1]), axis_y.place(0.0)))
        parts.append(f'<polygon class="bins g{number}" points="{_path(outline)}"/>')
    if len(chart.groups) > 1:
        for number, (name, _) in enumerate(chart.groups):
            y = _TOP + 4 + 16 * number
            box = f'<rect class="bins g{number}" x="{right - 92}" y="{y}" width="16" height="10"/>'
            parts.append(f'{box}<text x="{right - 70}" y="{y + 9}">{escape(name)}</text>')
    return _svg(_WIDTH, _HEIGHT, parts, chart.title, chart.summary)


def draw_intervals(rows: Sequence[tuple[str, float, float, float]], title: str) -> Markup:
    """Return a value with its interval in each line.

    Args:
        rows: name, value, lower and upper end.
        title: what the values are.
    """
    height, left = 24 * len(rows) + 44, 170
    ends = [end for _, value, low, high in rows for end in (value, low, high)]
    axis = _Axis.over([0.0, *ends], left, _WIDTH - 16)
    parts = []
    for tick in axis.ticks():
        x = axis.place(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="8" y2="{height - 30}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{height - 14}">{short(tick)}</text>')
    for number, (name, value, low, high) in enumerate(rows):
        y = 24 * number + 22
        parts.append(
            f'<text class="row" x="{left - 10}" y="{y + 4}">{escape(_cut(name, 26))}</text>'
        )
        line = f'x1="{axis.place(low)}" x2="{axis.place(high)}" y1="{y}" y2="{y}"'
        parts.append(f'<line class="line s0" {line}/>')
        parts.append(f'<circle class="mark s0" cx="{axis.place(value)}" cy="{y}" r="4"/>')
    told = "; ".join(f"{name} {v:.3f} ({low:.3f} to {high:.3f})" for name, v, low, high in rows)
    return _svg(_WIDTH, height, parts, title, told)


def draw_map(
    points: Sequence[tuple[float, float, str, str, int]], summary: str, size: int = 640
) -> Markup:
    """Return points with names; new ones are discs, copied ones rings.

    Args:
        points: x and y between -1 and 1, origin, name, and id of the token.
        summary: the map in words.
        size: of its square.
    """
    drawn = ['<g class="points">']
    for x, y, origin, name, id in points:
        place = f'cx="{(x + 1) * size / 2:.1f}" cy="{(1 - y) * size / 2:.1f}" r="3"'
        title = f"<title>{escape(name)}</title>"
        drawn.append(f'<circle class="p-{origin}" {place} data-id="{id}">{title}</circle>')
    drawn.append('</g><g class="names" aria-hidden="true"></g>')
    return _svg(size, size, drawn, "Map of shared and new rows", summary, "map")


@dataclass(frozen=True)
class _Axis:
    """From values to places."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool = False

    @classmethod
    def over(
        cls, values: Sequence[float], begin: float, end: float, *, is_log: bool = False
    ) -> "_Axis":
        low, high = min(values), max(values)
        if is_log:
            return cls(low, max(high, low * 1.1), begin, end, is_log=True)
        room = 0.05 * (high - low) or 0.5
        low = low - room if low != 0 else low
        return cls(low, high + room, begin, end)

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return round(self.begin + (self.end - self.begin) * (value - low) / ((high - low) or 1), 1)

    def ticks(self) -> list[float]:
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            found = [10.0**power for power in range(first, last + 1)]
            return [tick for tick in found if self.low <= tick <= self.high] or [self.low]
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _frame(
    axis_x: _Axis, axis_y: _Axis, label: str, right: float = _WIDTH - _RIGHT
) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    for tick in axis_y.ticks():
        y = axis_y.place(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
        yield f'<text class="row" x="{_LEFT - 6}" y="{y + 4}">{short(round(tick, 10))}</text>'
    yield f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    for tick in axis_x.ticks():
        x = axis_x.place(tick)
        yield f'<text class="tick" x="{x}" y="{bottom + 16}">{short(round(tick, 10))}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text class="tick" x="{middle}" y="{_HEIGHT - 6}">{escape(label)}</text>'


def _band(runs: Sequence[Sequence[tuple[float, float]]], style: str) -> str:
    steps = list(zip(*runs, strict=False))
    upper = [(step[0][0], min(y for _, y in step)) for step in steps]
    lower = [(step[0][0], max(y for _, y in step)) for step in steps]
    return f'<polygon class="band {style}" points="{_path([*upper, *reversed(lower)])}"/>'


def _mark(x: float, y: float, number: int) -> str:
    style = f"mark s{number % _STYLES}"
    if number % _MARKS == 0:
        return f'<circle class="{style}" cx="{x}" cy="{y}" r="3"/>'
    corners = (
        ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        ((0, -4), (4, 3), (-4, 3)),
        ((0, -4), (4, 0), (0, 4), (-4, 0)),
    )[number % _MARKS - 1]
    points = _path([(x + right, y + down) for right, down in corners])
    return f'<polygon class="{style}" points="{points}"/>'


def _names(names: Sequence[tuple[float, int | None, str]]) -> Iterator[str]:
    """Yield names with their marks at the ends of lines, none over another, all in the picture."""
    ordered = sorted(names, key=lambda name: name[0])
    places: list[float] = []
    for y, *_ in ordered:
        places.append(max(y, places[-1] + _LINE if places else y))
    highest = _HEIGHT - 4.0
    for number in reversed(range(len(places))):
        places[number] = highest = min(places[number], highest)
        highest -= _LINE
    x = _WIDTH - _RIGHT + 8
    for y, (_, mark, name) in zip(places, ordered, strict=True):
        style = "level" if mark is None else f"s{mark % _STYLES}"
        if mark is not None:
            yield _mark(x, round(y, 1), mark)
        place = f'x="{x + 8}" y="{y + 4:.1f}"'
        yield f'<text class="name {style}" {place}>{escape(_cut(name, 16))}</text>'


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{round(x, 1)},{round(y, 1)}" for x, y in points)


def _svg(
    width: float, height: float, parts: Sequence[str], title: str, told: str, kind: str = "chart"
) -> Markup:
    """Return the picture, which is one image with a text for who does not see it."""
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" class="plot {kind}" role="img"'
    size, label = f'viewBox="0 0 {width} {height}"', f"{escape(title)}. {escape(told)}"
    return Markup(f'{begin} {size} aria-label="{label}">{"".join(parts)}</svg>')
