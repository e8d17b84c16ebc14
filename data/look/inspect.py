"""`spatialprobe data inspect`: what is in a prepared dataset, as tables for a person."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from configs.console import print_table
from configs.errors import malformed
from configs.files import read_sealed
from data.dataset.layout import plan_path
from data.dataset.reader import PreparedDataset
from data.dataset.splits import SPLITS
from data.dataset.targets import pixel_threshold


def positive_rates(dataset: PreparedDataset, split: str, *, min_positions: int = 2) -> NDArray[np.float64]:
    """Return for each class the share of a split's clips in which it is present, (C,) float64.

    All positions of a clip count, with the pixel threshold of the labels and at least `min_positions` positions
    (protocol, data 3.4). Clips without annotation are left out; NaN if none is left.
    """
    rows = []
    for clip_id in dataset.split(split):
        if not dataset.clips.at[clip_id, "has_tags"]:
            continue
        counts = dataset.class_pixels(clip_id, dataset.positions(clip_id).tolist()).astype(np.int64)
        enough = counts.sum(0) >= pixel_threshold(dataset.gt_size(clip_id))
        rows.append(enough & ((counts > 0).sum(0) >= min_positions))
    if not rows:
        return np.full(len(dataset.class_names), np.nan)
    rates: NDArray[np.float64] = np.stack(rows).mean(0)
    return rates


def inspect(dataset: PreparedDataset) -> None:
    """Print clips, splits, groups, sizes, classes and warnings."""
    clips, identity = dataset.clips, dataset.identity
    print(f"{dataset.name}: {identity['kind']}, {len(clips)} clips, parameters {dataset.fingerprint[:12]}")
    print(f"folder {dataset.path}\nlicence: {identity['licence']}\n")
    rows = []
    for split in SPLITS:
        part = clips[clips["split"] == split]
        frames = [int(part["n_frames"].sum()), int(part["n_pose_invalid"].sum()), int(part["n_dup_frames"].sum())]
        rows.append([split, len(part), part["group_id"].nunique(), *frames])
    print_table("Splits", ["split", "clips", "groups", "frames", "invalid poses", "repeated frames"], rows)
    empty = [row[0] for row in rows if row[1] == 0]
    if empty:
        print(f"warning: no clip in {' and '.join(map(str, empty))}; probes need all three splits")
    sizes = Counter((dataset.frame_size(c), dataset.gt_size(c), len(dataset.positions(c))) for c in clips["clip_id"])
    size_rows = [[f"{w}x{h}", f"{gw}x{gh}", t, n] for ((h, w), (gh, gw), t), n in sorted(sizes.items())]
    print()
    print_table("Sizes (width x height)", ["frame", "ground truth", "frames per clip", "clips"], size_rows)
    if len(dataset.class_names):
        print()
        _print_classes(dataset)
    print()
    _print_ground_truth(dataset)
    print()
    numbers = clips.select_dtypes("number").drop(columns=["rgb_h", "rgb_w", "gt_h", "gt_w"])
    print_table(
        "Numbers per clip", ["column", "min", "median", "max"],
        [[c, float(numbers[c].min()), float(numbers[c].median()), float(numbers[c].max())] for c in numbers],
    )  # fmt: skip
    plans = sorted(path.name.partition(".")[0] for path in plan_path(dataset.path, "x").parent.glob("*.json"))
    print(f"\nQuery plans: {', '.join(plans) or 'none'}")
    warnings = clips[clips["warnings"] != ""]
    for clip_id, text in zip(warnings["clip_id"], warnings["warnings"], strict=True):
        print(f"warning: {clip_id}: {text}")
    for path in sorted((dataset.path / "quarantine").glob("*.json")):
        record = read_sealed(path, fix="delete the file")
        with malformed("not the record of a clip that was set aside", path, "delete the file"):
            print(f"quarantined: {record['clip_id']}: {record['reason'].partition(chr(10))[0]}")


def _print_ground_truth(dataset: PreparedDataset) -> None:
    """What probes can learn from: in how many clips of each split it is there, and what is missing."""
    clips = dataset.clips
    posed = clips["has_depth"] & (clips["n_pose_invalid"] < clips["n_frames"])
    has = {"labels": clips["has_tags"], "instances": clips["has_instance"], "geometry": posed}
    needs = {"labels": "masks with classes", "instances": "masks", "geometry": "depth, poses and intrinsics"}
    rows: list[list[object]] = []
    for target, clips_with in has.items():
        counts = [int((clips_with & (clips["split"] == split)).sum()) for split in SPLITS]
        empty = [split for split, count in zip(SPLITS, counts, strict=True) if not count]
        verdict = "yes" if not empty else f"no: needs {needs[target]}" if len(empty) == 3 else f"no clip in {empty[0]}"
        rows.append([target, *counts, verdict])
    print_table(
        "Ground truth: clips that have it", ["target", *SPLITS, "complete"], rows,
        notes=["extraction needs none of this; finished probes can be applied to clips that have it"],
    )  # fmt: skip


def _print_classes(dataset: PreparedDataset) -> None:
    rates = {split: positive_rates(dataset, split) for split in SPLITS}
    sizes = {split: len(dataset.split(split)) for split in SPLITS}
    instances = dataset._instances.groupby("class_index").size()
    rows: list[list[object]] = []
    order = np.argsort(-np.nan_to_num(rates["train"]), kind="stable")
    for c in order:
        positives = [None if np.isnan(rates[s][c]) else round(float(rates[s][c]) * sizes[s]) for s in SPLITS]
        rate = None if np.isnan(rates["train"][c]) else float(rates["train"][c])
        rows.append([dataset.class_names[c], *positives, rate, int(instances.get(c, 0))])
    print_table(
        "Classes: clips in which each is present (whole clip, at least 2 frames)",
        ["class", *SPLITS, "train rate", "instances"],
        rows,
        notes=[f"instances outside the taxonomy: {int(instances.get(-1, 0))}"],
    )
