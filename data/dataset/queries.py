"""Which frames a probe asks for: the samplers, and frozen query plans.

Every draw comes from a generator keyed by (seed, epoch, clip), never from a shared state, so that workers, ranks,
order and resumption don't matter. Only `paper_queries` follows the published sequential seeding, to reproduce its
draws. A query plan is one file, the same for every model, frozen when it is first used. It is named
`<sampler>-<queries>`, with `-d<draws>` for several draws per clip and `-s<seed>` for another seed than 0: `paper-8`,
`random_start-4-d3-s1`. A plan `paper-*` holds the published draws: `default_rng(seed + place)` where place is the
clip's rank in the sorted list of training clips or of all other clips, so it belongs to exactly this set of clips.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console import get_logger
from configs.errors import (
    ConfigError,
    CorruptionError,
    DatasetError,
    MissingError,
    StaleError,
    VersionError,
    version_fix,
)
from configs.files import read_sealed, sealed, sha256_bytes, sha256_file, write_once
from configs.loader import closest
from data.dataset.layout import FORMAT, VERSION, plan_path
from data.dataset.reader import DatasetIndex, PreparedDataset

CONTEXT = 76
"""Positions 0..75 are the window that queries are drawn from (protocol: context_len)."""
GAP = 5
"""Smallest distance of two queries before snapping (protocol: min_view_interval)."""
SNAP = 4
"""Positions snap down to 0 or 4k + 1 (protocol: query_idx_divisor)."""
AUTO = "auto"
"""Stands for those of `DEFAULT_PLANS` that every clip of a dataset is long enough for."""
DEFAULT_PLANS = ("paper-4", "paper-8", "random_start-4", "random_start-8")
Sampler = Callable[[np.random.Generator, int, Sequence[int], NDArray[np.float64]], tuple[int, ...]]
log = get_logger("data.dataset.queries")
_NAME = re.compile(r"(?P<sampler>[a-z_]+)-(?P<queries>\d+)(?:-d(?P<draws>\d+))?(?:-s(?P<seed>\d+))?")


def clip_rng(seed: int, epoch: int, clip_id: str, purpose: str = "views") -> np.random.Generator:
    """Return the generator that belongs to (seed, epoch, clip, purpose) and to nothing else.

    The purpose of queries is spelt "views" because the word is part of the key: another one would draw others.
    """
    key = hashlib.blake2b(f"{purpose}/{seed}/{epoch}/{clip_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def snap(position: int) -> int:
    """Return the query position at or below a position: 0 -> 0, 1..4 -> 1, 5..8 -> 5 (protocol, query sampler)."""
    return max(0, SNAP * ((position - 1) // SNAP) + 1)


def span(legal: Sequence[int]) -> int:
    """Return how many positions a clip spans whose last query position is known: 73 -> 76."""
    return max(legal) + SNAP - 1 if max(legal) else 1


def paper_queries(index: int, n_queries: int, n_frames: int, seed: int = 0) -> tuple[int, ...]:
    """Return the published evaluation queries of the clip at place `index` of its list (protocol, metrics 1.5).

    Query 0 is frame 0; with slack s = W - (n-1) g - 1, W = min(76, n_frames), g = 5, n - 1 integers are drawn from
    {0..s} by numpy's `default_rng(seed + index)`, sorted, and query k is at k g + draw k, snapped.
    """
    return _gapped(np.random.default_rng(seed + index), n_queries, n_frames, first_fixed=True)


def _gapped(rng: np.random.Generator, n_queries: int, n_frames: int, *, first_fixed: bool) -> tuple[int, ...]:
    window = min(CONTEXT, n_frames)
    slack = window - (n_queries - 1) * GAP - 1
    if slack < 0:
        raise DatasetError(
            f"a clip of {n_frames} frames is too short for {n_queries} queries",
            expected=f"at least {(n_queries - 1) * GAP + 1} frames",
        )
    draws = np.sort(rng.integers(0, slack + 1, n_queries - 1 if first_fixed else n_queries))
    cuts = [0, *draws.tolist()] if first_fixed else draws.tolist()
    return tuple(snap(k * GAP + cut) for k, cut in enumerate(cuts))


def _paper(rng: np.random.Generator, n: int, legal: Sequence[int], centres: NDArray[np.float64]) -> tuple[int, ...]:
    return _gapped(rng, n, span(legal), first_fixed=True)


def _random_start(
    rng: np.random.Generator, n: int, legal: Sequence[int], centres: NDArray[np.float64]
) -> tuple[int, ...]:
    return _gapped(rng, n, span(legal), first_fixed=False)


def _uniform(rng: np.random.Generator, n: int, legal: Sequence[int], centres: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(legal[i] for i in np.round(np.linspace(0, len(legal) - 1, n)).astype(int))


def _baseline(rng: np.random.Generator, n: int, legal: Sequence[int], centres: NDArray[np.float64]) -> tuple[int, ...]:
    """A random reference, then again and again the query whose camera is farthest from all chosen ones."""
    usable = [i for i in range(len(legal)) if np.isfinite(centres[i]).all()]
    if len(usable) < n:
        raise DatasetError(f"{n} queries by camera distance need {n} valid poses", found=f"{len(usable)} valid poses")
    chosen = [usable[int(rng.integers(len(usable)))]]
    while len(chosen) < n:
        rest = [i for i in usable if i not in chosen]
        gaps = [min(float(np.linalg.norm(centres[i] - centres[j])) for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(gaps))])
    return (legal[chosen[0]], *sorted(legal[i] for i in chosen[1:]))


SAMPLERS: dict[str, Sampler] = {
    "paper": _paper,
    "random_start": _random_start,
    "uniform": _uniform,
    "baseline": _baseline,
}
"""paper: the published distribution, first query frame 0. random_start: the same gaps, any first query. uniform: evenly
spread, no randomness. baseline: far apart cameras."""


def draw_queries(
    sampler: str,
    n_queries: int,
    *,
    clip_id: str,
    seed: int,
    epoch: int,
    legal: Sequence[int],
    centres: NDArray[np.float64] | None = None,
) -> tuple[int, ...]:
    """Draw the queries of one sample.

    Args:
        sampler: name in `SAMPLERS`.
        n_queries: queries per sample, at least 1.
        clip_id, seed, epoch: key of the draw; seed 0 is a seed like any other.
        legal: positions that may be asked for, increasing: those with ground truth and features.
        centres: (len(legal), 3) camera centres, NaN where the pose is invalid; needed by "baseline".

    Returns:
        `n_queries` different positions, all legal; the first is the reference query.

    Raises:
        DatasetError: unknown sampler, or a clip that can't give so many queries.
    """
    if sampler not in SAMPLERS:
        raise DatasetError(f"unknown query sampler {sampler!r}", fix=closest(sampler, SAMPLERS))
    if n_queries < 1 or n_queries > len(legal):
        raise DatasetError(
            f"can't draw {n_queries} queries of clip {clip_id}", expected=f"1 to {len(legal)}", found=n_queries
        )
    points = np.zeros((len(legal), 3)) if centres is None else np.asarray(centres, np.float64)
    if centres is None and sampler == "baseline":
        raise DatasetError("queries by camera distance need camera centres", where=clip_id)
    queries = SAMPLERS[sampler](clip_rng(seed, epoch, clip_id), n_queries, legal, points)
    return check_queries(queries, legal, clip_id)


def check_queries(queries: Sequence[int], legal: Sequence[int], clip_id: str) -> tuple[int, ...]:
    """Return queries that are legal and different, or raise `DatasetError`."""
    wrong = sorted(set(queries) - set(legal))
    if wrong or len(set(queries)) != len(queries):
        raise DatasetError(
            f"queries {tuple(queries)} of clip {clip_id} can't be used",
            expected=f"different positions among {list(legal)}",
            found=wrong or "a position twice",
        )
    return tuple(int(query) for query in queries)


@dataclass(frozen=True)
class PlanName:
    """The parts of a plan's name."""

    sampler: str
    queries: int
    draws: int = 1
    seed: int = 0

    @classmethod
    def parse(cls, name: str) -> PlanName:
        """Read `<sampler>-<queries>[-d<draws>][-s<seed>]`.

        Raises:
            ConfigError: not a plan name, or an unknown sampler.
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise ConfigError(f"not a query plan: {name!r}", expected="<sampler>-<queries>, for example paper-8")
        if match["sampler"] not in SAMPLERS:
            raise ConfigError(f"unknown query sampler {match['sampler']!r}", fix=closest(match["sampler"], SAMPLERS))
        plan = cls(match["sampler"], int(match["queries"]), int(match["draws"] or 1), int(match["seed"] or 0))
        if plan.queries < 1 or plan.draws < 1:
            raise ConfigError(f"a query plan needs at least one query and one draw: {name!r}")
        return plan


@dataclass(frozen=True)
class QueryPlan:
    """A plan, frozen or just drawn.

    Attributes:
        name: the plan's name.
        queries: clip id -> one tuple of positions per draw; clips that can't give so many queries are left out.
        sha256: digest of the file that it has or will have, recorded with every result.
    """

    name: str
    queries: dict[str, list[tuple[int, ...]]]
    sha256: str

    def of(self, clip_id: str, draw: int = 0) -> tuple[int, ...]:
        """Return the queries of one clip and draw.

        Raises:
            MissingError: the plan leaves this clip out, because it is too short, or has fewer draws.
        """
        draws = self.queries.get(clip_id, [])
        if draw >= len(draws):
            raise MissingError(f"plan {self.name} has no draw {draw} of clip {clip_id}", found=f"{len(draws)} draws")
        return draws[draw]


def draw_plan(dataset: PreparedDataset, name: str) -> QueryPlan:
    """Draw a plan; nothing is written.

    Raises:
        ConfigError: not a plan name.
    """
    plan = PlanName.parse(name)
    place: dict[str, int] = {}
    for part in (dataset.split("train"), dataset.split("report", "paper")):
        place.update({clip_id: i for i, clip_id in enumerate(part)})
    queries: dict[str, list[tuple[int, ...]]] = {}
    for clip_id in map(str, dataset.clips["clip_id"]):
        legal = dataset.query_positions(clip_id)
        try:
            drawn = [_queries(dataset, plan, clip_id, place[clip_id], draw, legal) for draw in range(plan.draws)]
        except DatasetError as error:
            log.debug("clip %s is not in plan %s: %s", clip_id, name, error)
            continue
        queries[clip_id] = drawn
    return QueryPlan(name, queries, sha256_bytes(_plan_bytes(dataset, name, queries)))


def _queries(
    dataset: PreparedDataset, plan: PlanName, clip_id: str, place: int, draw: int, legal: Sequence[int]
) -> tuple[int, ...]:
    if plan.sampler == "paper":
        positions = dataset.positions(clip_id)
        frames = len(positions) if positions[-1] == len(positions) - 1 else span(legal)  # else only query frames exist
        seed = plan.seed + 1_000_003 * draw  # draw 0 is the published one
        return check_queries(paper_queries(place, plan.queries, frames, seed), legal, clip_id)
    cameras = dataset.cameras(clip_id, legal)
    centres = np.where(cameras.valid[:, None], cameras.cam2world[:, :3, 3], np.nan).astype(np.float64)
    return draw_queries(
        plan.sampler, plan.queries, clip_id=clip_id, seed=plan.seed, epoch=draw, legal=legal, centres=centres
    )


def load_plan(dataset: PreparedDataset, name: str) -> QueryPlan:
    """Return a plan from its file, or drawn anew if there is none; `freeze_plan` writes it.

    Raises:
        ConfigError: not a plan name.
        VersionError: another version wrote the file.
        CorruptionError: the file is damaged, or its clips are not those of the dataset.
    """
    path = plan_file(dataset, name)
    if not os.path.lexists(path):
        return draw_plan(dataset, name)
    return read_plan(dataset, path)


def read_plan(dataset: PreparedDataset, path: Path) -> QueryPlan:
    """Return the plan in a file, `plan_file(dataset, name)`, with every query checked against the dataset.

    Raises:
        ConfigError, VersionError, CorruptionError: as `load_plan`.
    """
    name = path.name.partition(".")[0]
    plan, fix = PlanName.parse(name), f"delete {path}: the plan is then made again, with the same queries"
    record = read_sealed(path, fix=fix, check=lambda found: _check_format(found, path, fix))
    split = dict(zip(dataset.clips["clip_id"], dataset.clips["split"], strict=True))
    try:
        if (record["plan"], record["dataset"]) != (name, dataset.fingerprint):
            raise ValueError(f"plan {record['plan']} of another dataset, or under another name")
        queries: dict[str, list[tuple[int, ...]]] = {}
        for clip_id, row in record["clips"].items():
            legal = dataset.query_positions(clip_id)
            drawn = [check_queries([int(position) for position in draw], legal, clip_id) for draw in row["queries"]]
            if [len(draw) for draw in drawn] != [plan.queries] * plan.draws or row["split"] != split[clip_id]:
                raise ValueError(f"clip {clip_id} has other draws, queries or another split than the plan says")
            queries[clip_id] = drawn
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise CorruptionError(f"not a readable query plan: {error}", where=path, fix=fix) from error
    return QueryPlan(name, queries, sha256_bytes(_plan_bytes(dataset, name, queries)))


def freeze_plan(dataset: PreparedDataset, plan: QueryPlan) -> None:
    """Write a plan to its file, from then on only read. To be called once everything that uses it has been checked.

    Raises:
        StaleError: the file holds other queries, written or changed since the plan was loaded.
    """
    path = plan_file(dataset, plan.name)
    path.parent.mkdir(exist_ok=True)
    if not path.exists() and write_once(path, _plan_bytes(dataset, plan.name, plan.queries)):
        return
    if sha256_file(path) != plan.sha256:
        raise StaleError("this query plan has changed since it was read", where=path, fix="run the same command again")


def freeze_plans(dataset: Path, names: Sequence[str]) -> None:
    """Freeze plans of a finished dataset.

    Args:
        dataset: its folder.
        names: the plans; `AUTO` for the default ones that every clip can give.

    Raises:
        ConfigError: not a plan name.
        DatasetError: a named plan fits no clip at all; then none is written.
    """
    opened = PreparedDataset(dataset)
    plans = {name: load_plan(opened, name) for name in names if name != AUTO}
    empty = [name for name, plan in plans.items() if not plan.queries]
    if empty:
        left = ",".join(name for name in names if name not in empty)
        raise DatasetError(
            f"no clip can give the queries of plan {' or '.join(empty)}", where=dataset,
            fix=f"the clips are too short for so many queries; run the same command again with plans=[{left}]",
        )  # fmt: skip
    for name in DEFAULT_PLANS if AUTO in names else ():
        plan = load_plan(opened, name)
        if left_out(opened, plan):
            log.info("plan %s is not made: %d clips are too short for it", name, len(left_out(opened, plan)))
        else:
            plans[name] = plan
    for name, plan in plans.items():
        if short := left_out(opened, plan):
            log.warning("plan %s leaves out %d clips that can't give its queries: %s", name, len(short), short[:5])
        freeze_plan(opened, plan)


def left_out(dataset: PreparedDataset, plan: QueryPlan) -> list[str]:
    """Return the clips that a plan leaves out because they can't give so many queries."""
    return [str(clip_id) for clip_id in dataset.clips["clip_id"] if clip_id not in plan.queries]


def plan_file(dataset: DatasetIndex, name: str) -> Path:
    """Return the file of a plan, which may not exist yet; a grown dataset gets plans of its own."""
    members = sorted(zip(dataset.clips["clip_id"], dataset.clips["split"], strict=True))
    clips = sha256_bytes(repr([(str(a), str(b)) for a, b in members]).encode())[:8]
    return plan_path(dataset.path, f"{name}.{clips}")


def _plan_bytes(dataset: PreparedDataset, name: str, queries: dict[str, list[tuple[int, ...]]]) -> bytes:
    """Return a plan as JSON with one clip per line and its own digest; the same plan gives the same bytes."""
    split = dict(zip(dataset.clips["clip_id"], dataset.clips["split"], strict=True))
    top = {"format": f"{FORMAT}-plan", "version": VERSION, "plan": name, "dataset": dataset.fingerprint}
    rows = [
        f"  {json.dumps(clip_id)}: {json.dumps({'split': split[clip_id], 'queries': draws})}"
        for clip_id, draws in queries.items()
    ]
    facts = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in top.items()]
    clips = ' "clips": {\n' + ",\n".join(rows) + "\n }"
    return sealed(("{\n" + ",\n".join([*facts, clips]) + "\n}").encode())


def _check_format(found: dict[str, object], path: Path, fix: str) -> None:
    if (found.get("format"), found.get("version")) != (f"{FORMAT}-plan", VERSION):
        raise VersionError(
            "not a query plan, or one of another version", expected=f"version {VERSION}",
            found=found.get("version"), where=path, fix=version_fix(found.get("version"), VERSION, fix),
        )  # fmt: skip
