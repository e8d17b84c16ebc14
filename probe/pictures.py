"""Pictures of a run, drawn with Pillow alone: sheets of maps, plots from above, bars, coloured point clouds."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from configs.files import write_atomic
from data.raw.images import encode_png

Colours = NDArray[np.uint8]
CELL, MARGIN, TEXT = 200, 6, 13

_RAMP = np.array(
    [[48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153], [162, 252, 60], [237, 208, 58], [251, 128, 34],
     [210, 49, 5], [122, 4, 3]], np.float64
)  # fmt: skip


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode_png(np.asarray(picture)))


def ramp(values: NDArray[Any], low: float, high: float, known: NDArray[np.bool_] | None = None) -> Colours:
    """Return numbers as colours from blue (low) to red (high); unknown and non-finite ones are black."""
    shown = np.isfinite(values) if known is None else known & np.isfinite(values)
    scaled = np.clip((np.where(shown, values, low) - low) / max(high - low, 1e-12), 0, 1) * (len(_RAMP) - 1)
    index = np.minimum(scaled.astype(int), len(_RAMP) - 2)
    part = (scaled - index)[..., None]
    colours = _RAMP[index] * (1 - part) + _RAMP[index + 1] * part
    return np.where(shown[..., None], colours, 0).astype(np.uint8)


def label_colours(labels: NDArray[Any]) -> Colours:
    """Return integer labels as well separated colours; negative ones are black."""
    hues = [colorsys.hsv_to_rgb((0.11 + i * 0.61803) % 1, 0.55 + 0.4 * (i % 2), 0.95) for i in range(64)]
    table = (np.array(hues) * 255).astype(np.uint8)
    return np.where((labels >= 0)[..., None], table[labels % 64], 0).astype(np.uint8)


def sheet(title: str, rows: Mapping[str, Sequence[Colours]]) -> Image.Image:
    """Return a sheet of rows of pictures, each row with its name; all cells get the same width."""
    first = next(iter(rows.values()))[0]
    size = (CELL, max(1, round(CELL * first.shape[0] / first.shape[1])))
    columns = max(len(row) for row in rows.values())
    step = size[1] + TEXT + 2 * MARGIN
    picture = Image.new("RGB", (MARGIN + columns * (CELL + MARGIN), 24 + len(rows) * step), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)
    pen.text((MARGIN, 4), title, "black", font)
    for i, (name, row) in enumerate(rows.items()):
        pen.text((MARGIN, 22 + i * step), name, "black", font)
        for j, cell in enumerate(row):
            fitted = Image.fromarray(cell).resize(size, Image.Resampling.NEAREST)
            picture.paste(fitted, (MARGIN + j * (CELL + MARGIN), 24 + i * step + TEXT + MARGIN))
    return picture


def seen_from_above(
    title: str, clouds: Mapping[str, tuple[NDArray[Any], Colours]], lines: Mapping[str, Any]
) -> Image.Image:
    """Return points and paths seen from above (x to the right, z away), all at one scale.

    Args:
        title: text on top.
        clouds: name -> ((N, 3) points, (N, 3) colours), one panel each.
        lines: name -> ((N, 3) points, colour name), drawn in every panel.
    """
    everything = [p[:, [0, 2]] for p, _ in clouds.values()] + [p[:, [0, 2]] for p, _ in lines.values()]
    joined = np.concatenate(everything)
    joined = joined[np.isfinite(joined).all(axis=1)]
    if not len(joined):
        joined = np.zeros((1, 2))
    low, high = np.percentile(joined, 1, axis=0), np.percentile(joined, 99, axis=0)
    side, span = 2 * CELL, max(float((high - low).max()), 1e-6) * 1.1
    centre = (low + high) / 2

    def place(points: NDArray[Any]) -> NDArray[np.int64]:
        flat = (np.nan_to_num(points[:, [0, 2]]) - centre) / span + 0.5
        return np.stack([flat[:, 0] * side, (1 - flat[:, 1]) * side], axis=1).clip(-9999, 9999).astype(np.int64)

    panels = clouds or {"": (np.zeros((0, 3)), np.zeros((0, 3), np.uint8))}
    picture = Image.new("RGB", (len(panels) * (side + MARGIN) + MARGIN, side + 48), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)
    pen.text((MARGIN, 4), title, "black", font)
    for i, (name, (points, colours)) in enumerate(panels.items()):
        panel = np.full((side, side, 3), 245, np.uint8)
        xy = place(points)
        inside = ((xy >= 0) & (xy < side)).all(axis=1)
        panel[xy[inside, 1], xy[inside, 0]] = colours[inside]
        drawn = Image.fromarray(panel)
        inner = ImageDraw.Draw(drawn)
        for path, colour in lines.values():
            track = [(int(x), int(y)) for x, y in place(path)]
            inner.line(track, fill=colour, width=2)
            for x, y in track:
                inner.ellipse((x - 3, y - 3, x + 3, y + 3), outline=colour)
        picture.paste(drawn, (MARGIN + i * (side + MARGIN), 42))
        legend = ", ".join([name, *(f"{line} ({colour})" for line, (_, colour) in lines.items())]).strip(", ")
        pen.text((MARGIN + i * (side + MARGIN), 24), legend, "black", font)
    return picture


def bars(title: str, rows: Sequence[tuple[str, float | None, float | None]]) -> Image.Image:
    """Return horizontal bars between 0 and 1 with an optional mark each; a bar without a value is labelled."""
    step, left, width = TEXT + 6, 150, 300
    picture = Image.new("RGB", (left + width + 70, 30 + step * len(rows)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)
    pen.text((MARGIN, 4), title, "black", font)
    for i, (name, value, mark) in enumerate(rows):
        y = 26 + i * step
        pen.text((MARGIN, y), name[:22], "black", font)
        pen.rectangle((left, y, left + width, y + TEXT), outline=(210, 210, 210))
        if value is not None:
            pen.rectangle((left, y, left + int(width * value), y + TEXT), fill=(70, 107, 227))
        if mark is not None:
            pen.line((left + int(width * mark), y - 1, left + int(width * mark), y + TEXT + 1), fill="black", width=2)
        pen.text((left + width + 6, y), "none" if value is None else f"{value:.3f}", "black", font)
    return picture


def write_ply(path: Path, points: NDArray[Any], colours: Colours) -> None:
    """Write a coloured point cloud as binary PLY; points that are not finite are left out.

    Args:
        path: the file.
        points: (N, 3).
        colours: (N, 3).
    """
    known = np.isfinite(points).all(axis=1)
    kinds = [("xyz", "<f4", (3,)), ("rgb", "u1", (3,))]
    table = np.empty(int(known.sum()), np.dtype(kinds))
    table["xyz"], table["rgb"] = points[known], colours[known]
    names = [f"property float {n}" for n in "xyz"] + [f"property uchar {n}" for n in ("red", "green", "blue")]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}", *names, "end_header"]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, ("\n".join(head) + "\n").encode() + table.tobytes())
