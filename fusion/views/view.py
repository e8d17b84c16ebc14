"""A fused source as a lazy view: it answers like a feature store and computes values when they are read.

`FusedView` fuses while it reads. `Deferred` is its twin for training: it reads the branches apart, and what it returns
(`Unfused`) is fused where the training step runs, so that the loader's thread only reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cache.format.clips import ClipEntry
from cache.format.moments import Moments
from cache.format.spec import ArraySpec, by_name
from cache.source import Features, FeatureSource, ReadItem, allocate
from configs.errors import StoreError
from fusion.views.array import FusedArray

if TYPE_CHECKING:
    import torch


class FusedView(FeatureSource):
    """A view over one or more sources; make it with `fusion.opening.open_source` or `fusion.views.assemble.build`.

    Of each parent only the rows that are asked for are read, each once per item.

    Attributes:
        parents: the sources that are read.
        fused: the arrays by name.

    Args:
        source: name of the view.
        parents: the sources.
        fused: the arrays.
        entries: the clips.
        fingerprint: everything that changes a value.
    """

    noun = "view"

    def __init__(
        self,
        source: str,
        parents: Sequence[FeatureSource],
        fused: Sequence[FusedArray],
        entries: Sequence[ClipEntry],
        fingerprint: Mapping[str, Any],
    ) -> None:
        super().__init__()
        by_name([array.spec for array in fused])
        self.parents, self.fused = tuple(parents), {array.spec.name: array for array in fused}
        self._source, self._entries, self._fingerprint = source, tuple(entries), dict(fingerprint)
        self._arrays = {name: array.spec for name, array in self.fused.items()}
        self._spare: deque[torch.Tensor] = deque(maxlen=8)

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

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with all that is known of them, in the order of the first parent."""
        return self._entries

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """The arrays by name."""
        return self._arrays

    def _fused(self, name: str) -> FusedArray:
        self.array(name)
        return self.fused[name]

    def refresh(self) -> None:
        """Look for commits that other processes have added to the parents."""
        for parent in self.parents:
            parent.refresh()

    # ---- what can be read

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips whose rows all parents have, in order.

        Raises:
            MissingError: no such array.
        """
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

    def quarantined(self) -> dict[str, str]:
        """Return the clips that a parent has set aside, with reasons."""
        found: dict[str, str] = {}
        for parent in self.parents:
            for clip_id, reason in parent.quarantined().items():
                if clip_id in self._places:
                    found.setdefault(clip_id, f"{parent.source}: {reason}")
        return found

    # ---- reading

    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Features:
        import torch

        with torch.no_grad():
            return self._read_fused(items, out, allow_partial)

    def _read_fused(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Features:
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
                found = branch.parent.read(item, buffers[number], allow_partial=allow_partial)[0]
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

    def branch_reads(self) -> Deferred:
        """Return the twin that reads the branches apart: a loader's batches are then `Unfused`."""
        return Deferred(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spare": deque(maxlen=8)}


class Deferred(FeatureSource):
    """Reads the rows that a view would read, and returns them as `Unfused`; in all else it is the view.

    One `read` is of one array and of equally many rows of every clip, as batches for training are.

    Args:
        view: the view.
    """

    noun = "view"

    def __init__(self, view: FusedView) -> None:
        super().__init__()
        self.view = view
        self.partial = view.partial  # what either reads as NaN

    @property
    def where(self) -> str:
        """See `FusedView`."""
        return self.view.where

    @property
    def source(self) -> str:
        """See `FusedView`."""
        return self.view.source

    @property
    def dataset(self) -> str:
        """See `FusedView`."""
        return self.view.dataset

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """See `FusedView`."""
        return self.view.fingerprint

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """See `FusedView`."""
        return self.view.entries

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """See `FusedView`; of fused values."""
        return self.view.arrays

    def committed(self, array: str) -> list[str]:
        """See `FusedView`."""
        return self.view.committed(array)

    def quarantined(self) -> dict[str, str]:
        """See `FusedView`."""
        return self.view.quarantined()

    def refresh(self) -> None:
        """See `FusedView`."""
        self.view.refresh()

    def moments(self, array: str, clip_ids: Iterable[str]) -> Moments:
        """Return the channel statistics of fused values, as `FusedView`."""
        return self.view.moments(array, clip_ids)

    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Any:
        """Return an `Unfused` of one array.

        Raises:
            StoreError: items of several arrays, or of unequal numbers of rows.
        """
        array, columns = self._columns(items)
        found, start = [], 0
        for branch, column, size in zip(array.branches, columns, self._sizes(array, columns), strict=True):
            part = None if out is None else out[start : start + size]
            start += size
            features = branch.parent.read(column, part, allow_partial=allow_partial)
            if isinstance(features, list):
                raise StoreError("a deferred batch needs equally many rows of every clip", where=self.source)
            found.append(features)
            lacking = branch.parent.partial if allow_partial else set()
            self.partial |= {(clip, array.spec.name) for clip, name, _ in column if (clip, name) in lacking}
        return Unfused(array, found)

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have: for the rows of all branches."""
        return sum(self._sizes(*self._columns(items))) if items else 0

    def _columns(self, items: Sequence[ReadItem]) -> tuple[FusedArray, list[list[ReadItem]]]:
        names = {name for _, name, _ in items}
        if len(names) != 1:
            raise StoreError("a deferred batch is of one array", found=", ".join(sorted(names)), where=self.source)
        name = names.pop()
        self.array(name)
        array = self.view.fused[name]
        per_item = [array.items(clip_id, rows) for clip_id, _, rows in items]
        return array, [list(column) for column in zip(*per_item, strict=True)]

    @staticmethod
    def _sizes(array: FusedArray, columns: Sequence[Sequence[ReadItem]]) -> list[int]:
        rows = sum(len(rows) for _, _, rows in columns[0])  # of every branch, which reads a row for each fused one
        return [-(-rows * branch.array.row_bytes // 64) * 64 for branch in array.branches]


class Unfused:
    """Features of a batch, still in branches; moves between devices like a tensor.

    Args:
        array: how they are fused.
        features: per branch (B, rows, h, w, C) in the parent's dtype.
    """

    def __init__(self, array: FusedArray, features: Sequence[torch.Tensor]) -> None:
        self.array, self.features = array, tuple(features)
        self._fused: torch.Tensor | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Unfused:
        """Return the same features on a device."""
        return Unfused(self.array, [maps.to(device, non_blocking=non_blocking) for maps in self.features])

    def fuse(self) -> torch.Tensor:
        """Return (B, rows, H, W, channels) in the view's dtype, computed once, on the device of the features."""
        if self._fused is None:
            self._fused = self.array.compute(self.features)
        return self._fused
