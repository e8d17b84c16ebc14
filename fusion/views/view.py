"""A fused source as a lazy view: it answers like a feature store and computes what is asked for, nothing is copied."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cache.format.clips import ClipEntry
from cache.format.moments import Moments, Vector
from cache.format.spec import ArraySpec, by_name
from cache.source import FeatureSource
from configs.errors import MissingError
from configs.identity import digest
from configs.loader import closest
from fusion.statistics import computed_moments
from fusion.views.array import FusedArray

if TYPE_CHECKING:
    import torch

    from cache.source import ReadItem


class FusedView:
    """A view over one or more sources; make it with `fusion.open_source` or `fusion.views.assemble.build`.

    Attributes:
        parents: the sources that are read.
        fused: the arrays by name.
        partial: (clip id, array) pairs that were read as NaN under `allow_partial`.

    Args:
        source: name of the view.
        parents: the sources.
        fused: the arrays.
        entries: the clips.
        fingerprint: everything that changes a value.
    """

    def __init__(
        self,
        source: str,
        parents: Sequence[FeatureSource],
        fused: Sequence[FusedArray],
        entries: Sequence[ClipEntry],
        fingerprint: Mapping[str, Any],
    ) -> None:
        by_name([array.spec for array in fused])
        self.parents, self.fused = tuple(parents), {array.spec.name: array for array in fused}
        self.partial: set[tuple[str, str]] = set()
        self._source, self._entries, self._fingerprint = source, tuple(entries), dict(fingerprint)
        self._spare: deque[torch.Tensor] = deque(maxlen=8)
        self._clip_index = {entry.clip_id: number for number, entry in enumerate(self._entries)}

    def __repr__(self) -> str:
        return f"<FusedView {self.source} on {self.dataset}, {len(self.clips)} clips, of {self.where}>"

    # ---- what it is

    @property
    def where(self) -> str:
        """Folders of the parents, for messages."""
        return " + ".join(parent.where for parent in self.parents)

    @property
    def source(self) -> str:
        """Name of the view, e.g. `wan-t2v-14b+qwen3-vl-8b`."""
        return self._source

    @property
    def dataset(self) -> str:
        """Name of the prepared dataset."""
        return self.parents[0].dataset

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes a value: the recipe, and the parents' fingerprints."""
        return self._fingerprint

    @cached_property
    def fingerprint_digest(self) -> str:
        """SHA-256 of the fingerprint."""
        return digest(self._fingerprint)

    @property
    def clips(self) -> list[str]:
        """The clip ids, in the order of the first parent."""
        return [entry.clip_id for entry in self._entries]

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with all that is known of them."""
        return self._entries

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays by name."""
        return {name: array.spec for name, array in self.fused.items()}

    def array(self, name: str) -> ArraySpec:
        """Return one array.

        Raises:
            MissingError: no such array; the message names the closest.
        """
        return self._fused(name).spec

    def _fused(self, name: str) -> FusedArray:
        if name not in self.fused:
            raise MissingError(f"the view has no array {name!r}", where=self.source, fix=closest(name, self.fused))
        return self.fused[name]

    def clip_index(self, clip_id: str) -> int:
        """Return the index of a clip.

        Raises:
            MissingError: no such clip; the message names the closest.
        """
        if clip_id not in self._clip_index:
            raise MissingError(
                f"the view has no clip {clip_id!r}", where=self.source, fix=closest(clip_id, self._clip_index)
            )
        return self._clip_index[clip_id]

    def entry(self, clip_id: str) -> ClipEntry:
        """Return what is known of one clip."""
        return self._entries[self.clip_index(clip_id)]

    def refresh(self) -> None:
        """Look for commits that other processes have added to the parents."""
        for parent in self.parents:
            parent.refresh()

    # ---- what can be read

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips whose rows all parents have, in order."""
        branches = self._fused(array).branches
        done = set.intersection(*[set(branch.parent.committed(branch.array.name)) for branch in branches])
        return [clip_id for clip_id in self.clips if clip_id in done]

    def parts(self, arrays: Iterable[str]) -> list[tuple[FeatureSource, list[ArraySpec]]]:
        """Return each parent with those of its arrays that some fused arrays are made of."""
        branches = [branch for name in arrays for branch in self._fused(name).branches]
        return [
            (parent, list({b.array.name: b.array for b in branches if b.parent is parent}.values()))
            for parent in self.parents
        ]

    def coverage(self) -> dict[str, float]:
        """Return the readable share of the clips of each array, in [0, 1]."""
        return {name: len(self.committed(name)) / len(self._entries) for name in self.fused}

    def missing(self, arrays: Iterable[str] | None = None, *, quarantined: bool = False) -> list[str]:
        """Return the ids of the clips that lack any of some arrays (default: all), in order; see `FeatureStore`."""
        done = [set(self.committed(name)) for name in (self.fused if arrays is None else arrays)]
        complete = set.intersection(*done) if done else set(self.clips)
        left_out = set() if quarantined else set(self.quarantined())
        return [clip_id for clip_id in self.clips if clip_id not in complete and clip_id not in left_out]

    def quarantined(self) -> dict[str, str]:
        """Return the clips that a parent has set aside, with reasons."""
        found: dict[str, str] = {}
        for parent in self.parents:
            for clip_id, reason in parent.quarantined().items():
                if clip_id in self._clip_index:
                    found.setdefault(clip_id, f"{parent.source}: {reason}")
        return found

    # ---- reading

    def read(
        self,
        items: Sequence[ReadItem],
        out: torch.Tensor | None = None,
        *,
        verify: bool = False,
        allow_partial: bool = False,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Read rows of clips; arguments, result and errors as in `FeatureStore.read`.

        Of each parent only the rows that are asked for are read, each once per item.
        """
        if not items:
            return []
        import torch

        with torch.no_grad():
            return self._read(items, out, verify, allow_partial)

    def _read(
        self, items: Sequence[ReadItem], out: torch.Tensor | None, verify: bool, allow_partial: bool
    ) -> torch.Tensor | list[torch.Tensor]:
        from cache.source import allocate

        fused = [self._fused(name) for _, name, _ in items]
        tensors = allocate(items, [array.spec for array in fused], out)
        buffers: dict[int, torch.Tensor] = {}
        for (clip_id, name, rows), array, target in zip(items, fused, tensors, strict=True):
            self.clip_index(clip_id)
            columns = []
            wanted = array.items(clip_id, rows)
            for number, (branch, (_, parent_array, parent_rows)) in enumerate(zip(array.branches, wanted, strict=True)):
                unique = sorted(set(parent_rows))
                item: list[ReadItem] = [(clip_id, parent_array, unique)]
                size = branch.parent.nbytes(item)
                if number not in buffers or buffers[number].numel() < size:
                    buffers[number] = self._buffer(size)
                found = branch.parent.read(item, buffers[number], verify=verify, allow_partial=allow_partial)[0]
                place = {row: i for i, row in enumerate(unique)}
                columns.append([found[place[row]] for row in parent_rows])
                if (clip_id, parent_array) in branch.parent.partial:
                    self.partial.add((clip_id, name))
            for i in range(len(rows)):
                array.fill([column[i] for column in columns], target[i])
        self._spare.extend(buffers.values())
        return tensors

    def _buffer(self, size: int) -> torch.Tensor:
        """Return memory of at least `size` bytes, an earlier read's if possible: new memory costs more than reading."""
        while self._spare:
            try:
                buffer = self._spare.pop()
            except IndexError:  # another thread took it
                break
            if buffer.numel() >= size:
                return buffer
        import torch

        return torch.empty(size, dtype=torch.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spare": deque(maxlen=8)}

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have for some items."""
        from cache.source import bytes_for

        return bytes_for(items, [self.array(name) for _, name, _ in items])

    # ---- statistics

    def moments(self, array: str, clip_ids: Iterable[str]) -> Moments:
        """Return the channel statistics over some clips, computed as a store that held the values would.

        Reads the clips: a lazy view has kept nothing.
        """
        return computed_moments(self, array, clip_ids)

    def statistics(self, array: str, clip_ids: Iterable[str]) -> tuple[int, Vector, Vector]:
        """Return (count, mean, variance) over all cells of some clips, per channel in float64."""
        found = self.moments(array, clip_ids)
        return found.count, found.mean, found.variance
