"""The charts of the report as inline SVG: lines, scatter with error bars, radar, and a forest of intervals.

Panels are small (about 340 units wide): a page shows several beside each other, a phone one below the other, and text
keeps its size in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from probe.report.page.svg import Drawing, Scale, limits, short, ticks

WIDTH, HEIGHT = 340, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 36


class Point(NamedTuple):
    """A value at a place, with an interval where there is one, and what a resting pointer shows."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    x_low: float | None = None
    x_high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one model; `style` chooses colour, dash and marker and is the same in all charts of a page."""

    name: str
    style: int
    points: Sequence[Point]


class Bar(NamedTuple):
    """One row of a forest: an estimate with its interval and a mark for what is significant."""

    name: str
    value: float
    low: float | None
    high: float | None
    marked: bool
    note: str = ""


def line_panel(
    title: str,
    x_title: str,
    y_title: str,
    series: Sequence[Series],
    *,
    x_limits: tuple[float | None, float | None] = (None, None),
    y_limits: tuple[float | None, float | None] = (None, None),
) -> str:
    """Return lines with markers and, where known, intervals as vertical bars."""
    drawing, x, y = _axes(title, x_title, y_title, series, x_limits, y_limits)
    for one in series:
        points = sorted(one.points, key=lambda point: point.x)
        if len(points) > 1:
            drawing.path([(x(point.x), y(point.y)) for point in points], one.style)
        _points(drawing, x, y, one, points)
    return drawing.text()


def scatter_panel(
    title: str,
    x_title: str,
    y_title: str,
    series: Sequence[Series],
    *,
    x_limits: tuple[float | None, float | None] = (None, None),
    y_limits: tuple[float | None, float | None] = (None, None),
) -> str:
    """Return one marker per point, with intervals in both directions."""
    drawing, x, y = _axes(title, x_title, y_title, series, x_limits, y_limits)
    for one in series:
        _points(drawing, x, y, one, one.points, size=5.5)
    return drawing.text()


def radar(title: str, axes: Sequence[str], series: Sequence[Series]) -> str:
    """Return polygons over axes from 0 (centre) to 1 (rim); `x` of a point is the number of its axis.

    Axes without a value interrupt the polygon: missing numbers are not zeros.
    """
    drawing = Drawing(WIDTH, 268, title)
    centre, radius = (WIDTH / 2, 138.0), 84.0

    def place(axis: float, value: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / len(axes) - math.pi / 2
        reach = radius * min(max(value, 0.0), 1.0)
        return centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)

    for ring in (0.25, 0.5, 0.75, 1.0):
        outline = " ".join(f"{short(px)},{short(py)}" for px, py in (place(i, ring) for i in range(len(axes))))
        drawing.add("polygon", points=outline, class_="grid")
    for i, name in enumerate(axes):
        end = place(i, 1.0)
        drawing.add("line", x1=centre[0], y1=centre[1], x2=end[0], y2=end[1], class_="grid")
        cosine, sine = (end[0] - centre[0]) / radius, (end[1] - centre[1]) / radius
        anchor = "middle" if abs(cosine) < 0.2 else "start" if cosine > 0 else "end"
        drawing.label(centre[0] + cosine * (radius + 8), centre[1] + sine * (radius + 12) + 4, name, "tick", anchor)
    for one in series:
        places = {round(point.x): place(point.x, point.y) for point in one.points}
        if len(places) == len(axes):
            drawing.path([places[i] for i in range(len(axes))], one.style, closed=True)
        else:
            for i in range(len(axes)):
                pair = [places[k] for k in (i, (i + 1) % len(axes)) if k in places]
                if len(pair) == 2:
                    drawing.path(pair, one.style)
        for point in one.points:
            drawing.marker(*place(point.x, point.y), one.style, point.note or one.name, 3.2)
    drawing.label(WIDTH / 2, 16, title, "heading", "middle")
    return drawing.text()


def forest(title: str, x_title: str, bars: Sequence[Bar]) -> str:
    """Return estimates below each other, with intervals and a line at zero; marked ones are filled."""
    step, left, top, width = 22, 14, 6, 460
    drawing = Drawing(width, top + 2 * step * len(bars) + 36, title)
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, 0.0) if end is not None]
    x = Scale(*limits(ends), left, width - left)
    bottom = top + 2 * step * len(bars)
    for value in ticks(x.low, x.high):
        drawing.add("line", x1=x(value), y1=top, x2=x(value), y2=bottom, class_="zero" if value == 0 else "grid")
        drawing.label(x(value), bottom + 14, short(value), "tick", "middle")
    for i, bar in enumerate(bars):
        y = top + 2 * step * i + step
        drawing.label(left, y - 6, bar.name, "name")
        if bar.low is not None and bar.high is not None:
            drawing.add("line", x1=x(bar.low), y1=y + 8, x2=x(bar.high), y2=y + 8, class_="whisker s0")
        dot = drawing.add("circle", cx=x(bar.value), cy=y + 8, r=5, class_=f"mark s0{'' if bar.marked else ' open'}")
        drawing.add("title", dot, bar.note or bar.name)
    drawing.label(width / 2, bottom + 30, x_title, "axis", "middle")
    return drawing.text()


def _axes(
    title: str,
    x_title: str,
    y_title: str,
    series: Sequence[Series],
    x_limits: tuple[float | None, float | None],
    y_limits: tuple[float | None, float | None],
) -> tuple[Drawing, Scale, Scale]:
    points = [point for one in series for point in one.points]
    xs = [end for p in points for end in (p.x, p.x_low, p.x_high) if end is not None]
    ys = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    drawing = Drawing(WIDTH, HEIGHT, title)
    x = Scale(*limits(xs, *x_limits), _LEFT, WIDTH - _RIGHT)
    y = Scale(*limits(ys, *y_limits), HEIGHT - _BOTTOM, _TOP + 18)
    for value in ticks(y.low, y.high):
        drawing.add("line", x1=_LEFT, y1=y(value), x2=WIDTH - _RIGHT, y2=y(value), class_="grid")
        drawing.label(_LEFT - 6, y(value) + 4, short(value), "tick", "end")
    for value in ticks(x.low, x.high):
        drawing.add("line", x1=x(value), y1=HEIGHT - _BOTTOM, x2=x(value), y2=HEIGHT - _BOTTOM + 4, class_="rule")
        drawing.label(x(value), HEIGHT - _BOTTOM + 16, short(value), "tick", "middle")
    drawing.add("line", x1=_LEFT, y1=HEIGHT - _BOTTOM, x2=WIDTH - _RIGHT, y2=HEIGHT - _BOTTOM, class_="rule")
    drawing.label((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, x_title, "axis", "middle")
    drawing.label(4, 14, y_title, "heading")
    return drawing, x, y


def _points(drawing: Drawing, x: Scale, y: Scale, one: Series, points: Sequence[Point], size: float = 4.0) -> None:
    for point in points:
        if point.low is not None and point.high is not None:
            drawing.add(
                "line",
                x1=x(point.x),
                y1=y(point.low),
                x2=x(point.x),
                y2=y(point.high),
                class_=f"whisker s{one.style % 10}",
            )
        if point.x_low is not None and point.x_high is not None:
            drawing.add(
                "line",
                x1=x(point.x_low),
                y1=y(point.y),
                x2=x(point.x_high),
                y2=y(point.y),
                class_=f"whisker s{one.style % 10}",
            )
    for point in points:
        drawing.marker(x(point.x), y(point.y), one.style, point.note or f"{one.name}: {short(point.y)}", size)
