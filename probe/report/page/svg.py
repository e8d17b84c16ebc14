"""Drawing surface of the charts: SVG elements through the standard XML library, axes, ticks, markers.

Colours are CSS classes (`s0` to `s9`), so that a chart follows the light or dark scheme of its page and prints well.
Every series differs in colour, dash and marker: colour alone never tells two apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

STYLES = 10
"""Distinct colours; markers and dashes go on from there."""

_DASHES = ("", "6 3", "2 2", "8 3 2 3")


class Drawing:
    """One SVG picture with a title for screen readers.

    Args:
        width, height: in user units, one pixel at full size.
        title: what the picture is.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self.root = ElementTree.Element(
            "svg",
            {
                "viewBox": f"0 0 {width} {height}",
                "width": str(width),
                "height": str(height),
                "role": "img",
                "class": "chart",
                "style": f"max-width: {round(1.2 * width)}px",
            },
        )
        self.add("title", text=title)

    def add(
        self,
        tag: str,
        parent: ElementTree.Element | None = None,
        text: str | None = None,
        **attributes: str | float,
    ) -> ElementTree.Element:
        """Append an element; `class_` and `stroke_width` become `class` and `stroke-width`."""
        names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        shown = {key: value if isinstance(value, str) else short(value) for key, value in names.items()}
        element = ElementTree.SubElement(self.root if parent is None else parent, tag, shown)
        element.text = text
        return element

    def label(self, x: float, y: float, text: str, class_: str = "tick", anchor: str = "start") -> ElementTree.Element:
        """Append text with its baseline at (x, y)."""
        return self.add("text", text=text, x=x, y=y, class_=class_, text_anchor=anchor)

    def marker(self, x: float, y: float, style: int, tooltip: str, size: float = 4.0) -> None:
        """Append the marker of a series, with what a pointer that rests on it shows."""
        points = _marker(style, size)
        class_ = f"mark s{style % STYLES}"
        if points is None:
            element = self.add("circle", cx=x, cy=y, r=size, class_=class_)
        else:
            outline = " ".join(f"{short(x + dx)},{short(y + dy)}" for dx, dy in points)
            element = self.add("polygon", points=outline, class_=class_)
        self.add("title", element, tooltip)

    def path(self, points: Sequence[tuple[float, float]], style: int, *, closed: bool = False) -> None:
        """Append a line through points in the manner of a series."""
        steps = " L".join(f"{short(x)} {short(y)}" for x, y in points)
        line = self.add("path", d=f"M{steps}{' Z' if closed else ''}", class_=f"line s{style % STYLES}")
        if dash(style):
            line.set("stroke-dasharray", dash(style))

    def text(self) -> str:
        """Return the SVG element."""
        return ElementTree.tostring(self.root, encoding="unicode")


@dataclass(frozen=True)
class Scale:
    """Linear map from values in [low, high] to user units in [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value lies; values outside are held at the ends."""
        part = (value - self.low) / (self.high - self.low)
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


def limits(values: Sequence[float], low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """Return round limits around finite values; `low` and `high` fix an end.

    An empty sequence gives (0, 1).
    """
    finite = [value for value in values if math.isfinite(value)]
    bottom = low if low is not None else min(finite, default=0.0)
    top = high if high is not None else max(finite, default=1.0)
    if top <= bottom:
        pad = 0.2 * abs(bottom) or 0.5
        bottom, top = (bottom if low is not None else bottom - pad), bottom + pad
    step = _step(top - bottom)
    return (
        bottom if low is not None else math.floor(bottom / step) * step,
        top if high is not None else math.ceil(top / step) * step,
    )


def ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values in [low, high]."""
    step = _step(high - low)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a number with at most four significant decimals and no trailing zeros."""
    text = f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def dash(style: int) -> str:
    """Return the dash pattern of a series, empty for a solid line."""
    return _DASHES[(style // STYLES) % len(_DASHES)]


def swatch(style: int, name: str) -> str:
    """Return a small SVG of a series' line and marker, for a legend."""
    drawing = Drawing(28, 12, name)
    drawing.root.set("class", "swatch")
    drawing.root.attrib.pop("style")
    drawing.root.set("aria-hidden", "true")
    drawing.path([(1, 6), (27, 6)], style)
    drawing.marker(14, 6, style, name, 3.5)
    return drawing.text()


def _step(span: float) -> float:
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)


def _marker(style: int, size: float) -> list[tuple[float, float]] | None:
    """Corners of a series' marker, None for a circle."""
    shapes = (None, 4, 3, -4, -3, 5)
    shape = shapes[(style + style // len(shapes)) % len(shapes)]  # the seventh is not the first in another colour
    if shape is None:
        return None
    corners = abs(shape)
    turn = {4: math.pi / 4, 3: -math.pi / 2, -4: 0.0, -3: math.pi / 2, 5: -math.pi / 2}[shape]
    radius = size * (1.25 if corners < 5 else 1.15)
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
