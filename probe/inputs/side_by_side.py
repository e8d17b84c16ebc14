"""Several feature stores read as one, so that probes on different models share a pass over the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cache.format.clips import ClipEntry
from cache.format.moments import Moments
from cache.format.spec import ArraySpec
from cache.source import FeatureSource, ReadItem
from configs.errors import StoreError
from probe.inputs.inputs import Layer

if TYPE_CHECKING:
    import torch


class SideBySide(FeatureSource):
    """A source for `FeatureLoader`: what is asked of an array goes to the store that it is in.

    One `read` is of one array. Arrays are named `<number>.<name>`, by the place of their layer; clips, dataset and
    fingerprint are those of the first layer's store.

    Args:
        layers: what is read, of one store or several.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self._first = layers[0].store
        self._arrays: dict[str, ArraySpec] = {}
        self._behind: dict[str, tuple[FeatureSource, str]] = {}
        for number, (store, array) in enumerate(layers):
            name = f"{number}.{array.name}"
            self._arrays[name] = dataclasses.replace(array, name=name)
            self._behind[name] = (store.branch_reads(), array.name)

    @property
    def where(self) -> str:
        """Places of the stores, for messages."""
        return ", ".join(dict.fromkeys(store.where for store, _ in self._behind.values()))

    @property
    def source(self) -> str:
        """Names of what made the features."""
        return ", ".join(dict.fromkeys(store.source for store, _ in self._behind.values()))

    @property
    def dataset(self) -> str:
        """Name of the prepared dataset."""
        return self._first.dataset

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """That of the first layer's store."""
        return self._first.fingerprint

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips of the first layer's store."""
        return self._first.entries

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """The arrays of all layers in order, under names that tell them apart."""
        return self._arrays

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array, in the order of its store."""
        self.array(array)
        store, name = self._behind[array]
        return store.committed(name)

    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, verify: bool, allow_partial: bool) -> Any:
        store, own = self._of(items)
        found: Any = store.read(own, out, verify=verify, allow_partial=allow_partial)
        if allow_partial:
            own_name = own[0][1]
            self.partial |= {(clip, name) for clip, name, _ in items if (clip, own_name) in store.partial}
        return found

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have."""
        if not items:
            return 0
        store, own = self._of(items)
        return store.nbytes(own)

    def moments(self, array: str, clip_ids: Iterable[str]) -> Moments:
        """Return the channel statistics of an array over some clips, as its store has them."""
        self.array(array)
        store, name = self._behind[array]
        return store.moments(name, clip_ids)

    def _of(self, items: Sequence[ReadItem]) -> tuple[FeatureSource, list[ReadItem]]:
        names = {name for _, name, _ in items}
        if len(names) != 1:
            raise StoreError("layers are read one at a time", found=", ".join(sorted(names)))
        array = names.pop()
        self.array(array)
        store, name = self._behind[array]
        return store, [(clip_id, name, rows) for clip_id, _, rows in items]
