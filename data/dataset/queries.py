"""Frozen evaluation views: one Parquet file per plan, made once, the same for every model.

A plan is named `<sampler>-<views>`, with `-d<draws>` for several draws per clip and `-s<seed>` for another seed than 0:
`paper-8`, `random_start-4-d3-s1`. Plan `paper-*` holds the published draws: `default_rng(seed + place)` where place is
the clip's rank in the sorted list of training clips or of all other clips, so it belongs to exactly this set of clips.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.console import get_logger
from configs.errors import ConfigError, CorruptionError, DatasetError, MissingError
from configs.loader import closest
from data.dataset.files import sha256_bytes, write_once
from data.dataset.layout import plan_path
from data.dataset.tables import parquet_bytes

if TYPE_CHECKING:
    import pandas as pd

    from data.dataset.reader import PreparedDataset

CONTEXT = 76
"""Positions 0..75 are the window that views are drawn from (protocol: context_len)."""
GAP = 5
"""Smallest distance of two views before snapping (protocol: min_view_interval)."""
SNAP = 4
"""Positions snap down to 0 or 4k + 1 (protocol: query_idx_divisor)."""


def clip_rng(seed: int, epoch: int, clip_id: str, purpose: str = "views") -> np.random.Generator:
    """Return the generator that belongs to (seed, epoch, clip, purpose) and to nothing else."""
    key = hashlib.blake2b(f"{purpose}/{seed}/{epoch}/{clip_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def snap(position: int) -> int:
    """Return the query position at or below a position: 0 -> 0, 1..4 -> 1, 5..8 -> 5 (protocol, view sampler)."""
    return max(0, SNAP * ((position - 1) // SNAP) + 1)


def span(legal: Sequence[int]) -> int:
    """Return how many positions a clip spans whose last query position is known: 73 -> 76."""
    return max(legal) + SNAP - 1 if max(legal) else 1


def paper_views(index: int, n_views: int, n_frames: int, seed: int = 0) -> tuple[int, ...]:
    """Return the published evaluation views of the clip at place `index` of its list (protocol, metrics 1.5).

    View 0 is frame 0; with slack s = W - (n-1) g - 1, W = min(76, n_frames), g = 5, n - 1 integers are drawn from
    {0..s} by numpy's `default_rng(seed + index)`, sorted, and view k is at k g + draw k, snapped.
    """
    return _gapped(np.random.default_rng(seed + index), n_views, n_frames, first_fixed=True)


def _gapped(rng: np.random.Generator, n_views: int, n_frames: int, *, first_fixed: bool) -> tuple[int, ...]:
    window = min(CONTEXT, n_frames)
    slack = window - (n_views - 1) * GAP - 1
    if slack < 0:
        raise DatasetError(
            f"a clip of {n_frames} frames is too short for {n_views} views",
            expected=f"at least {(n_views - 1) * GAP + 1} frames",
        )
    draws = np.sort(rng.integers(0, slack + 1, n_views - 1 if first_fixed else n_views))
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
    """A random reference, then again and again the view whose camera is farthest from all chosen ones."""
    usable = [i for i in range(len(legal)) if np.isfinite(centres[i]).all()]
    if len(usable) < n:
        raise DatasetError(f"{n} views by camera distance need {n} valid poses", found=f"{len(usable)} valid poses")
    chosen = [usable[int(rng.integers(len(usable)))]]
    while len(chosen) < n:
        rest = [i for i in usable if i not in chosen]
        gaps = [min(float(np.linalg.norm(centres[i] - centres[j])) for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(gaps))])
    return (legal[chosen[0]], *sorted(legal[i] for i in chosen[1:]))


Sampler = Callable[[np.random.Generator, int, Sequence[int], NDArray[np.float64]], tuple[int, ...]]
SAMPLERS: dict[str, Sampler] = {
    "paper": _paper,
    "random_start": _random_start,
    "uniform": _uniform,
    "baseline": _baseline,
}
"""paper: the published distribution, first view frame 0. random_start: the same gaps, any first view. uniform: evenly
spread, no randomness. baseline: far apart cameras."""


def draw_views(
    sampler: str,
    n_views: int,
    *,
    clip_id: str,
    seed: int,
    epoch: int,
    legal: Sequence[int],
    centres: NDArray[np.float64] | None = None,
) -> tuple[int, ...]:
    """Draw the views of one sample.

    Args:
        sampler: name in `SAMPLERS`.
        n_views: views per sample, at least 1.
        clip_id, seed, epoch: key of the draw; seed 0 is a seed like any other.
        legal: positions that may be asked for, increasing: those with ground truth and features.
        centres: (len(legal), 3) camera centres, NaN where the pose is invalid; needed by "baseline".

    Returns:
        `n_views` different positions, all legal; the first is the reference view.

    Raises:
        DatasetError: unknown sampler, or a clip that can't give so many views.
    """
    if sampler not in SAMPLERS:
        raise DatasetError(f"unknown view sampler {sampler!r}", fix=closest(sampler, SAMPLERS))
    if n_views < 1 or n_views > len(legal):
        raise DatasetError(
            f"can't draw {n_views} views of clip {clip_id}", expected=f"1 to {len(legal)}", found=n_views
        )
    points = np.zeros((len(legal), 3)) if centres is None else np.asarray(centres, np.float64)
    if centres is None and sampler == "baseline":
        raise DatasetError("views by camera distance need camera centres", where=clip_id)
    views = SAMPLERS[sampler](clip_rng(seed, epoch, clip_id), n_views, legal, points)
    return check_views(views, legal, clip_id)


def check_views(views: Sequence[int], legal: Sequence[int], clip_id: str) -> tuple[int, ...]:
    """Return views that are legal and different, or raise `DatasetError`."""
    wrong = sorted(set(views) - set(legal))
    if wrong or len(set(views)) != len(views):
        raise DatasetError(
            f"views {tuple(views)} of clip {clip_id} can't be used",
            expected=f"different positions among {list(legal)}",
            found=wrong or "a position twice",
        )
    return tuple(int(view) for view in views)


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
