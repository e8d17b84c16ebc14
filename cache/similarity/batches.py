"""Batches of whole rooms, and pairings of whole rooms at random: both depend on names and seeds, never on order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError

Batch = tuple[tuple[str, ...], ...]
"""Rooms of one batch, each with the ids of its clips."""
LARGEST_ROOM = 3
"""A room may fill one batch out of so many, so that every batch has rooms to exchange."""


def make_batches(rooms: Mapping[str, str], size: int, seed: int) -> list[Batch]:
    """Divide clips into batches of about one size; rooms stay whole.

    Args:
        rooms: clip id -> room, in any order.
        size: clips of a batch on average; batches hold less than twice as many (1.5 on average, plus one room).
        seed: of the order in which rooms are assigned.

    Returns:
        At least one batch; with several, each has two rooms or more.

    Raises:
        ConfigError: there are several batches, and a room is too large for any.
    """
    members: dict[str, list[str]] = {}
    for clip_id in sorted(rooms):
        members.setdefault(rooms[clip_id], []).append(clip_id)
    count = max(1, round(len(rooms) / size))
    room, largest = max(members.items(), key=lambda item: len(item[1]))
    if count > 1 and len(largest) * LARGEST_ROOM > size:
        raise ConfigError(
            f"room {room} is too large for a batch",
            expected=f"at most {size // LARGEST_ROOM} clips in a room, a third of batch={size}",
            found=f"{len(largest)} clips",
            fix=f"batch={len(largest) * LARGEST_ROOM}",
        )
    batches: list[list[tuple[str, ...]]] = [[] for _ in range(count)]
    filled = [0] * count
    for room in sorted(members, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        number = filled.index(min(filled))
        batches[number].append(tuple(members[room]))
        filled[number] += len(members[room])
    return [tuple(batch) for batch in batches]


def room_permutations(
    rooms: Sequence[int], samples: int, count: int, seed: Sequence[int]
) -> list[npt.NDArray[np.int64]]:
    """Return permutations of the samples of a batch that move whole rooms.

    Rooms are laid out in random order, each with its samples in their order, and the result is paired with the original
    order position by position. Rooms of equal size are thus exchanged as they are; a pairing of rooms of different
    sizes runs over into the next.

    Args:
        rooms: clips of each room.
        samples: samples of each clip.
        count: how many permutations.
        seed: of the random orders.
    """
    generator = np.random.default_rng(list(seed))
    ends = np.cumsum(np.asarray(rooms) * samples)
    blocks = [np.arange(end - size * samples, end) for end, size in zip(ends, rooms, strict=True)]
    return [np.concatenate([blocks[room] for room in generator.permutation(len(blocks))]) for _ in range(count)]


def clips_of(batch: Batch) -> list[str]:
    """Return the clip ids of a batch, room by room."""
    return list(chain.from_iterable(batch))
