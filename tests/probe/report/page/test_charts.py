"""Charts against what they must show: places of points, limits, missing values, marks besides colour."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from probe.report.page.charts import Bar, Point, Series, forest, line_panel, radar, scatter_panel
from probe.report.page.svg import Drawing, Scale, limits, short, ticks


def marks(svg: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter() if e.get("class", "").startswith("mark")]


def test_ticks_are_round_and_inside() -> None:
    for low, high in [(0, 1), (0.0, 100.0), (-3.2, 7.9), (1e-6, 3e-6), (0.862, 0.868), (-5, -1), (0, 12345)]:
        found = ticks(low, high)
        assert 3 <= len(found) <= 7
        assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
        steps = {round(b - a, 12) for a, b in itertools.pairwise(found)}
        step = steps.pop()
        assert all(math.isclose(step, other, rel_tol=1e-6) for other in steps)
        assert re.fullmatch(r"(1|2|2\.5|5)(\.0+)?", f"{step / 10 ** math.floor(math.log10(step) + 1e-9):.4g}")


def test_limits_hold_all_values_and_survive_odd_input() -> None:
    assert limits([]) == (0.0, 1.0)
    assert limits([math.nan, math.inf]) == (0.0, 1.0)
    low, high = limits([3.0, 3.0])
    assert low < 3 < high
    assert limits([0.2, 0.9], 0.0, 1.0) == (0.0, 1.0)
    low, high = limits([0.13, 0.87])
    assert low <= 0.13 and high >= 0.87


def test_scale_maps_ends_and_holds_what_lies_outside() -> None:
    scale = Scale(0, 10, 100, 0)
    assert [scale(value) for value in (0, 10, 5, -3, 99)] == [100, 0, 50, 100, 0]


def test_line_panel_places_points_and_intervals() -> None:
    points = [Point(0.0, 10.0, 5.0, 15.0, "first"), Point(1.0, 20.0, None, None, "second")]
    svg = line_panel("t", "x", "y", [Series("a", 0, points)], x_limits=(0, 1), y_limits=(0, 20))
    first, second = marks(svg)
    assert float(first.get("cx", 0)) < float(second.get("cx", 0))
    assert float(first.get("cy", 0)) > float(second.get("cy", 0))  # larger values are higher
    root = ElementTree.fromstring(svg)
    whiskers = [e for e in root.iter() if e.get("class", "").startswith("whisker")]
    assert len(whiskers) == 1
    ends = sorted(float(whiskers[0].get(key, 0)) for key in ("y1", "y2"))
    assert ends[0] < float(first.get("cy", 0)) < ends[1]
    assert [title.text for mark in (first, second) for title in mark] == ["first", "second"]


def test_series_differ_in_more_than_colour() -> None:
    looks = set()
    for style in range(30):
        drawing = Drawing(10, 10, "")
        drawing.path([(0, 0), (1, 1)], style)
        drawing.marker(0, 0, style, "")
        _, line, mark = list(ElementTree.fromstring(drawing.text()))
        shape = mark.tag + str(len(mark.get("points", "").split())) + mark.get("points", "")[:8]
        looks.add((line.get("stroke-dasharray"), shape, mark.get("class")))
    assert len(looks) == 30


def test_radar_draws_no_missing_axis_as_zero() -> None:
    axes = ["a", "b", "c", "d"]
    complete = radar("t", axes, [Series("m", 0, [Point(i, 0.5) for i in range(4)])])
    partial = radar("t", axes, [Series("m", 0, [Point(0, 0.5), Point(1, 0.5)])])
    assert len(marks(complete)) == 4 and len(marks(partial)) == 2
    paths = [e.get("d", "") for e in ElementTree.fromstring(complete).iter() if e.get("class", "").startswith("line")]
    assert len(paths) == 1 and paths[0].endswith("Z")
    paths = [e.get("d", "") for e in ElementTree.fromstring(partial).iter() if e.get("class", "").startswith("line")]
    assert len(paths) == 1 and not paths[0].endswith("Z")


def test_forest_fills_only_what_is_distinguishable_and_shows_zero() -> None:
    svg = forest("t", "x", [Bar("a - b", 3.0, 1.0, 5.0, True), Bar("a - c", -1.0, None, None, False)])
    filled, open_ = marks(svg)
    assert "open" not in filled.get("class", "") and "open" in open_.get("class", "")
    assert any(e.get("class") == "zero" for e in ElementTree.fromstring(svg).iter())


def test_names_are_escaped() -> None:
    svg = scatter_panel("<x>", "&", '"', [Series("<script>", 0, [Point(1, 1, note="<script>")])])
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg).find("title") is not None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (-0.0, "0"), (0.25, "0.25"), (12.0, "12"), (0.00012, "0.00012"), (1234.5, "1234.5")]
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text
