"""Named random streams: replacing one leaves everything that the others decide as it was.

A stream is identified by numbers alone, so a clip comes out the same in any process, order or subset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.rooms.config import STREAMS

SALT = 20_240_613
"""Keeps the rooms' streams apart from every other use of small seeds."""


@dataclass(frozen=True)
class Streams:
    """The random streams of one clip.

    Attributes:
        seed: seed of the dataset.
        room: number of the room.
        variant: number of the clip within its room.
        varied: the stream that differs between the clips of a room, if any; all others are the room's.
    """

    seed: int
    room: int
    variant: int
    varied: str | None

    def generator(self, name: str, attempt: int = 0) -> np.random.Generator:
        """Return a fresh generator of one stream.

        Args:
            name: one of `STREAMS`.
            attempt: number of the draw, where a rejected one is repeated.
        """
        variant = self.variant if name == self.varied else 0
        key = (self.room, STREAMS.index(name), variant, attempt)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([SALT, self.seed], spawn_key=key)))
