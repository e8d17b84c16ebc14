"""Several feature stores read as one, so that probes on different models share a pass over the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from cache.format.spec import ArraySpec
from cache.source import ReadItem
from configs.errors import StoreError
from fusion.views.deferred import deferred
from probe.inputs.inputs import Layer


class SideBySide:
    """A source for `FeatureLoader`: what is asked of an array goes to the store that it is in.

    Attributes:
        arrays: the arrays of all layers in order, under names that tell them apart.

    Args:
        layers: what is read, of one store or several.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.arrays: list[ArraySpec] = []
        self._behind: dict[str, tuple[Any, str]] = {}
        for number, (store, array) in enumerate(layers):
            name = f"{number}.{array.name}"
            self.arrays.append(dataclasses.replace(array, name=name))
            self._behind[name] = (deferred(store), array.name)

    def read(
        self,
        items: Sequence[ReadItem],
        out: torch.Tensor | None = None,
        *,
        verify: bool = False,
        allow_partial: bool = False,
    ) -> Any:
        """Read rows of one array; arguments, result and errors as in the store behind it."""
        if not items:
            return []
        store, own = self._of(items)
        return store.read(own, out, verify=verify, allow_partial=allow_partial)

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have."""
        if not items:
            return 0
        store, own = self._of(items)
        return int(store.nbytes(own))

    def _of(self, items: Sequence[ReadItem]) -> tuple[Any, list[ReadItem]]:
        names = {name for _, name, _ in items}
        if len(names) != 1:
            raise StoreError("layers are read one at a time", found=", ".join(sorted(names)))
        store, name = self._behind[names.pop()]
        return store, [(clip_id, name, rows) for clip_id, _, rows in items]
