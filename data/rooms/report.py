"""Facts about a set of rooms that scores are read against: ceilings per grid, and what sampled queries get to see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs import commands
from configs.console import print_table
from configs.errors import DatasetError
from configs.files import sealed_json, write_atomic
from data.dataset.ceilings import GRIDS, depth_floor, instance_score, perfect_cells
from data.dataset.queries import draw_queries
from data.dataset.reader import PreparedDataset
from data.dataset.targets import pixel_threshold

QUERIES = 8
"""Queries of one sample, as for tagging and instances (published protocol)."""
REPORT = "report.json"
CEILINGS = ("t_miou", "t_sr", "depth_abs_rel", "depth_rmse")
CLASS_FACTS = ("clips_positive", "clips_positive_in_queries", "queries_when_positive")


class Truth(NamedTuple):
    """The dense ground truth of one clip.

    Attributes:
        clip_id: names the clip and keys the draw of its queries.
        positions: (G,) positions with ground truth.
        instance: (G, H, W) ids, 0 = none.
        depth: (G, H, W) metres.
        class_pixels: (G, C) pixels of each class.
        things: ids of the annotated things.
    """

    clip_id: str
    positions: Sequence[int]
    instance: NDArray[np.uint16]
    depth: NDArray[np.float32]
    class_pixels: NDArray[np.int32]
    things: Sequence[int]


def truths_of_dataset(dataset: PreparedDataset) -> Iterator[Truth]:
    """Read the ground truth of a prepared dataset at the query positions, clip by clip."""
    for clip_id in dataset.clips["clip_id"]:
        query = list(dataset.query_positions(clip_id))
        table = dataset.instances(clip_id)
        yield Truth(
            clip_id,
            query,
            dataset.instance_maps(clip_id, query),
            dataset.depth(clip_id, query),
            dataset.class_pixels(clip_id, query),
            table["instance"][table["is_thing"]].tolist(),
        )


def report(truths: Iterable[Truth], class_names: Sequence[str], *, queries: int = QUERIES) -> dict[str, Any]:
    """Summarise the ground truth of all clips.

    Queries are drawn once per clip with the published distribution (seed 0, epoch 0); clips with fewer query positions
    than `queries` use all of them.

    Args:
        truths: ground truth, clip by clip; consumed once.
        class_names: names in index order.
        queries: queries per sample.

    Returns:
        JSON types only. `ceilings`: per grid T-mIoU and T-SR of perfect cells, relative and root mean square depth
        error of cell means, means over clips. `classes`: per class the share of clips in which it is positive in all
        query frames and in the sampled queries, and the mean number of sampled queries that show it where it is
        positive. `instances`: objects per clip, how many sampled queries show each, and the share seen in two or more.

    Raises:
        DatasetError: there is no clip.
    """
    scores: dict[int, list[tuple[float, float, float, float]]] = {grid: [] for grid in GRIDS}
    full, sampled, class_queries, seen_in, objects = [], [], [], [], []
    for truth in truths:
        rows = _sample(truth, queries)
        instance, depth = truth.instance[rows], truth.depth[rows]
        for grid in GRIDS:
            if grid <= min(instance.shape[1:]):
                found = instance_score(perfect_cells(instance, grid), instance)
                scores[grid].append((found.t_miou, found.t_sr, *depth_floor(depth, grid)))
        threshold = pixel_threshold((instance.shape[1], instance.shape[2]))
        full.append(truth.class_pixels.sum(axis=0) >= threshold)
        sampled.append(truth.class_pixels[rows].sum(axis=0) >= threshold)
        class_queries.append((truth.class_pixels[rows] > 0).sum(axis=0))
        counts = np.array([[(frame == thing).any() for thing in truth.things] for frame in instance], int)
        shown = counts.reshape(len(rows), -1).sum(axis=0)
        seen_in.extend(shown[shown > 0].tolist())
        objects.append(int((shown > 0).sum()))
    if not full:
        raise DatasetError("there is no clip to report on", fix=commands.data("prepare", kind="rooms"))
    positive, drawn, counted = np.array(full), np.array(sampled), np.array(class_queries)
    shown_in = np.array(seen_in or [0])
    return {
        "clips": len(full),
        "queries": queries,
        "ceilings": {f"{grid}x{grid}": _means(values) for grid, values in scores.items() if values},
        "classes": {
            name: {
                "clips_positive": float(positive[:, c].mean()),
                "clips_positive_in_queries": float(drawn[:, c].mean()),
                "queries_when_positive": float(counted[drawn[:, c], c].mean()) if drawn[:, c].any() else None,
            }
            for c, name in enumerate(class_names)
        },
        "positives_lost_by_sampling": float((positive & ~drawn).sum() / max(int(positive.sum()), 1)),
        "instances": {
            "objects_per_clip": float(np.mean(objects)),
            "queries_per_object": float(shown_in.mean()),
            "seen_in_two_or_more": float((shown_in >= 2).mean()),
            "queries_histogram": np.bincount(shown_in, minlength=queries + 1)[1:].tolist(),
        },
    }


def _sample(truth: Truth, queries: int) -> list[int]:
    """Return the rows of a clip's ground truth that one sample looks at."""
    positions = list(truth.positions)
    if len(positions) <= queries or max(positions) < (queries - 1) * 5:
        return list(range(min(queries, len(positions))))
    chosen = draw_queries("paper", queries, clip_id=truth.clip_id, seed=0, epoch=0, legal=positions)
    return [positions.index(position) for position in chosen]


def _means(values: list[tuple[float, float, float, float]]) -> dict[str, float]:
    mean = np.mean(values, axis=0).tolist()
    return dict(zip(CEILINGS, mean, strict=True))


def store_report(folder: Path) -> Path:
    """Compute the report of a prepared dataset and store it as report.json in its folder; return the file."""
    dataset = PreparedDataset(folder)
    path = folder / REPORT
    write_atomic(path, sealed_json(report(truths_of_dataset(dataset), dataset.class_names)))
    return path


def print_report(content: Mapping[str, Any]) -> None:
    """Print ceilings, classes and instances as tables for a person."""
    grids = sorted(content["ceilings"].items(), key=lambda item: int(item[0].partition("x")[0]))
    rows = [[grid, *(values[name] for name in CEILINGS)] for grid, values in grids]
    print_table(
        "Best possible per grid", ["grid", "T-mIoU", "T-SR", "depth abs rel", "depth rmse"], rows,
        notes=["perfect cells: every cell knows its most frequent instance and its mean depth"],
    )  # fmt: skip
    print()
    order = sorted(content["classes"].items(), key=lambda item: -item[1]["clips_positive"])
    print_table(
        f"Classes in {content['queries']} sampled queries",
        ["class", "clips positive", "in the queries", "queries that show it"],
        [[name, *(values[key] for key in CLASS_FACTS)] for name, values in order],
        notes=[f"{content['positives_lost_by_sampling']:.1%} of the positives are lost by sampling"],
    )
    print()
    found = content["instances"]
    histogram = found["queries_histogram"]
    print_table(
        f"Objects in {content['queries']} sampled queries",
        ["seen in queries", *[str(k + 1) for k in range(len(histogram))]],
        [["objects", *histogram]],
        notes=[
            f"{found['objects_per_clip']:.1f} objects per clip, each in {found['queries_per_object']:.1f} queries, "
            f"{found['seen_in_two_or_more']:.0%} in two or more"
        ],
    )
