"""Clips on their way through a process in groups, and the places that they take in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from extract.job.forward import Result
from extract.job.reader import Prepared

if TYPE_CHECKING:
    from cache.lease import Lease


@dataclass
class Group:
    """Clips that are claimed and being read: (clip id, lease, arrays that it lacks), and what the readers will give."""

    clips: list[tuple[str, Lease, list[str]]]
    futures: list[Future[Prepared]] = field(default_factory=list)


class Finished(NamedTuple):
    """One clip on its way to the disk: `row` of `result`, whose time `sharing` clips share."""

    clip: Prepared
    lease: Lease
    names: list[str]
    result: Result
    row: int
    sharing: int
    waited: float


def seats(numbers: Sequence[int], size: int) -> tuple[list[int], list[int]]:
    """Seat some clips of one group in a batch of fixed size.

    A clip's seat follows from its number in the store alone, whichever neighbours are there: arithmetic in a batch of
    another size, or in another place of it, differs in the last bits. Empty seats go to copies of the first clip.

    Args:
        numbers: numbers of the clips on the store's clip axis, of one group of `size` neighbours.
        size: clips per batch.

    Returns:
        For every seat the index in `numbers` of who sits there, and for every clip its seat.
    """
    taken = [number % size for number in numbers]
    return [taken.index(seat) if seat in taken else 0 for seat in range(size)], taken


def rows(results: Sequence[Result]) -> Iterator[tuple[Result, int]]:
    """Yield (result, index in its batch) seat by seat."""
    for result in results:
        for row in range(result.batch):
            yield result, row
