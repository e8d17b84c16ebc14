"""What a run reads: stores, arrays, clips and splits, and whether they fit each other and the task; loads no torch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs import commands
from configs.errors import ConfigError, DatasetError, MissingError, StoreError
from configs.identity import digest
from configs.loader import closest
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.queries import QueryPlan, clip_rng, load_plan
from data.dataset.reader import DatasetIndex, PreparedDataset
from fusion.opening import open_source
from fusion.views.grids import refill_command
from fusion.views.view import FusedView
from probe.config import RunConfig, What
from probe.inputs.layers import choose_arrays
from probe.task import Task, known_metrics, load_task, task_file, task_names

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


class Layer(NamedTuple):
    """One array of one feature store, or of a fused view."""

    store: FeatureSource
    array: ArraySpec

    @property
    def positions(self) -> tuple[int, ...]:
        """Clip positions that there are features for."""
        slots = enumerate(self.array.row_of_slot[: len(QUERY_POSITIONS)])
        return tuple(QUERY_POSITIONS[slot] for slot, row in slots if row >= 0)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Inputs shared by runs that use the same queries of the same clips.

    Attributes:
        dataset: the prepared dataset.
        layers: the arrays to probe, of one source or several, one or more probes each.
        train, select, report: clip ids.
        plan: frozen queries of select and report.
    """

    dataset: PreparedDataset
    layers: tuple[Layer, ...]
    train: list[str]
    select: list[str]
    report: list[str]
    plan: QueryPlan

    @property
    def positions(self) -> list[int]:
        """Clip positions that all layers have features for."""
        return sorted(set.intersection(*(set(layer.positions) for layer in self.layers)))

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
                fix="prepare it with one size: gt_height= and gt_width= of scannet, image_size= of dl3dv",
            )
        return next(iter(sizes))


def open_inputs(config: RunConfig, task: Task, *, many: bool = False, report: bool = True) -> list[Inputs]:
    """Open the inputs of a command and check that every clip has features and ground truth.

    Layers that use the same queries of the same clips are grouped: they share a pass over the data.

    Args:
        config: resolved configuration.
        task: what to probe for.
        many: see `probe.inputs.layers.choose_arrays`.
        report: whether split `report` is needed; else it is left empty, and nothing of its clips is checked.

    Raises:
        MissingError: no store, no dataset, or clips without features or labels; the message lists them.
        StoreError: several stores fit, or the store belongs to another dataset.
        DatasetError: a split is empty or has too few queries.
    """
    # The name alone isn't used to choose: a store named by its folder may belong to another dataset, which is an error.
    named = config.what.dataset if config.what.store is None else None
    datasets: dict[str, PreparedDataset] = {}
    groups: dict[tuple[str, tuple[int, ...]], Inputs] = {}
    for model in sources(config.what):
        store = open_source(config.where.root, named, model, config.what.store)
        name = config.what.dataset or store.dataset
        dataset = datasets.get(name) or open_dataset(config.where.root, name, store)
        check_dataset(store, name)
        check_truth(dataset, task)
        datasets[name] = dataset
        for array in choose_arrays(store, config.what.layers, config.what.noise, task=task.name, many=many):
            layer = Layer(store, array)
            key = (name, layer.positions)
            known = groups.get(key) or _clips_of(dataset, config, report)
            groups[key] = dataclasses.replace(known, layers=(*known.layers, layer))
    for inputs in groups.values():
        check_clips(inputs, task, [*inputs.train, *inputs.select, *inputs.report])
    return list(groups.values())


def sources(what: What) -> list[str | None]:
    """Return the names of a command's sources; None means the only existing one.

    Raises:
        ConfigError: several sources and one `store`.
    """
    names = list(dict.fromkeys(word for item in what.model for word in item.replace(",", " ").split()))
    if what.store is not None and len(names) > 1:
        raise ConfigError("store= names one store", found=f"model={','.join(names)}", fix="probe that one by itself")
    return list(names) or [None]


def _clips_of(dataset: PreparedDataset, config: RunConfig, with_report: bool) -> Inputs:
    """Return the clips of a run's splits and its evaluation queries, without layers."""
    how = config.how
    train, select, report = split_clips(dataset, how.split_scheme, how.fraction, how.data_seed)
    report = report if with_report else []
    for name, clips in (("train", train), ("select", select), ("report", report)):
        if not clips and (with_report or name != "report"):
            counts = dataset.clips["split"].value_counts().to_dict()
            raise DatasetError(
                f"no clips in split {name}",
                where=dataset.path,
                found=", ".join(f"{count} in {split}" for split, count in counts.items()),
                fix="prepare more clips, or share one validation set with split_scheme=paper",
            )
    return Inputs(
        dataset, (), train, select, report, load_plan(dataset, f"{how.sampler}-{config.probe.recipe.queries}")
    )


def split_clips(dataset: DatasetIndex, scheme: str, fraction: float, seed: int) -> tuple[list[str], ...]:
    """Return the clips that a run trains on, selects by and is reported on; options of `probe.config.How`."""
    train = prefix(dataset.split("train", scheme), dataset.rooms, fraction, seed)
    return train, dataset.split("select", scheme), dataset.split("report", scheme)


def clips_digest(train: Sequence[str], select: Sequence[str], report: Sequence[str]) -> str:
    """Return what stands for the names of a run's clips in its identity."""
    return digest([list(train), list(select), list(report)])


def open_dataset(root: str | None, name: str, store: FeatureSource) -> PreparedDataset:
    """Open a dataset and make sure that a store was made from it.

    Raises:
        MissingError: no such dataset; StoreError: the store was made from another one.
    """
    check_dataset(store, name)
    known = RememberingDataset.open(name, root)
    assert isinstance(known, RememberingDataset)
    return known


def prefix(clip_ids: Sequence[str], rooms: Mapping[str, str], fraction: float, seed: int) -> list[str]:
    """Return the clips of some rooms, about a share of all; a smaller share is part of every larger one.

    Clips of a room resemble each other: a share drawn clip by clip would show nearly all rooms, and nearly as much as
    all clips do. Rooms come in an order that the seed draws; as many are taken as bring the number of clips nearest to
    the share, one at least. Of two numbers as near, the even one is taken, as `round` does, otherwise the smaller.

    Args:
        clip_ids: all clips.
        rooms: clip id -> room.
        fraction: share of the clips; from 1 on all.
        seed: of the order.
    """
    if fraction >= 1 or not clip_ids:
        return list(clip_ids)
    members: dict[str, list[str]] = {}
    for clip_id in clip_ids:
        members.setdefault(rooms[clip_id], []).append(clip_id)
    names = list(members)
    ordered = [members[names[int(i)]] for i in clip_rng(seed, 0, "", "fraction").permutation(len(names))]
    counts = list(itertools.accumulate(map(len, ordered)))
    wanted = fraction * len(clip_ids)
    last = min(range(len(counts)), key=lambda i: (abs(counts[i] - wanted), counts[i] % 2))
    return sorted(clip_id for room in ordered[: last + 1] for clip_id in room)


def donors(clip_ids: Sequence[str], seed: int) -> dict[str, str]:
    """Return for each clip another one of the same split, the donor of its twin's targets; each clip donates once.

    Args:
        clip_ids: the clips of one split.
        seed: of the assignment.

    Raises:
        DatasetError: a single clip has no other.
    """
    if len(clip_ids) < 2:
        raise DatasetError(
            "shuffled targets need two clips or more in every split", found=list(clip_ids), fix="leave out control=true"
        )
    order = [clip_ids[int(i)] for i in clip_rng(seed, 0, "", "control").permutation(len(clip_ids))]
    return {clip_id: order[(i + 1) % len(order)] for i, clip_id in enumerate(order)}


def inputs_identity(inputs: Inputs, layer: Layer) -> dict[str, Any]:
    """Return the inputs' part of a run's identity: values of the features, of the targets, clips and queries.

    `probe.results.stale` compares it with the dataset later.
    """
    return {
        "store": layer.store.fingerprint_digest,
        "array": layer.array.name,
        "dataset": inputs.dataset.name,
        "dataset_parameters": inputs.dataset.fingerprint,
        "clips": clips_digest(inputs.train, inputs.select, inputs.report),
        "truth": inputs.dataset.content_digest([*inputs.train, *inputs.select, *inputs.report]),
        "plan": inputs.plan.sha256,
    }


def check_dataset(store: FeatureSource, name: str) -> None:
    """Reject a store that was made from another dataset.

    Raises:
        StoreError: it was.
    """
    if store.dataset != name:
        raise StoreError(
            "this feature store was made from another dataset",
            expected=name,
            found=store.dataset,
            where=store.where,
            fix=f"leave out dataset=, or extract features of {name}: {commands.extract_source(store.source, name)}",
        )


def check_truth(dataset: PreparedDataset, task: Task) -> None:
    """Reject a dataset without any ground truth for a task.

    Raises:
        ConfigError: the index has no such column of labels, or the task's main metric is not declared.
        MissingError: no clip has any; the message names the tasks that it serves.
    """
    known_metrics(task.name)
    columns = _truth_columns(dataset)
    if task.label_column not in columns:
        raise ConfigError(
            f"task {task.name!r} names a column of labels that the dataset's index does not have",
            expected=f"a column of truth values: {', '.join(columns)}",
            found=f"label_column={task.label_column!r}",
            where=task_file(task.name),
            fix=closest(task.label_column, columns),
        )
    if not dataset.clips[task.label_column].any():
        served = [name for name in task_names() if _serves(dataset, name)]
        raise MissingError(
            f"no clip of this dataset has ground truth for {task.name}",
            where=dataset.path,
            expected=f"{task.label_column} in at least one clip",
            found=f"ground truth for {', '.join(served)}" if served else "frames alone",
            fix=commands.probe("train", task=served[0], dataset=dataset.name) if served
            else "import the dataset with its annotations, see docs/prepared-dataset.md",
        )  # fmt: skip


def _truth_columns(dataset: PreparedDataset) -> list[str]:
    """Return the columns of the index that are true, false or missing for each clip."""
    import pandas as pd

    columns = {str(name): dataset.clips[name].dropna() for name in dataset.clips}
    return [name for name, values in columns.items() if len(values) and values.map(pd.api.types.is_bool).all()]


def _serves(dataset: PreparedDataset, name: str) -> bool:
    try:
        column = load_task(name).label_column
    except ConfigError:
        return False
    return column in dataset.clips and bool(dataset.clips[column].any())


def check_clips(inputs: Inputs, task: Task, clip_ids: Sequence[str]) -> None:
    """List every clip that lacks features or ground truth.

    Raises:
        MissingError: there are such clips.
    """
    problems: list[str] = []
    refills: list[str] = []
    for store in {id(layer.store): layer.store for layer in inputs.layers}.values():
        arrays = [layer.array for layer in inputs.layers if layer.store is store]
        found = _lacking(store, arrays, clip_ids)
        if found:
            problems += [f"{store.source}: {problem}" for problem in found]
            read = store.parts(array.name for array in arrays) if isinstance(store, FusedView) else [(store, arrays)]
            refills += [refill_command(parent) for parent, arrays in read if _lacking(parent, arrays, clip_ids)]
    column = inputs.dataset.clips[task.label_column]
    unlabelled = [clip_id for clip_id in clip_ids if not column[clip_id]]
    if unlabelled:
        problems.append(f"{len(unlabelled)} clips have no ground truth for {task.name}: {', '.join(unlabelled)}")
    short = [clip_id for clip_id in clip_ids if clip_id not in inputs.plan.queries]
    if short:
        problems.append(f"{len(short)} clips can't give the queries of plan {inputs.plan.name}: {', '.join(short)}")
    fixes = [f"{'; '.join(dict.fromkeys(refills))} fills the gaps"] if refills else []
    if short:
        fixes.append("choose fewer queries per clip: recipe.queries= of a new run, plan= of probe evaluate and predict")
    if problems:
        raise MissingError(
            "some clips can't be probed",
            found="; ".join(problems),
            where=", ".join(dict.fromkeys(layer.store.where for layer in inputs.layers)),
            fix="; ".join(fixes) or None,
        )


def _lacking(store: FeatureSource, arrays: Sequence[ArraySpec], clip_ids: Sequence[str]) -> list[str]:
    known = set(store.clips)
    absent = sorted(set(clip_ids) - known)
    found = [f"{len(absent)} clips are not in the store: {', '.join(absent)}"] if absent else []
    for array in arrays:
        lacking = sorted((set(clip_ids) & known) - set(store.committed(array.name)))
        if lacking:
            found.append(f"{len(lacking)} clips have no features in {array.name}: {', '.join(lacking)}")
    return found
