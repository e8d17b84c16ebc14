"""View samplers: which positions of a clip one probe sample looks at.

Every draw comes from a generator keyed by (seed, epoch, clip), never from a shared state, so that workers, ranks,
order and resumption don't matter. Only `paper_views` follows the published sequential seeding, to reproduce its draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from configs.loader import closest

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
