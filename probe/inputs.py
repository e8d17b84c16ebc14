"""What a run reads: store, arrays, dataset and splits, checked before the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.source import FeatureSource
from cache.spec import ArraySpec
from configs.errors import ConfigError, DatasetError, MissingError, StoreError
from configs.identity import digest
from configs.loader import closest
from data.clip import QUERY_POSITIONS
from data.dataset import PreparedDataset
from data.plans import ViewPlan
from data.targets import tag_labels
from data.views import clip_rng
from fusion.opening import open_source
from probe.module import TargetOptions
from probe.tasks.task import Task

MEMORY_BUDGET = 1 << 30
"""Bytes of dense ground truth kept in memory."""


class RememberingDataset(PreparedDataset):
    """A prepared dataset that decodes the dense ground truth of a clip once and keeps it, up to `MEMORY_BUDGET`."""

    def _dense(self, clip_id: str, name: str, positions: Sequence[int]) -> NDArray[Any]:
        kept: dict[tuple[str, str], NDArray[Any]] = self.__dict__.setdefault("_kept", {})
        legal = self.query_positions(clip_id)
        if not set(positions) <= set(legal):
            return super()._dense(clip_id, name, positions)
        values = kept.get((clip_id, name))
        if values is None:
            values = super()._dense(clip_id, name, legal)
            room = MEMORY_BUDGET - self.__dict__.get("_used", 0)
            if values.nbytes > room:
                return super()._dense(clip_id, name, positions)
            kept[clip_id, name] = values
            self.__dict__["_used"] = self.__dict__.get("_used", 0) + values.nbytes
        place = {position: i for i, position in enumerate(legal)}
        picked: NDArray[Any] = values[[place[position] for position in positions]]
        return picked


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Open store and dataset of a run, and its clips.

    Attributes:
        store: the feature store, or a fused view over several.
        dataset: the prepared dataset.
        arrays: the arrays to probe, one or more probes each.
        train, select, report: clip ids.
        plan: frozen views of select and report.
    """

    store: FeatureSource
    dataset: PreparedDataset
    arrays: tuple[ArraySpec, ...]
    train: list[str]
    select: list[str]
    report: list[str]
    plan: ViewPlan

    @property
    def positions(self) -> list[int]:
        """Clip positions that all arrays have features for."""
        served = [{s for s, row in enumerate(array.row_of_slot) if row >= 0} for array in self.arrays]
        return [QUERY_POSITIONS[slot] for slot in sorted(set.intersection(*served)) if slot < len(QUERY_POSITIONS)]

    def wanted(self, clip_ids: Sequence[str], config: Any, *, frozen: bool) -> TargetOptions:
        """Return the target options for some clips."""
        views = config.recipe.views
        plan = self.plan if frozen else None
        return TargetOptions(clip_ids, plan, config.sampler, views, config.data_seed, self.positions)

    def gt_size(self) -> tuple[int, int]:
        """Return height and width of the ground truth, the same for all clips.

        Raises:
            DatasetError: clips differ; all sizes are named.
        """
        sizes: dict[tuple[int, int], int] = {}
        for clip_id in (*self.train, *self.select, *self.report):
            size = self.dataset.gt_size(clip_id)
            sizes[size] = sizes.get(size, 0) + 1
        if len(sizes) != 1:
            found = ", ".join(f"{h}x{w} in {count} clips" for (h, w), count in sorted(sizes.items()))
            raise DatasetError(
                "the ground truth of these clips has several sizes",
                expected="one size for all clips of a run",
                found=found,
                where=self.dataset.path,
                fix="prepare the dataset with one ground-truth size",
            )
        return next(iter(sizes))


def open_inputs(config: Any, task: Task) -> Inputs:
    """Open what a run reads and check that every clip has features and ground truth.

    Raises:
        MissingError: no store, no dataset, or clips without features or labels; the message lists them.
        StoreError: several stores fit, or the store belongs to another dataset.
        DatasetError: a split is empty or has too few views.
    """
    # The name alone isn't used to choose: a store named by its folder may belong to another dataset, which is told.
    named = config.dataset if config.store is None else None
    store = open_source(config.root, named, config.model, config.store)
    dataset = open_dataset(config.root, config.dataset or store.dataset, store)
    arrays = choose_arrays(store, config.layers)
    scheme = config.split_scheme
    train = prefix(dataset.split("train", scheme), config.fraction, config.data_seed)
    select, report = dataset.split("select", scheme), dataset.split("report", scheme)
    for name, clips in (("train", train), ("select", select), ("report", report)):
        if not clips:
            counts = dataset.clips["split"].value_counts().to_dict()
            raise DatasetError(
                f"no clips in split {name}",
                where=dataset.path,
                found=", ".join(f"{count} in {split}" for split, count in counts.items()),
                fix="prepare more clips, or share one validation set with split_scheme=paper",
            )
    plan = dataset.plan(f"{config.sampler}-{config.recipe.views}")
    inputs = Inputs(store, dataset, tuple(arrays), train, select, report, plan)
    check_clips(inputs, task, [*train, *select, *report])
    return inputs


def open_dataset(root: str | None, name: str, store: FeatureSource) -> PreparedDataset:
    """Open a dataset and make sure that a store was made from it.

    Raises:
        MissingError: no such dataset; StoreError: the store was made from another one.
    """
    if store.dataset != name:
        raise StoreError(
            "this feature store was made from another dataset",
            expected=name,
            found=store.dataset,
            where=store.where,
            fix=f"leave out dataset=, or extract features of {name}: python -m extract run model=... dataset={name}",
        )
    known = RememberingDataset.open(name, root)
    assert isinstance(known, RememberingDataset)
    return known


def choose_arrays(store: FeatureSource, layers: Sequence[str]) -> list[ArraySpec]:
    """Return the arrays that `layers=` names: by block, by name, or all of them.

    Raises:
        ConfigError: an unknown name, or several arrays where one is meant; the message lists them.
    """
    arrays = store.arrays
    if not layers:
        if len(arrays) == 1:
            return list(arrays.values())
        raise ConfigError(
            "this store holds several arrays",
            found=", ".join(arrays),
            where=store.where,
            fix="choose with layers=<block or name>, or layers=all",
        )
    if list(layers) == ["all"]:
        return list(arrays.values())
    chosen: dict[str, ArraySpec] = {}
    for layer in layers:
        fitting = [a for a in arrays.values() if layer in (a.name, str(a.block) if a.block is not None else a.tap)]
        if not fitting:
            raise ConfigError(f"the store has no layer {layer!r}", where=store.where, fix=closest(layer, arrays))
        if len(fitting) > 1:
            names = ", ".join(a.name for a in fitting)
            raise ConfigError(f"several arrays are layer {layer}", found=names, fix="name the array in layers=")
        chosen[fitting[0].name] = fitting[0]
    return list(chosen.values())


def check_clips(inputs: Inputs, task: Task, clip_ids: Sequence[str]) -> None:
    """List every clip that lacks features or ground truth.

    Raises:
        MissingError: there are such clips.
    """
    known = set(inputs.store.clips)
    problems: list[str] = []
    absent = sorted(set(clip_ids) - known)
    if absent:
        problems.append(f"{len(absent)} clips are not in the store: {', '.join(absent)}")
    for array in inputs.arrays:
        lacking = sorted((set(clip_ids) & known) - set(inputs.store.committed(array.name)))
        if lacking:
            problems.append(f"{len(lacking)} clips have no features in {array.name}: {', '.join(lacking)}")
    column = inputs.dataset.clips[task.label_column]
    unlabelled = [clip_id for clip_id in clip_ids if not column[clip_id]]
    if unlabelled:
        problems.append(f"{len(unlabelled)} clips have no ground truth for {task.name}: {', '.join(unlabelled)}")
    short = [clip_id for clip_id in clip_ids if clip_id not in inputs.plan.views]
    if short:
        problems.append(f"{len(short)} clips can't give the views of plan {inputs.plan.name}: {', '.join(short)}")
    if problems:
        raise MissingError(
            "some clips can't be probed",
            found="; ".join(problems),
            where=inputs.store.where,
            fix=f"python -m extract run dataset={inputs.dataset.name} model={inputs.store.source} fills the gaps",
        )


def prefix(clip_ids: Sequence[str], fraction: float, seed: int) -> list[str]:
    """Return a share of the clips, at least one; a smaller share is part of every larger one."""
    if fraction >= 1 or not clip_ids:
        return list(clip_ids)
    order = clip_rng(seed, 0, "", "fraction").permutation(len(clip_ids))
    count = max(1, round(fraction * len(clip_ids)))
    return sorted(clip_ids[int(i)] for i in order[:count])


def train_rates(dataset: PreparedDataset, clip_ids: Sequence[str]) -> tuple[float, ...]:
    """Return the share of clips that show each class: 200 pixels over all frames, in at least two of them."""
    if not dataset.class_names or not clip_ids:
        return ()
    shown = [
        tag_labels(dataset.class_pixels(c, dataset.positions(c).tolist()), dataset.gt_size(c), min_views=2)
        for c in clip_ids
    ]
    return tuple(float(rate) for rate in np.stack(shown).mean(axis=0, dtype=np.float64))


def inputs_identity(inputs: Inputs, array: ArraySpec) -> dict[str, Any]:
    """Return what a run's identity says of its inputs: values of the features, of the targets, clips and views."""
    return {
        "store": inputs.store.fingerprint_digest,
        "array": array.name,
        "dataset": inputs.dataset.name,
        "dataset_parameters": inputs.dataset.fingerprint,
        "clips": digest([inputs.train, inputs.select, inputs.report]),
        "plan": inputs.plan.sha256,
    }
