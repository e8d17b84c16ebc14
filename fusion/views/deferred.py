"""Reading the branches of a view apart, so that the arithmetic happens where the probe trains.

Resampling and normalising happens where the training step runs; the loader's thread then does nothing but read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cache.source import FeatureSource, ReadItem
from configs.errors import StoreError
from fusion.views.array import FusedArray
from fusion.views.view import FusedView


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


class Deferred:
    """A source for `FeatureLoader`: reads the rows that a view would read, and returns them as `Unfused`.

    Args:
        view: the view.
    """

    def __init__(self, view: FusedView) -> None:
        self.view = view

    def read(
        self,
        items: Sequence[ReadItem],
        out: torch.Tensor | None = None,
        *,
        verify: bool = False,
        allow_partial: bool = False,
    ) -> Any:
        """Read rows of one array for a batch of equally many rows; arguments and errors as in `FeatureStore.read`.

        Returns:
            An `Unfused`; an empty list for no items.

        Raises:
            StoreError: items of several arrays, or of unequal numbers of rows.
        """
        if not items:
            return []
        array, columns = self._columns(items)
        found, start = [], 0
        for branch, column, size in zip(array.branches, columns, self._sizes(array, columns), strict=True):
            part = None if out is None else out[start : start + size]
            start += size
            features = branch.parent.read(column, part, verify=verify, allow_partial=allow_partial)
            if not isinstance(features, torch.Tensor):
                raise StoreError("a deferred batch needs equally many rows of every clip", where=self.view.source)
            found.append(features)
            lacking = branch.parent.partial if allow_partial else set()
            self.view.partial |= {(clip, array.spec.name) for clip, name, _ in column if (clip, name) in lacking}
        return Unfused(array, found)

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have."""
        return sum(self._sizes(*self._columns(items))) if items else 0

    def _columns(self, items: Sequence[ReadItem]) -> tuple[FusedArray, list[list[ReadItem]]]:
        names = {name for _, name, _ in items}
        if len(names) != 1:
            raise StoreError("a deferred batch is of one array", found=", ".join(sorted(names)), where=self.view.source)
        self.view.array(items[0][1])
        array = self.view.fused[items[0][1]]
        per_item = [array.items(clip_id, rows) for clip_id, _, rows in items]
        return array, [list(column) for column in zip(*per_item, strict=True)]

    @staticmethod
    def _sizes(array: FusedArray, columns: Sequence[Sequence[ReadItem]]) -> list[int]:
        rows = sum(len(rows) for _, _, rows in columns[0])  # of every branch, which reads a row for each fused one
        return [-(-rows * branch.array.row_bytes // 64) * 64 for branch in array.branches]


def deferred(source: FeatureSource) -> Any:
    """Return what a loader should read a source through: a view branch by branch, a store as it is."""
    return Deferred(source) if isinstance(source, FusedView) else source


def fused(features: Any) -> torch.Tensor:
    """Return the features of a batch: fused if they came through `deferred` from a view, else as they are."""
    if isinstance(features, Unfused):
        return features.fuse()
    assert isinstance(features, torch.Tensor)
    return features
