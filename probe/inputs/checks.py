"""Whether store, dataset and task fit each other, and every clip has what a run needs: told before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs.errors import ConfigError, MissingError, StoreError
from configs.loader import closest
from data.dataset.reader import PreparedDataset
from fusion.views.grids import extract_command, refill_command
from probe.task import Task, known_metrics, load_task, task_file, task_names

if TYPE_CHECKING:
    from probe.inputs.inputs import Inputs


def check_dataset(store: FeatureSource, name: str) -> None:
    """Refuse a store that was made from another dataset.

    Raises:
        StoreError: it was.
    """
    if store.dataset != name:
        raise StoreError(
            "this feature store was made from another dataset",
            expected=name,
            found=store.dataset,
            where=store.where,
            fix=f"leave out dataset=, or extract features of {name}: {extract_command(store.source, name)}",
        )


def check_truth(dataset: PreparedDataset, task: Task) -> None:
    """Refuse a dataset that has no ground truth for a task at all.

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
            fix=f"python -m probe train task={served[0]} dataset={dataset.name}" if served
            else "import the dataset with its annotations, see docs/prepared-dataset.md",
        )  # fmt: skip


def _truth_columns(dataset: PreparedDataset) -> list[str]:
    """Return the columns of the index that hold true and false, or nothing, for each clip."""
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
    from fusion.views.view import FusedView

    problems: list[str] = []
    commands: list[str] = []
    for store in {id(layer.store): layer.store for layer in inputs.layers}.values():
        arrays = [layer.array for layer in inputs.layers if layer.store is store]
        found = _lacking(store, arrays, clip_ids)
        if found:
            problems += [f"{store.source}: {problem}" for problem in found]
            read = store.parts(array.name for array in arrays) if isinstance(store, FusedView) else [(store, arrays)]
            commands += [refill_command(parent) for parent, arrays in read if _lacking(parent, arrays, clip_ids)]
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
            where=", ".join(dict.fromkeys(layer.store.where for layer in inputs.layers)),
            fix=f"{'; '.join(dict.fromkeys(commands))} fills the gaps" if commands else None,
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
