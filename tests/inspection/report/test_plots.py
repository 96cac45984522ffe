"""Plots are sound SVG, read without colour, and place what they show."""

import xml.etree.ElementTree as ET

import pytest

from saltlm.inspection.report.plots import (
    Histogram,
    LineChart,
    Series,
    draw_histogram,
    draw_intervals,
    draw_lines,
    draw_map,
    short,
)

HOSTILE = "<b>\"'&\u202e"
SVG = "{http://www.w3.org/2000/svg}"


def chart(n=8, **more):
    series = tuple(
        Series(f"method {number}", (((0.0, 5.0 - number / 9), (10.0, 2.0 + number / 9)),))
        for number in range(n)
    )
    return LineChart("Bits", "tokens", series, (("untouched", 2.5),), **more)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1.2345, "1.23"), (150.4, "150"), (9999, "9,999"), (12300, "12.3k"), (2e6, "2M")],
)
def test_numbers_are_short(value, shown):
    assert short(value) == shown


def test_names_stand_apart_and_inside():
    root = ET.fromstring(str(draw_lines(chart(8))))
    heights = sorted(float(e.get("y")) for e in root.iter(f"{SVG}text") if "name" in e.get("class"))
    assert len(heights) == 9
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) >= 12.9
    assert heights[-1] <= 260


def outline(element):
    """Return the corners of a mark, seen from its first one."""
    corners = [pair.split(",") for pair in element.get("points", "").split()]
    x, y = corners[0] if corners else (0, 0)
    return tuple((round(float(u) - float(x)), round(float(v) - float(y))) for u, v in corners)


def test_each_series_has_a_mark_of_its_own_beside_its_colour():
    """No two of the first twelve have both in common."""
    drawn = ET.fromstring(str(draw_lines(chart(12))))
    marks = [element for element in drawn.iter() if element.get("class", "").startswith("mark")]
    assert len({(element.get("class"), outline(element)) for element in marks}) == 12


def test_the_band_holds_every_seed_and_the_line_is_their_mean():
    series = Series("salt", (((0.0, 4.0), (10.0, 1.0)), ((0.0, 4.0), (10.0, 3.0))))
    assert series.mean == ((0.0, 4.0), (10.0, 2.0))
    root = ET.fromstring(str(draw_lines(LineChart("t", "x", (series,)))))
    (band,) = [e for e in root.iter() if e.get("class", "").startswith("band")]
    (line,) = [e for e in root.iter() if e.get("class", "").startswith("line")]
    ys = sorted(float(pair.split(",")[1]) for pair in band.get("points").split())
    end = float(line.get("points").split()[-1].split(",")[1])
    assert ys[0] < end < ys[-1]
    assert end == pytest.approx((ys[2] + ys[-1]) / 2, abs=0.2)


def test_a_logarithmic_axis_puts_tenfolds_equally_far():
    series = Series("salt", (((0.0, 1.0), (1.0, 10.0), (2.0, 100.0)),))
    root = ET.fromstring(str(draw_lines(LineChart("t", "x", (series,), is_log=True))))
    (line,) = [e for e in root.iter() if e.get("class", "").startswith("line")]
    first, middle, last = (float(p.split(",")[1]) for p in line.get("points").split())
    assert first - middle == pytest.approx(middle - last, abs=0.2)


@pytest.mark.parametrize(
    "drawn",
    [
        draw_lines(LineChart(HOSTILE, HOSTILE, (Series(HOSTILE, (((0.0, 1.0),),)),))),
        draw_histogram(
            Histogram(HOSTILE, HOSTILE, (0.0, 1.0), ((HOSTILE, (100.0,)),) * 2, HOSTILE)
        ),
        draw_intervals([(HOSTILE, 0.5, 0.4, 0.6)], HOSTILE),
        draw_map([(0.1, 0.2, "made", HOSTILE, 3)], HOSTILE),
    ],
    ids=["lines", "histogram", "intervals", "map"],
)
def test_text_is_only_text(drawn):
    root = ET.fromstring(str(drawn))
    assert not list(root.iter("b"))
    assert HOSTILE in root.get("aria-label")
    assert root.get("role") == "img"
    assert any(HOSTILE in (e.text or "") for e in root.iter())
