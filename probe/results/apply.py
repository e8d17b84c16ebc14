"""A finished run applied again: to other clips, queries or metrics, or for its predictions and pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, CorruptionError, MissingError, StaleError
from configs.files import write_atomic
from configs.identity import digest
from configs.loader import closest, resolve
from data.dataset.queries import load_plan
from data.dataset.reader import PreparedDataset
from fusion.opening import open_elsewhere, open_source
from probe.config import EvaluateConfig, PredictConfig, empty_run
from probe.inputs.inputs import Inputs, Layer, check_clips, inputs_identity, open_dataset
from probe.metrics.scores import Scores
from probe.results import results
from probe.results.repeat import train_command
from probe.results.stale import staleness
from probe.results.write import draw, write_tables
from probe.task import load_task
from probe.train.device import resolve_device
from probe.train.member import Member
from probe.train.plan import RunPlan
from probe.train.run_folder import folder_of
from probe.train.session import Session


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Score a finished run on a split and keep the scores in its folder.

    Scores computed before are returned from there: the report split is not read twice.

    Args:
        config: options of `evaluate`.

    Returns:
        `run_id`, `dataset`, `split`, `plan`, `variant` and `metrics`.

    Raises:
        MissingError: no such run, or clips without features or ground truth.
        CorruptionError: a byte of the run's results, weights or kept scores has changed.
        ConfigError: the dataset has other classes than the run.
        StaleError: features, or the dataset of the training, have changed.
    """
    result = results.find_run(config.root, config.run)
    applied = _Applied(config, result)
    asked = {
        "run_id": result["run_id"],
        "dataset": applied.inputs.dataset.name,
        "split": config.split,
        "plan": applied.inputs.plan.name,
        "variant": applied.plan.config.how.variant,
    }
    read = inputs_identity(applied.inputs, applied.inputs.layers[0])
    where = {**asked, "read": read, "resamples": config.resamples, "weights": result["weights"]}
    path = applied.folder / "evaluations" / f"{digest(where)[:16]}.json"
    if not path.is_file():
        scores = applied.scores(applied.clips)
        metrics = scores.summary(applied.groups, config.resamples)
        found = {"format": results.FORMAT, "of": digest(where), **asked, "metrics": metrics, "classes": scores.classes}
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, results.to_json(found))
    fix = f"delete {path}; the same command then evaluates again"
    kept = results.read_sealed(path, fix)
    if kept.get("of") != digest(where):
        raise CorruptionError("scores that answer another question", expected=asked, where=path, fix=fix)
    return kept


def predict(config: PredictConfig) -> Path:
    """Write predictions, metric values per clip and pictures of a finished run; return the folder.

    Args:
        config: options of `predict`.

    Raises:
        MissingError: no such run or clip, or clips without features or ground truth.
        ConfigError, CorruptionError: as in `evaluate`.
    """
    result = results.find_run(config.root, config.run)
    applied = _Applied(config, result)
    folder = Path(config.out) if config.out else applied.folder / "predictions" / f"{applied.name}-{config.split}"
    folder.mkdir(parents=True, exist_ok=True)
    clips = config.clips or applied.clips
    unknown = [clip_id for clip_id in clips if clip_id not in applied.clips]
    if unknown:
        raise MissingError(f"no clip {unknown[0]!r} in split {config.split}", fix=closest(unknown[0], applied.clips))
    scores = applied.scores(clips)
    write_tables(folder, {config.split: scores}, applied.groups)
    if config.pictures:
        draw(applied.member, applied.inputs.dataset, scores, config.pictures, folder)
    return folder


class _Applied:
    """A finished run with its best weights and the inputs it is applied to."""

    def __init__(self, config: EvaluateConfig, result: dict[str, Any]) -> None:
        self.folder = folder_of(config.root, result["run_id"])
        original = resolve(empty_run(result["task"]), [result["config"]], {})
        where = dataclasses.replace(
            original.where, root=config.root, device=config.device, pictures=0, resamples=config.resamples
        )
        how = dataclasses.replace(original.how, variant=config.variant or original.how.variant)
        changed = dataclasses.replace(original, how=how, where=where)
        task = load_task(result["task"])
        elsewhere = config.dataset is not None and config.dataset != result["dataset"]
        if elsewhere:
            home = open_home(config.root, result)
            store = open_elsewhere(
                config.root, str(config.dataset), result["source"], config.store,
                trained_on=result["dataset"], trained_store=result["store"],
            )  # fmt: skip
        else:
            home = None
            named = config.store or result["store"][:12]
            store = open_source(config.root, result["dataset"], result["source"], named)
        dataset = open_dataset(config.root, config.dataset or store.dataset, store)
        array = store.array(result["array"])
        if home is not None and home.class_names != dataset.class_names and task.classes:
            raise ConfigError(
                "this dataset has other classes than the run",
                expected=", ".join(home.class_names[:5]),
                found=", ".join(dataset.class_names[:5]),
            )
        self.clips = dataset.split(config.split, result["split_scheme"])
        plan = load_plan(dataset, config.plan or result["plan"])
        self.inputs = Inputs(dataset, (Layer(store, array),), self.clips, [], self.clips, plan)
        check_clips(self.inputs, task, self.clips)
        self.plan = RunPlan(changed, 0, bool(result["control"]), {"array": array.name})
        self.name = dataset.name
        self.session = Session(changed, self.inputs, resolve_device(config.device), home=home)
        self.member: Member = self.session.member(self.plan, folder=self.folder, run_id=result["run_id"])
        self.member.load_best(train_command(result, root=config.root, force="true"), result["weights"])
        rooms = dataset.clips["group_id"].to_dict()
        self.groups = {str(clip_id): str(room) for clip_id, room in rooms.items()}

    def scores(self, clips: list[str]) -> Scores:
        """Return the scores of some clips."""
        data = self.session.data(self.inputs.layers, self.plan.control)
        return self.session.scores([self.member], data, clips, full=True, among=self.clips)[0]


def open_home(root: str | None, result: dict[str, Any]) -> PreparedDataset:
    """Return the dataset that a run was trained on, whose classes and their shares it has learnt.

    Raises:
        MissingError: it is gone. StaleError: it has changed since.
    """
    dataset = PreparedDataset.open(result["dataset"], root)
    if why := staleness(root, [result]).stale.get(result["run_id"]):
        raise StaleError(
            f"the dataset that run {result['run_id']} was trained on has changed since",
            found=why,
            where=dataset.path,
            fix=train_command(result, store=False, root=root),
        )
    return dataset
