"""Batches of a pass: features of all arrays read once, targets made in the background, both for the same queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from cache.format.clips import ClipEntry
from cache.format.moments import Moments
from cache.format.spec import ArraySpec
from cache.loading.feature_loader import FeatureLoader, Indices
from cache.source import FeatureSource, ReadItem
from configs.errors import StoreError
from data.dataset.clip import QUERY_POSITIONS
from probe.inputs.control_tasks import Relabel
from probe.inputs.inputs import Layer
from probe.module import Batch, Targets
from probe.train.schedule import Schedule


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
        """The arrays of all layers in order, under unique names."""
        return self._arrays

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array, in the order of its store."""
        self.array(array)
        store, name = self._behind[array]
        return store.committed(name)

    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Any:
        store, own = self._of(items)
        found: Any = store.read(own, out, allow_partial=allow_partial)
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


SLOT = {position: slot for slot, position in enumerate(QUERY_POSITIONS)}


class ProbeData:
    """Training batches in rounds, and evaluation batches over frozen queries.

    A batch is a dict: `features`, one tensor (B, S, h, w, C) per array (an `Unfused` for fused ones), and `targets`;
    with shuffled twins also `control`, and one entry per name of `relabelled`. Targets hold `clip_id`, `queries` and
    whatever the task makes.

    Args:
        store: where features are read.
        arrays: the arrays to read, each once per batch.
        schedule: of training.
        targets: of training.
        donors: clip -> the clip whose targets its twin gets; None without twins.
        relabelled: name -> what exchanges the labels of a sample, for probes that learn others from the same samples.
    """

    def __init__(
        self,
        store: FeatureSource,
        arrays: Sequence[ArraySpec],
        schedule: Schedule,
        targets: Targets,
        donors: dict[str, str] | None = None,
        relabelled: Mapping[str, Relabel] | None = None,
    ) -> None:
        self.store, self.arrays, self.schedule = store, list(arrays), schedule
        self.targets, self.donors, self.relabelled = targets, donors, relabelled or {}
        self._samples = lru_cache(maxsize=2)(schedule.samples)
        self._loader = FeatureLoader(
            store.branch_reads(), self._items, schedule.batch, shuffle=False, attach=self._attach, pin_memory=None
        )

    def round(self, round_: int) -> Iterator[Batch]:
        """Return the training batches of a round."""
        self._loader.set_epoch(round_)
        return iter(self._loader)

    def evaluation(self, clip_ids: Sequence[str], targets: Targets, donors: dict[str, str] | None, draws: int) -> Any:
        """Return a loader over the frozen queries of some clips, all draws of a clip one after another."""
        samples = [(clip_id, draw) for clip_id in clip_ids for draw in range(draws)]

        def attach(numbers: Indices, epoch: int) -> dict[str, Any]:
            chosen = [samples[int(i)] for i in numbers]
            return attached(targets, donors, chosen, self.relabelled)

        items = [read_items(self.arrays, clip_id, targets.queries(clip_id, draw)) for clip_id, draw in samples]
        return FeatureLoader(self.store.branch_reads(), items, self.schedule.batch, shuffle=False, attach=attach)

    def _items(self, round_: int) -> list[Sequence[ReadItem]]:
        return [
            read_items(self.arrays, clip_id, self.targets.queries(clip_id, epoch))
            for clip_id, epoch in self._samples(round_)
        ]

    def _attach(self, numbers: Indices, round_: int) -> dict[str, Any]:
        samples = self._samples(round_)
        return attached(self.targets, self.donors, [samples[int(i)] for i in numbers], self.relabelled)


def read_items(arrays: Sequence[ArraySpec], clip_id: str, queries: Sequence[int]) -> list[ReadItem]:
    """Return what to read for the queries of a clip, one item per array."""
    slots = [SLOT[query] for query in queries]
    return [(clip_id, array.name, array.rows_of(slots)) for array in arrays]


def attached(
    targets: Targets,
    donors: dict[str, str] | None,
    samples: Sequence[tuple[str, int]],
    relabelled: Mapping[str, Relabel] | None = None,
) -> dict[str, Any]:
    """Return the targets of a batch, those of the donors for twins, and those with other labels."""
    own = [targets.sample(*sample) for sample in samples]
    batch: dict[str, Any] = {"targets": collate(own)}
    if donors is not None:
        # The donor's own draw: its targets needn't fit the twin's queries, they mustn't. Clip and queries are what the
        # features are of.
        borrowed = [
            {**targets.sample(donors[c], epoch), "clip_id": c, "queries": mine["queries"]}
            for (c, epoch), mine in zip(samples, own, strict=True)
        ]
        batch["control"] = collate(borrowed)
    for name, change in (relabelled or {}).items():
        batch[name] = collate([change(sample) for sample in own])
    return batch


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    """Stack tensors of one shape; everything else becomes a list."""
    batch: Batch = {}
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        same = all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values)
        batch[name] = torch.stack(values) if same else values
    return batch
