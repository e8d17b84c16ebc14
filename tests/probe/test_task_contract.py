"""What every task keeps to, those of plug-ins too: run it with SPATIALPROBE_PLUGINS set to check one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from configs.loader import known_names, resolve
from probe.inputs.batches import collate
from probe.inputs.control_tasks import ControlTask
from probe.inputs.inputs import RememberingDataset
from probe.metrics.scores import Scores
from probe.module import Facts, ProbeModule, TargetOptions, load_module
from probe.scouting import load_scout
from probe.task import Task, TaskOptions, known_metrics, load_task, task_names

GRID, CHANNELS = (4, 4), 8
TASKS = task_names()


def options_of(name: str, profile: str = "debug") -> Any:
    task = load_task(name)
    return resolve(task.options, [task.values(profile)], {})


def module_of(name: str, dataset: RememberingDataset) -> ProbeModule[Any]:
    rates = load_module(name).rates(dataset, dataset.split("train"))
    facts = Facts(CHANNELS, GRID, dataset.gt_size(dataset.split("train")[0]), tuple(dataset.class_names), rates)
    torch.manual_seed(0)
    return load_module(name)(options_of(name), facts, 4)


def batch_of(name: str, dataset: RememberingDataset, *, evaluation: bool = False) -> dict[str, Any]:
    """Return the targets of four training clips whose samples can be learned from."""
    clips = dataset.split("train")[:4]
    wanted = TargetOptions(clips, None, "random_start", 2, 0, dataset.positions(clips[0]).tolist())
    targets = load_module(name).targets(dataset, options_of(name), wanted, evaluation=evaluation)
    samples = [targets.sample(clip_id, 0) for clip_id in clips]
    again = [targets.sample(clip_id, 0) for clip_id in clips]
    for sample, other in zip(samples, again, strict=True):
        assert sample["clip_id"] == other["clip_id"] and tuple(sample["queries"].shape) == (2,)
        assert all(torch.equal(sample[key], other[key]) for key in sample if isinstance(sample[key], torch.Tensor))
    return collate([sample for sample in samples if sample.get("usable", True)])


def arrays(sample: dict[str, Any]) -> dict[str, Any]:
    """Return a sample as evaluators get it: tensors as arrays."""
    return {key: item.numpy() if isinstance(item, torch.Tensor) else item for key, item in sample.items()}


@pytest.fixture(scope="module")
def dataset(toy_artifacts: Path) -> RememberingDataset:
    return RememberingDataset(toy_artifacts / "datasets" / "toy")


@pytest.mark.parametrize("name", TASKS)
def test_declaration(name: str) -> None:
    task, metrics = load_task(name), known_metrics(name)
    assert issubclass(task.options, TaskOptions)
    assert not metrics[task.headline].diagnostic
    assert all(metric.bounds in ("", *metrics) for metric in metrics.values())
    assert all(metric.title and metric.better in ("higher", "lower") for metric in metrics.values())
    for bins in task.bins:
        assert bins.metric in metrics and bins.labels
        assert all(key.startswith(f"{bins.prefix}_") for key in bins.labels)
        assert [other for name in TASKS for other in load_task(name).bins if other.table == bins.table] == [bins]
    assert all(upwards in metrics for _, upwards in task.scatter)
    control = task.part("control")
    if control is not None:
        assert isinstance(control.CONTROL, ControlTask) and set(control.CONTROL.metrics) <= metrics.keys()
        assert task.headline in control.CONTROL.metrics and control.CONTROL.unit in ("room", "object")
    profiles = []
    for profile in known_names("profile"):
        try:
            profiles.append(options_of(name, profile))
        except KeyError:
            continue
    assert profiles, "none of the profiles has the task"
    assert all(isinstance(options, task.options) for options in profiles)


def test_declarations_load_no_torch() -> None:
    code = (
        "import sys; from probe.task import known_metrics, task_names\n"
        "print([known_metrics(name) and name for name in task_names() if 'torch' not in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_network_learns_from_targets(name: str, dataset: RememberingDataset) -> None:
    module, targets = module_of(name, dataset), batch_of(name, dataset)
    features = torch.randn(len(targets["clip_id"]), 2, *GRID, CHANNELS)
    outputs, terms = module.compute(features, targets)
    assert terms["loss"].ndim == 0 and terms["loss"].isfinite()
    torch.autograd.backward(terms["loss"])
    idle = [key for key, p in module.probe.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []
    module.eval()
    outputs = module(features, targets["queries"])
    for i in range(len(features)):
        one = module(features[i : i + 1], targets["queries"][i : i + 1])
        cut = module.one_of(outputs, i)
        assert one.keys() == cut.keys()
        for key in one:
            torch.testing.assert_close(cut[key], one[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["standard", "paper"])
@pytest.mark.parametrize("name", TASKS)
def test_evaluation_gives_the_declared_metrics(name: str, variant: str, dataset: RememberingDataset) -> None:
    task, module = load_task(name), module_of(name, dataset).eval()
    targets = batch_of(name, dataset, evaluation=True)
    with torch.no_grad():
        outputs = module(torch.randn(len(targets["clip_id"]), 2, *GRID, CHANNELS), targets["queries"])
    evaluator = module.evaluator(variant, full=True)
    for i, clip_id in enumerate(targets["clip_id"]):
        alone = {key: value[0] for key, value in module.one_of(outputs, i).items()}
        sample = {key: value[i] for key, value in targets.items()}
        evaluator.add(clip_id, targets["queries"][i].tolist(), arrays(alone), arrays(sample))
    scores = evaluator.finish()
    assert scores.clip_ids == targets["clip_id"]
    rooms = {clip_id: f"room{i % 2}" for i, clip_id in enumerate(scores.clip_ids)}
    summary = scores.summary(rooms, 20)
    assert task.headline in summary
    assert (task.headline in scores.pooled) == task.pooled
    for key, metric in known_metrics(name).items():
        value = summary[key]["value"] if key in summary else None
        if value is not None:
            assert metric.low <= value and (metric.high is None or value <= metric.high), key
    assert set(module.cheap_metrics) <= set(summary)
    assert all(set(bins.labels) <= set(summary) for bins in task.bins)
    assert [row["clip_id"] for row in scores.predictions] == scores.clip_ids
    assert (task.part("jackknife") is not None) == task.pooled
    check_what_the_report_calls(task, scores, variant)


@pytest.mark.parametrize("name", [name for name in TASKS if load_task(name).part("scout")])
def test_scouts_judge_the_same_samples_on_any_grid(name: str, dataset: RememberingDataset) -> None:
    part, (clip_id, *_) = load_scout(name), dataset.split("train")
    queries = dataset.query_positions(clip_id)[:2]
    truth, again = (part.truth(dataset, clip_id, queries, 50) for _ in range(2))
    targets = part.targets(truth)
    assert 0 < len(truth) == len(targets) <= 50 and targets.ndim == 2 and np.isfinite(targets).all()
    assert np.array_equal(targets, part.targets(again))
    for grid in (GRID, (3, 5)):
        features = np.random.default_rng(0).standard_normal((2, *grid, CHANNELS))
        assert part.regressors(features, truth).shape == (len(truth), CHANNELS)
    judged = np.stack([part.judge(targets, truth), part.judge(-targets, truth)])
    values = part.score(judged)
    assert list(values) == list(part.METRICS)
    for key, metric in part.METRICS.items():
        declared = load_task(name).metrics.get(key, metric)
        assert (metric.title, metric.better) == (declared.title, declared.better)
        if not np.isnan(values[key]):  # the toy's depth is the same everywhere: no variance to explain
            assert metric.low <= values[key] and (metric.high is None or values[key] <= metric.high)


def check_what_the_report_calls(task: Task, scores: Scores, variant: str) -> None:
    """Pooled metrics by room agree with their values; what a task draws has the names that are looked for."""
    jackknife, drawn = task.part("jackknife"), task.part("report")
    if jackknife is not None:
        rows, result = pd.DataFrame(scores.predictions), {"classes": scores.classes, "variant": variant}
        assert {"clip_id", *jackknife.COLUMNS} <= set(rows) and jackknife.fits(rows, result)
        found = jackknife.pooled_scores(rows, result, [f"room{i}" for i in range(len(rows))])
        assert len(found.classes) == len(scores.classes)
        assert task.headline in found.values
        assert dict(found.values) == pytest.approx({key: scores.pooled[key] for key in found.values}, nan_ok=True)
    if drawn is not None:
        assert hasattr(drawn, "scene_block") or hasattr(drawn, "clip_block")
