"""Statistics computed the slow way, one resample after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def resampled(
    statistic: Callable[[NDArray[np.int64]], float], rooms: Sequence[Any] | NDArray[Any], number: int, seed: int = 0
) -> NDArray[np.float64]:
    """Return the values of a function of clip indices on `number` draws of whole rooms, their clips repeated."""
    names, index = np.unique(np.asarray(rooms), return_inverse=True)
    members = [np.flatnonzero(index == room) for room in range(len(names))]
    draws = np.random.default_rng(seed).integers(0, len(names), (number, len(names)))
    return np.array([statistic(np.concatenate([members[room] for room in draw])) for draw in draws])
