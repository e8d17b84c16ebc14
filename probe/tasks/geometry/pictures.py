"""Depth with its error, points from above, camera paths, and point clouds as PLY."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.dataset.reader import PreparedDataset
from data.dataset.targets import geometry_targets
from probe import pictures
from probe.tasks.geometry.metrics.points import align_similarity


def draw_clip(dataset: PreparedDataset, prediction: dict[str, Any], folder: Path) -> None:
    """Write `pictures/<clip>.png`, `pictures/<clip>-above.png` and `points/<clip>-{true,predicted}.ply`."""
    clip_id, queries = prediction["clip_id"], prediction["queries"]
    depth = np.asarray(prediction["depth"]).reshape(prediction["shape"])
    size = (depth.shape[1], depth.shape[2])
    truth = geometry_targets(dataset.depth(clip_id, queries), *dataset.cameras(clip_id, queries), size=size)
    frames = dataset.frames(clip_id, queries)
    known = truth.depth > 0
    if not known.any():
        return
    scaled = depth * np.median(truth.depth[known]) / max(float(np.median(depth[known])), 1e-9)
    low, high = (float(x) for x in np.percentile(truth.depth[known], (2, 98)))
    error = np.abs(scaled - truth.depth) / np.where(known, truth.depth, 1)
    rows = {
        "frames": list(frames),
        "true depth": list(pictures.ramp(truth.depth, low, high, known)),
        "predicted depth, one scale per clip": list(pictures.ramp(scaled, low, high)),
        "relative error, 0 to 0.3": list(pictures.ramp(error, 0, 0.3, known)),
    }
    pictures.save(pictures.sheet(clip_id, rows), folder / "pictures" / f"{clip_id}.png")
    colours = np.concatenate([_shrunk(frame, size).reshape(-1, 3) for frame in frames])
    cameras = {
        "true cameras": (_centres(truth.world2cam.astype(np.float64)[:, :3]), "green"),
        "predicted cameras": (_centres(np.asarray(prediction["world_to_camera"]).reshape(-1, 3, 4)), "red"),
    }
    clouds = {"true points": (truth.points[known], colours[known.reshape(-1)])}
    if "_points" in prediction:
        predicted = prediction["_points"]
        clouds["predicted points, aligned"] = (_aligned(predicted, truth.points, known), colours[known.reshape(-1)])
    picture = pictures.seen_from_above(f"{clip_id} from above", clouds, cameras)
    pictures.save(picture, folder / "pictures" / f"{clip_id}-above.png")
    for name, (points, tints) in zip(("true", "predicted"), clouds.values(), strict=False):
        pictures.write_ply(folder / "points" / f"{clip_id}-{name}.ply", points, tints)


def _aligned(points: NDArray[Any], truth: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Known points after the similarity that fits them to the truth; as they are where it is not determined."""
    source, target = points[known].astype(np.float64), truth[known].astype(np.float64)
    found = align_similarity(source, target)
    return source if isinstance(found, str) else found(source)


def _centres(world_to_camera: NDArray[Any]) -> NDArray[np.float64]:
    rotation, translation = world_to_camera[:, :, :3], world_to_camera[:, :, 3]
    return np.asarray(-np.einsum("vji,vj->vi", rotation, translation))


def _shrunk(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR))
