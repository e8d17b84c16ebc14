"""Small rooms that several tests look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from data.dataset.clip import Clip
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource
from data.rooms.world import World, build


@pytest.fixture(scope="session")
def small() -> RoomsConfig:
    """Two rooms, one walked through and one orbited, with few positions and pixels, and so few demands on the path."""
    return RoomsConfig(clips=2, frames=22, height=48, width=64, min_visible=3)


@pytest.fixture(scope="session")
def make(small: RoomsConfig) -> Callable[..., Clip]:
    """Make clip `number` of the small rooms with some keys changed; each is made once and must not be written to."""

    @cache
    def clip(number: int = 0, **changes: object) -> Clip:
        source = RoomsSource(replace(small, **changes))  # type: ignore[arg-type]
        return source.make(source.clip_ids()[number])

    return clip


@pytest.fixture(scope="session")
def worlds() -> list[World]:
    """One world of each family and mode."""
    room = RoomsConfig(height=96, width=128)
    tunnel = RoomsConfig(height=96, width=128, mode="tunnel", objects=14)
    return [build(room, 0), build(room, 1), build(tunnel, 0)]
