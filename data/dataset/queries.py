"""Frozen evaluation views: one Parquet file per plan, made once, the same for every model.

A plan is named `<sampler>-<views>`, with `-d<draws>` for several draws per clip and `-s<seed>` for another seed than 0:
`paper-8`, `random_start-4-d3-s1`. Plan `paper-*` holds the published draws: `default_rng(seed + place)` where place is
the clip's rank in the sorted list of training clips or of all other clips, so it belongs to exactly this set of clips.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.console import get_logger
from configs.errors import ConfigError, CorruptionError, DatasetError, MissingError
from configs.loader import closest
from data.dataset.files import sha256_bytes, write_once
from data.dataset.layout import plan_path
from data.dataset.tables import parquet_bytes
from data.dataset.views import SAMPLERS, check_views, draw_views, paper_views, span

if TYPE_CHECKING:
    import pandas as pd

    from data.dataset.reader import PreparedDataset

log = get_logger("data.dataset.queries")
_NAME = re.compile(r"(?P<sampler>[a-z_]+)-(?P<views>\d+)(?:-d(?P<draws>\d+))?(?:-s(?P<seed>\d+))?")


@dataclass(frozen=True)
class PlanName:
    """The parts of a plan's name."""

    sampler: str
    views: int
    draws: int = 1
    seed: int = 0

    @classmethod
    def parse(cls, name: str) -> PlanName:
        """Read `<sampler>-<views>[-d<draws>][-s<seed>]`.

        Raises:
            ConfigError: not a plan name, or an unknown sampler.
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise ConfigError(f"not a view plan: {name!r}", expected="<sampler>-<views>, for example paper-8")
        if match["sampler"] not in SAMPLERS:
            raise ConfigError(f"unknown view sampler {match['sampler']!r}", fix=closest(match["sampler"], SAMPLERS))
        plan = cls(match["sampler"], int(match["views"]), int(match["draws"] or 1), int(match["seed"] or 0))
        if plan.views < 1 or plan.draws < 1:
            raise ConfigError(f"a view plan needs at least one view and one draw: {name!r}")
        return plan


@dataclass(frozen=True)
class ViewPlan:
    """A frozen plan.

    Attributes:
        name: the plan's name.
        views: clip id -> one tuple of positions per draw.
        sha256: digest of the file, recorded with every result.
    """

    name: str
    views: dict[str, list[tuple[int, ...]]]
    sha256: str

    def of(self, clip_id: str, draw: int = 0) -> tuple[int, ...]:
        """Return the views of one clip and draw.

        Raises:
            MissingError: the plan leaves this clip out, because it is too short, or has fewer draws.
        """
        draws = self.views.get(clip_id, [])
        if draw >= len(draws):
            raise MissingError(f"plan {self.name} has no draw {draw} of clip {clip_id}", found=f"{len(draws)} draws")
        return draws[draw]


def make_plan(dataset: PreparedDataset, name: str) -> pd.DataFrame:
    """Return a plan as a table: clip_id, split, draw, views (list of positions); too short clips are left out."""
    import pandas as pd

    plan = PlanName.parse(name)
    split = dict(zip(dataset.clips["clip_id"], dataset.clips["split"], strict=True))
    place: dict[str, int] = {}
    for part in (dataset.split("train"), dataset.split("report", "paper")):
        place.update({clip_id: i for i, clip_id in enumerate(part)})
    rows: list[tuple[str, str, int, tuple[int, ...]]] = []
    short: list[str] = []
    for clip_id in dataset.clips["clip_id"]:
        legal = dataset.query_positions(clip_id)
        try:
            drawn = [_views(dataset, plan, clip_id, place[clip_id], draw, legal) for draw in range(plan.draws)]
        except DatasetError as error:
            short.append(clip_id)
            log.debug("clip %s is not in plan %s: %s", clip_id, name, error)
            continue
        rows += [(clip_id, split[clip_id], draw, views) for draw, views in enumerate(drawn)]
    if short:
        log.warning("plan %s leaves out %d clips that can't give %d views: %s", name, len(short), plan.views, short[:5])
    return pd.DataFrame(rows, columns=["clip_id", "split", "draw", "views"])


def _views(
    dataset: PreparedDataset, plan: PlanName, clip_id: str, place: int, draw: int, legal: Sequence[int]
) -> tuple[int, ...]:
    if plan.sampler == "paper":
        positions = dataset.positions(clip_id)
        frames = len(positions) if positions[-1] == len(positions) - 1 else span(legal)  # else only query frames exist
        seed = plan.seed + 1_000_003 * draw  # draw 0 is the published one
        return check_views(paper_views(place, plan.views, frames, seed), legal, clip_id)
    cameras = dataset.cameras(clip_id, legal)
    centres = np.where(cameras.valid[:, None], cameras.cam2world[:, :3, 3], np.nan).astype(np.float64)
    return draw_views(
        plan.sampler, plan.views, clip_id=clip_id, seed=plan.seed, epoch=draw, legal=legal, centres=centres
    )


def write_plans(dataset: Path, names: Sequence[str]) -> None:
    """Freeze plans that are not there yet; one that fits no clip at all is an error."""
    from data.dataset.reader import PreparedDataset

    opened = PreparedDataset(dataset)
    empty = [name for name in names if not load_plan(opened, name).views]
    if empty:
        left = ",".join(name for name in names if name not in empty)
        raise DatasetError(
            f"no clip can give the views of plan {' or '.join(empty)}", where=dataset,
            fix=f"the clips are too short for so many views; run the same command again with plans=[{left}]",
        )  # fmt: skip


def load_plan(dataset: PreparedDataset, name: str) -> ViewPlan:
    """Return a plan from its file; it is made, frozen and from then on only read if there is none.

    Raises:
        ConfigError: not a plan name.
        CorruptionError: the file is damaged, or its clips are not those of the dataset.
    """
    import io

    import pandas as pd

    path = plan_path(dataset.path, f"{name}.{_clips_key(dataset)}")
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        write_once(path, parquet_bytes(make_plan(dataset, name)))
    content = path.read_bytes()
    fix = f"delete {path}: the plan is then made again, with the same views"
    try:
        table = pd.read_parquet(io.BytesIO(content))
        views: dict[str, list[tuple[int, ...]]] = {}
        for clip_id, positions in zip(table["clip_id"], table["views"], strict=True):
            legal = dataset.query_positions(clip_id)
            views.setdefault(clip_id, []).append(check_views([int(p) for p in positions], legal, clip_id))
    except (OSError, ValueError, KeyError, LookupError) as error:
        raise CorruptionError(f"not a readable view plan: {error}", where=path, fix=fix) from error
    return ViewPlan(name, views, sha256_bytes(content))


def _clips_key(dataset: PreparedDataset) -> str:
    """Eight characters that name the set of clips and their splits: a grown dataset gets plans of its own."""
    members = sorted(zip(dataset.clips["clip_id"], dataset.clips["split"], strict=True))
    return sha256_bytes(repr([(str(a), str(b)) for a, b in members]).encode())[:8]
