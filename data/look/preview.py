"""`spatialprobe data preview`: one contact sheet per clip, to look at what a probe is asked about."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from configs.files import write_atomic
from data.dataset.reader import PreparedDataset
from data.raw.images import encode_png

_DEPTH_COLOURS = np.array(
    [[48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153], [162, 252, 60], [237, 208, 58], [251, 128, 34],
     [210, 49, 5], [122, 4, 3]]
)  # fmt: skip
CELL_WIDTH = 200
MARGIN = 6


def preview_sheet(dataset: PreparedDataset, clip_id: str, columns: int = 8) -> Image.Image:
    """Draw frames, depth, instances with class names, and the camera path from above.

    Args:
        dataset: an open dataset.
        clip_id: one of its clips.
        columns: how many frames to show, evenly spread over the query positions.
    """
    row = dataset.clips.loc[clip_id]
    legal = dataset.query_positions(clip_id) or tuple(dataset.positions(clip_id).tolist())
    count = min(columns, len(legal))
    chosen = [legal[i] for i in np.round(np.linspace(0, len(legal) - 1, count)).astype(int)]
    frame_size = dataset.frame_size(clip_id)
    height = max(1, round(CELL_WIDTH * frame_size[0] / frame_size[1]))
    size = (CELL_WIDTH, height)
    rows: list[list[Image.Image]] = [
        [_fit(frame, size, Image.Resampling.BILINEAR) for frame in dataset.frames(clip_id, chosen)]
    ]
    if row["has_depth"]:
        rows.append([_fit(picture, size) for picture in depth_pictures(dataset.depth(clip_id, chosen))])
    if row["has_instance"]:
        maps = dataset.instance_maps(clip_id, chosen)
        names = _instance_names(dataset, clip_id)
        rows.append([_instance_cell(ids, frame, names) for ids, frame in zip(maps, rows[0], strict=True)])
    top = 40
    path = _path_picture(dataset, clip_id, chosen, max(height * min(2, len(rows)), 240))
    width = MARGIN + count * (CELL_WIDTH + MARGIN) + path.width + MARGIN
    sheet = Image.new("RGB", (width, top + max(len(rows) * (height + MARGIN), path.height) + MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    facts = [clip_id, f"group {row['group_id']}", row["split"], f"{row['n_frames']} frames"]
    facts.append(f"{row['n_instances']} instances")
    draw.text((MARGIN, 3), "   ".join(map(str, facts)), "black", font)
    for i, position in enumerate(chosen):
        x = MARGIN + i * (CELL_WIDTH + MARGIN)
        valid = dataset.cameras(clip_id, [position]).valid[0]
        draw.text((x, 21), f"position {position}" + ("" if valid else "  (invalid pose)"), "black", font)
        for j, pictures in enumerate(rows):
            sheet.paste(pictures[i], (x, top + j * (height + MARGIN)))
    sheet.paste(path, (width - path.width - MARGIN, top))
    return sheet


def write_previews(dataset: PreparedDataset, clip_ids: list[str], folder: Path) -> list[Path]:
    """Write one PNG per clip into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for clip_id in clip_ids:
        written.append(folder / f"{clip_id}.png")
        write_atomic(written[-1], encode_png(np.asarray(preview_sheet(dataset, clip_id))))
    return written


def depth_pictures(depth: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """Colour depth maps (S, H, W) on one scale, near dark blue, far dark red, unknown grey; each (H, W, 3) uint8."""
    known = depth > 0
    low, high = np.percentile(depth[known], (1, 99)) if known.any() else (0.0, 1.0)
    scaled = np.clip((depth - low) / max(float(high - low), 1e-6), 0, 1) * (len(_DEPTH_COLOURS) - 1)
    below = np.minimum(scaled.astype(int), len(_DEPTH_COLOURS) - 2)
    part = (scaled - below)[..., None]
    colours = _DEPTH_COLOURS[below] * (1 - part) + _DEPTH_COLOURS[below + 1] * part
    colours[~known] = 128
    return list(colours.astype(np.uint8))


def instance_colours(count: int) -> NDArray[np.uint8]:
    """Return (count + 1, 3) uint8 colours that tell ids apart; id 0 is dark grey."""
    hues = [(0.61803398875 * i) % 1 for i in range(count)]
    colours = [colorsys.hsv_to_rgb(h, 0.65 if i % 2 else 0.9, 0.95 if i % 3 else 0.7) for i, h in enumerate(hues)]
    return (np.array([(0.2, 0.2, 0.2), *colours]) * 255).astype(np.uint8)


def _instance_names(dataset: PreparedDataset, clip_id: str) -> list[str]:
    table = dataset.instances(clip_id)
    names = [
        dataset.class_names[c] if c >= 0 else f"({label})"
        for c, label in zip(table["class_index"], table["raw_label"], strict=True)
    ]
    return ["", *names]


def _instance_cell(ids: NDArray[np.uint16], frame: Image.Image, names: list[str]) -> Image.Image:
    colours = instance_colours(len(names))[ids]
    cell = Image.blend(frame.convert("L").convert("RGB"), _fit(colours, frame.size), 0.65)
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(10)
    scale = np.array(frame.size) / np.array(ids.shape[::-1])
    for i, pixels in zip(*np.unique(ids, return_counts=True), strict=True):
        if i == 0 or pixels < 0.01 * ids.size:
            continue
        rows, columns = np.nonzero(ids == i)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # inside even if not convex
        x, y = (np.array([columns[middle], rows[middle]]) + 0.5) * scale
        draw.text((float(x), float(y)), names[i], "white", font, anchor="mm", stroke_width=1, stroke_fill="black")
    return cell


def _path_picture(dataset: PreparedDataset, clip_id: str, chosen: list[int], side: int) -> Image.Image:
    """Draw the camera path seen from above, viewing directions at the shown frames, and the depth as a faint cloud."""
    picture = Image.new("RGB", (side, side), (245, 245, 245))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    positions = dataset.positions(clip_id).tolist()
    cameras = dataset.cameras(clip_id, positions)
    if cameras.valid.sum() == 0:
        draw.text((8, 8), "no valid pose", "black", font)
        return picture
    poses = cameras.cam2world.astype(np.float64)
    axes = _ground_axes(poses[cameras.valid])
    cloud = _cloud(dataset, clip_id, chosen) @ axes.T
    centres = np.where(cameras.valid[:, None], poses[:, :3, 3], 0) @ axes.T
    points = np.concatenate([centres[cameras.valid], cloud]) if len(cloud) else centres[cameras.valid]
    low, high = np.percentile(points, (1, 99), axis=0) if len(cloud) else (points.min(0), points.max(0))
    low, high = np.minimum(low, centres[cameras.valid].min(0)), np.maximum(high, centres[cameras.valid].max(0))
    unit = (side - 30) / max(float((high - low).max()), 1e-6)

    def place(xy: NDArray[Any]) -> list[tuple[float, float]]:
        shifted = (xy - (low + high) / 2) * unit
        return [(side / 2 + float(x), side / 2 - float(y)) for x, y in shifted]

    for x, y in place(cloud):
        draw.point((x, y), (190, 190, 190))
    line = place(centres[cameras.valid])
    draw.line(line, (30, 90, 200), 2)
    for position in chosen:
        i = positions.index(position)
        if not cameras.valid[i]:
            continue
        start = place(centres[i : i + 1])[0]
        ahead = axes @ poses[i, :3, 2]
        end = (start[0] + 16 * float(ahead[0]), start[1] - 16 * float(ahead[1]))
        draw.line([start, end], (200, 60, 30), 2)
    draw.ellipse([line[0][0] - 4, line[0][1] - 4, line[0][0] + 4, line[0][1] + 4], (20, 140, 60))
    draw.text(
        (6, side - 16),
        f"from above; green: start; {(high - low).max():.1f} {dataset.identity['units']} wide",
        "black",
        font,
    )
    return picture


def _ground_axes(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two unit vectors (2, 3) that span the ground: up is the mean of the cameras' -y axes."""
    up = -poses[:, :3, 1].mean(0)
    up /= np.linalg.norm(up) + 1e-12
    start = np.eye(3)[np.argmin(np.abs(up))]
    first = np.cross(start, up)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first)])


def _cloud(dataset: PreparedDataset, clip_id: str, chosen: list[int], per_frame: int = 400) -> NDArray[np.float64]:
    if not dataset.clips.at[clip_id, "has_depth"]:
        return np.empty((0, 3))
    cameras, points = dataset.cameras(clip_id, chosen), []
    for i, depth in enumerate(dataset.depth(clip_id, chosen)):
        v, u = np.nonzero(depth > 0)
        if not cameras.valid[i] or len(v) == 0:
            continue
        pick = np.linspace(0, len(v) - 1, per_frame).astype(int)
        rays = np.linalg.inv(cameras.intrinsics[i].astype(np.float64)) @ np.stack([u + 0.5, v + 0.5, np.ones(len(u))])
        local = (rays * depth[v, u])[:, pick]
        pose = cameras.cam2world[i].astype(np.float64)
        points.append((pose[:3, :3] @ local + pose[:3, 3:]).T)
    return np.concatenate(points) if points else np.empty((0, 3))


def _fit(
    pixels: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling = Image.Resampling.NEAREST
) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels)).resize(size, method)
