"""`spatialprobe data verify`: re-hashes every file, checks query plans, and re-checks the geometry of every clip."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import commands
from configs.console import Progress, print_table
from configs.errors import CorruptionError, DatasetError, MissingError, SpatialprobeError
from configs.files import read_sealed, sha256_file
from configs.jobs import run_jobs
from data.dataset.check import describe_invalid
from data.dataset.clip_files import read_clip_record
from data.dataset.layout import clip_folder
from data.dataset.queries import left_out, plan_file, read_plan
from data.dataset.reader import PreparedDataset
from data.look.reprojection import MIN_COVISIBLE, Pair, find_mistake, reproject
from data.raw.depth import DOUBTFUL, doubtful_depth

LIMITS = {"oracle": (0.01, 0.85), "sensor": (0.05, 0.6)}
"""Depth kind -> relative tolerance and smallest share of co-visible pixels that must agree between neighbours; depth of
teachers is held to the limits of sensors."""
DISTANCE = 3
"""Query frames from one frame of a pair to the other where mistakes are looked for; neighbours move too little."""


class ClipReport(NamedTuple):
    """What verification found in one clip: problems, and shares of agreeing depth and ids (NaN if not comparable).

    `doubts` are depth maps that look wrong, which is no proof that they are.
    """

    problems: list[str]
    depth: float
    instance: float
    doubts: list[str]


def verify(dataset: PreparedDataset, *, workers: int = 0, pairs: int = 6) -> int:
    """Check every byte and the geometry of a dataset; print what is wrong.

    Args:
        dataset: opened, so its tables already fit the manifest.
        workers: processes; 0 = one per core.
        pairs: neighbouring frame pairs per clip that are reprojected.

    Returns:
        The number of clips with problems, and of problems outside the clips.
    """
    whole = dataset_problems(dataset)
    clip_ids = list(dataset.clips["clip_id"])
    check = functools.partial(verify_clip, dataset.path, pairs)
    reports: dict[str, ClipReport] = {}
    with Progress(len(clip_ids), f"verifying {dataset.name}") as bar:
        for clip_id, result in run_jobs(check, clip_ids, workers):
            if isinstance(result, BaseException):
                raise result
            reports[clip_id] = result
            bar.advance()
    foreign = sorted(p.name for p in (dataset.path / "clips").iterdir() if p.name not in reports)
    for name in foreign:
        kind = "left by an interrupted run" if name.startswith(".tmp-") else "not in the index"
        print(f"note: clips/{name} is {kind}; it is not used")
    apart = [c for c, r in reports.items() if dataset.clips.at[c, "has_depth"] and np.isnan(r.depth) and not r.problems]
    if apart:
        print(
            f"note: the geometry of {len(apart)} clips with depth can't be checked ({apart[0]}, ...): no two "
            f"neighbouring frames with valid poses share {MIN_COVISIBLE:.0%} of the picture"
        )
    for problem in whole:
        print(f"{dataset.name}: {problem}")
    for clip_id, report in sorted(reports.items()):
        for doubt in report.doubts:
            print(f"warning: {clip_id}: {doubt}")
    bad = {clip_id: report for clip_id, report in reports.items() if report.problems}
    for clip_id, report in sorted(bad.items()):
        for problem in report.problems:
            print(f"{clip_id}: {problem}")
    depth = [r.depth for r in reports.values() if not np.isnan(r.depth)]
    ids = [r.instance for r in reports.values() if not np.isnan(r.instance)]
    row = [len(reports), len(bad), *(float(f(x)) if x else None for x in (depth, ids) for f in (np.min, np.median))]
    columns = ["clips", "with problems", "depth agrees: min", "median", "ids agree: min", "median"]
    print_table(f"Verified {dataset.name}", columns, [row])
    if bad:
        again = commands.data("prepare")
        print(f"fix: delete the folders of these clips in {dataset.path / 'clips'} and run the same `{again}` again")
    return len(bad) + len(whole)


def dataset_problems(dataset: PreparedDataset) -> list[str]:
    """Check what a dataset has beside its tables and clips: query plans, report.json, reasons in quarantine/."""
    problems = []
    files = [path for path in sorted((dataset.path / "queries").glob("*")) if not path.name.startswith(".tmp-")]
    for path in files:
        name = path.name.partition(".")[0]
        again = f"delete {path}"
        try:
            if path == plan_file(dataset, name):
                plan = read_plan(dataset, path)
                if short := left_out(dataset, plan):
                    print(f"note: plan {name} leaves out {len(short)} clips that are too short ({short[0]}, ...)")
            else:
                read_sealed(path, fix=again)
                print(f"note: queries/{path.name} is for another set of clips; it is not used")
        except SpatialprobeError as error:
            problems.append(str(error))
    again = f"delete it and run the same `{commands.data('prepare')}` again"
    for path in [*dataset.path.glob("report.json"), *sorted((dataset.path / "quarantine").glob("*.json"))]:
        try:
            read_sealed(path, fix=again)
        except SpatialprobeError as error:
            problems.append(str(error))
    return problems


def verify_clip(dataset: Path, pairs: int, clip_id: str) -> ClipReport:
    """Check one clip: its record against the index, its files against the record, its frames against each other."""
    folder = clip_folder(dataset, clip_id)
    opened = _opened(str(dataset))
    problems: list[str] = []
    doubts: list[str] = []
    depth = instance = float("nan")
    try:
        record = read_clip_record(dataset, clip_id)
        problems += _file_problems(folder, record, str(opened.clips.at[clip_id, "clip_sha256"]))
        if not problems:
            opened.frames(clip_id, opened.positions(clip_id).tolist())
            doubts = _doubts(opened, clip_id, record["warnings"])
            depth, instance = _geometry(opened, clip_id, pairs)
            tolerance, limit = LIMITS.get(str(opened.clips.at[clip_id, "depth_kind"]), LIMITS["sensor"])
            mistake = find_mistake(_distant_pairs(opened, clip_id, pairs), tolerance)
            if mistake is not None:
                problems.append(mistake)
            elif depth < limit:
                problems.append(f"only {depth:.0%} of co-visible pixels agree in depth (at least {limit:.0%} expected)")
    except (CorruptionError, MissingError, DatasetError) as error:
        problems.append(str(error))
    return ClipReport(problems, depth, instance, doubts)


def _doubts(dataset: PreparedDataset, clip_id: str, warnings: Sequence[str]) -> list[str]:
    """Depth maps that look wrong: those that `prepare` found by their raw values, and those that show now."""
    found = [text for text in warnings if DOUBTFUL in text]
    legal = list(dataset.query_positions(clip_id))
    if not dataset.clips.at[clip_id, "has_depth"] or not legal:
        return found
    reasons = doubtful_depth(dataset.depth(clip_id, legal), step=None, metres=dataset.identity["units"] == "metres")
    numbers = dataset.sources(clip_id)[0][np.searchsorted(dataset.positions(clip_id), legal)]
    again = describe_invalid(reasons, numbers, what=DOUBTFUL)
    return [*found, *(text for text in again if text not in found)]


def _distant_pairs(dataset: PreparedDataset, clip_id: str, count: int) -> list[Pair]:
    """Some pairs of query frames so far apart that the camera has moved; none without depth."""
    if not dataset.clips.at[clip_id, "has_depth"]:
        return []
    legal = list(dataset.query_positions(clip_id))
    valid = dataset.cameras(clip_id, legal).valid
    usable = [(i, i + DISTANCE) for i in range(len(legal) - DISTANCE) if valid[i] and valid[i + DISTANCE]]
    pairs = []
    for k in np.linspace(0, len(usable) - 1, min(count, len(usable))).astype(int):
        two = [legal[i] for i in usable[k]]
        cameras = dataset.cameras(clip_id, two)
        pairs.append(Pair(dataset.depth(clip_id, two), cameras.intrinsics, cameras.cam2world))
    return pairs


def _file_problems(folder: Path, record: dict[str, Any], clip_sha256: str) -> list[str]:
    problems = []
    if sha256_file(folder / "clip.json") != clip_sha256:
        problems.append(f"{folder / 'clip.json'} is not the one in the index")
    expected: dict[str, str] = {name: facts.sha256 for name, facts in record["files"].items()}
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"clip.json"}
    problems += [f"{folder / name} is missing" for name in sorted(expected.keys() - present)]
    problems += [f"{folder / name} does not belong to the clip" for name in sorted(present - expected.keys())]
    changed = [name for name in sorted(expected.keys() & present) if sha256_file(folder / name) != expected[name]]
    return problems + [f"{folder / name} is not the file that was written" for name in changed]


def _geometry(dataset: PreparedDataset, clip_id: str, pairs: int) -> tuple[float, float]:
    """Lowest depth agreement and lowest id agreement over some neighbouring pairs of frames with valid poses."""
    row = dataset.clips.loc[clip_id]
    if not row["has_depth"]:
        return float("nan"), float("nan")
    legal = list(dataset.query_positions(clip_id))
    cameras = dataset.cameras(clip_id, legal)
    usable = [i for i in range(len(legal) - 1) if cameras.valid[i] and cameras.valid[i + 1]]
    chosen = usable if len(usable) <= pairs else [usable[k] for k in np.linspace(0, len(usable) - 1, pairs).astype(int)]
    tolerance = LIMITS.get(str(row["depth_kind"]), LIMITS["sensor"])[0]
    depths, instances = [], []
    for i in chosen:
        two = [legal[i], legal[i + 1]]
        depth = dataset.depth(clip_id, two)
        ids = dataset.instance_maps(clip_id, two) if row["has_instance"] else None
        k, pose = cameras.intrinsics[i : i + 2], cameras.cam2world[i : i + 2]
        pair = None if ids is None else (ids[0], ids[1])
        result = reproject(depth[0], depth[1], (k[0], k[1]), (pose[0], pose[1]), pair, tolerance=tolerance)
        if result.covisible >= MIN_COVISIBLE * depth[0].size:
            depths.append(result.depth)
            instances.append(result.instance)
    share = float(np.median(depths)) if depths else float("nan")
    known = [value for value in instances if not np.isnan(value)]
    return share, float(np.median(known)) if known else float("nan")


@functools.lru_cache(maxsize=2)
def _opened(path: str) -> PreparedDataset:
    return PreparedDataset(path)
