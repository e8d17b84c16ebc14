"""Depth and its error as maps, and scenes with point clouds and camera paths for the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from configs import commands
from configs.errors import SpatialprobeError
from data.dataset.reader import PreparedDataset
from data.dataset.targets import Geometry, geometry_targets
from probe.pictures import ramp
from probe.report.page.document import Block, Gallery, Image, Missing, Scene, Strip
from probe.report.page.labels import Sources
from probe.report.pictures import clouds
from probe.report.pictures.choice import ShownRun, points_file, predicted_clips, prediction
from probe.report.pictures.encode import frame_image, map_image

MAX_QUERIES = 3
MAX_ERROR = 0.3
"""Relative depth error at the red end."""
_TRUE, _PREDICTED = "#57d977", "#ff6b5e"


def clip_block(sources: Sources, dataset: PreparedDataset, clip_id: str, runs: Sequence[ShownRun]) -> Block:
    """Return true and predicted depth and the relative error for a clip."""
    shown = [run for run in runs if clip_id in predicted_clips(run)]
    queries = [int(v) for v in prediction(shown[0], clip_id)["queries"]][:MAX_QUERIES]
    labels = [f"frame {query}" for query in queries]
    frames = dataset.frames(clip_id, queries)
    size = dataset.frame_size(clip_id)
    strips = [Strip("Frames", [frame_image(f, f"{clip_id}, {n}", n) for f, n in zip(frames, labels, strict=True)])]
    low = high = 0.0
    for run in shown:
        found = prediction(run, clip_id)
        depth = np.asarray(found["depth"], np.float32).reshape(found["shape"])
        own = [int(v) for v in found["queries"]]
        truth = _truth(dataset, clip_id, own, depth.shape[1:])
        known = truth.depth > 0
        if own[: len(queries)] != queries or not known.any():
            continue
        if len(strips) == 1:
            low, high = (float(x) for x in np.percentile(truth.depth[known], (2, 98)))
            strips.append(Strip("True depth", _maps(ramp(truth.depth, low, high, known), "true depth", labels, size)))
        scaled = depth * np.median(truth.depth[known]) / max(float(np.median(depth[known])), 1e-9)
        error = np.abs(scaled - truth.depth) / np.where(known, truth.depth, 1)
        tags = sources.tags(run.who)
        what = f"Depth: {run.label}"
        strips.append(Strip(what, _maps(ramp(scaled, low, high), what, labels, size), tags))
        mean = float(error[: len(queries)][known[: len(queries)]].mean())
        what = f"Relative error: {run.label}, mean {mean:.2f}"
        strips.append(Strip(what, _maps(ramp(error, 0, MAX_ERROR, known), what, labels, size), tags))
    note = (
        f"Depth from near (blue, {low:.2f}) to far (red, {high:.2f}) in mean distances of the first query, predictions "
        f"brought to the clip's median; error from 0 (blue) to {MAX_ERROR:.0%} and more (red); black: unknown."
    )
    return Gallery(f"Depth in clip {clip_id}", strips, note)


def scene_block(sources: Sources, dataset: PreparedDataset, clip_id: str, runs: Sequence[ShownRun]) -> Block:
    """Return true and predicted points and cameras of a clip for the viewer."""
    first = next(run for run in runs if clip_id in predicted_clips(run))
    queries = [int(v) for v in prediction(first, clip_id)["queries"]]
    shape = prediction(first, clip_id)["shape"]
    truth = _truth(dataset, clip_id, queries, tuple(int(n) for n in shape[1:]))
    if not truth.usable:
        return Missing(f"Clip {clip_id} has no usable geometry: {truth.reason}.")
    known = truth.depth > 0
    colours = np.stack([_shrunk(frame, truth.depth.shape[1:]) for frame in dataset.frames(clip_id, queries)])
    true = clouds.Cloud(truth.points[known], colours[known])
    true_path = clouds.path("true cameras", _TRUE, truth.world2cam)
    centre, radius = clouds.bounds(true.points, clouds.centres(truth.world2cam))
    items = [{"label": "Truth", "cloud": clouds.pack(true, centre, radius), "paths": [true_path]}]
    without: list[ShownRun] = []
    for run in runs:
        place = points_file(run, clip_id)
        if place is None or clip_id not in predicted_clips(run):
            without.append(run)
            continue
        cameras = np.asarray(prediction(run, clip_id)["world_to_camera"], np.float64).reshape(-1, 3, 4)
        try:
            cloud = clouds.pack(clouds.read_ply(place), centre, radius)
        except SpatialprobeError:
            without.append(run)
            continue
        tags = f" ({', '.join(sources.tags(run.who))})" if sources.tags(run.who) else ""
        outside = f", {cloud['left_out']} points far outside not drawn" if cloud["left_out"] else ""
        paths = [true_path, clouds.path("predicted cameras", _PREDICTED, cameras)]
        items.append({"label": f"{run.label}{tags}{outside}", "cloud": cloud, "paths": paths})
    note = (
        f"{len(queries)} queries. Predicted points after the similarity transform that fits them to the truth best; "
        "true cameras green, predicted ones red, as predicted. The first camera has a dot."
    )
    if without:
        names = ", ".join(run.label for run in without)
        command = commands.portable(commands.probe("predict", run=without[0].run_id))
        note += f" No points of this clip were kept by: {names}; {command} adds some."
    content: dict[str, Any] = {"clip": clip_id, "centre": centre, "radius": round(radius, 5), "items": items}
    fallback = "The viewer needs JavaScript and a canvas. The same points lie as PLY files in runs/<run id>/points."
    return Scene(f"Points and cameras in clip {clip_id}", content, fallback, note)


def _truth(dataset: PreparedDataset, clip_id: str, queries: Sequence[int], size: tuple[int, ...]) -> Geometry:
    depth = dataset.depth(clip_id, queries)
    return geometry_targets(depth, *dataset.cameras(clip_id, queries), size=(int(size[0]), int(size[1])))


def _maps(colours: NDArray[np.uint8], what: str, labels: Sequence[str], size: tuple[int, int]) -> list[Image]:
    return [map_image(c, f"{what}, {name}", name, size) for c, name in zip(colours, labels, strict=False)]


def _shrunk(frame: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.asarray(Pillow.fromarray(frame).resize((size[1], size[0]), Pillow.Resampling.BILINEAR))
