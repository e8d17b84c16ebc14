"""The section with all pictures; what can't be drawn says why and which command helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from configs import commands
from configs.errors import SpatialprobeError
from data.dataset.reader import PreparedDataset
from probe.report.contract import ReportData
from probe.report.page.document import Block, Missing, Section
from probe.report.page.labels import Sources
from probe.report.pictures.choice import ShownRun, common_clips, points_file, shown_runs
from probe.report.pictures.features import feature_blocks
from probe.task import tasks

CLIPS = 2
"""Clips that are shown."""

_LEAD = "The chosen layer of each source, first seed, on clips of the report split. Pictures show, they don't prove."


def pictures_section(data: ReportData, sources: Sources) -> Section:
    """Return scenes, features and pictures of predictions for the first clips that the runs have in common.

    What a task draws is in the file `report.py` of its folder, which has one of these functions or both, each a `Draw`:
    `scene_block` for the viewer, from the points that runs kept, and `clip_block` for pictures.
    """
    parts = {task.name: task.part("report") for task in tasks()}
    scenes = {task: part.scene_block for task, part in parts.items() if part and hasattr(part, "scene_block")}
    pictures = {task: part.clip_block for task, part in parts.items() if part and hasattr(part, "clip_block")}
    runs = {task: shown_runs(data, task) for task in dict.fromkeys([*scenes, *pictures, *parts])}
    if not any(runs.values()):
        nothing = Missing("No finished run to show.", _train(next(iter(runs), commands.ANY)))
        return Section("pictures", "Pictures", [nothing], _LEAD)
    opened: dict[str, PreparedDataset | SpatialprobeError] = {}
    blocks: list[Block] = []
    for task, draw in scenes.items():
        blocks += _scenes(data, sources, task, runs[task], opened, draw)
    blocks += _features(data, sources, [run for some in runs.values() for run in some], opened)
    for task, draw in pictures.items():
        blocks += _drawn(data, sources, task, runs[task], opened, draw)
    return Section("pictures", "Pictures", blocks, _LEAD)


Draw = Callable[[Sources, PreparedDataset, str, Sequence[ShownRun]], Block]
"""From the sources of the report, a dataset, a clip and the runs of the task to what is shown."""


def _drawn(
    data: ReportData,
    sources: Sources,
    task: str,
    runs: list[ShownRun],
    opened: dict[str, PreparedDataset | SpatialprobeError],
    draw: Draw,
    clips: list[str] | None = None,
) -> list[Block]:
    clips = common_clips(runs, CLIPS) if clips is None else clips
    if not clips:
        text = f"No {task} run with predictions."
        return [Missing(text, _train(task))]
    dataset = _open(data, runs[0].dataset, opened)
    if isinstance(dataset, SpatialprobeError):
        return [_refused(f"Pictures of {task}", dataset)]
    blocks: list[Block] = []
    for clip_id in clips:
        try:
            blocks.append(draw(sources, dataset, clip_id, runs))
        except SpatialprobeError as error:
            blocks.append(_refused(f"Clip {clip_id}", error))
    return blocks


def _scenes(
    data: ReportData,
    sources: Sources,
    task: str,
    runs: list[ShownRun],
    opened: dict[str, PreparedDataset | SpatialprobeError],
    draw: Draw,
) -> list[Block]:
    """Clips with kept points come first: runs keep those of a few clips only."""
    clips = common_clips(runs, 1000)
    votes = {clip_id: sum(points_file(run, clip_id) is not None for run in runs) for clip_id in clips[:50]}
    clips = sorted(votes, key=lambda clip_id: -votes[clip_id])[:CLIPS]
    return _drawn(data, sources, task, runs, opened, draw, clips)


def _features(
    data: ReportData,
    sources: Sources,
    runs: list[ShownRun],
    opened: dict[str, PreparedDataset | SpatialprobeError],
) -> list[Block]:
    dataset = _open(data, runs[0].dataset, opened)
    if isinstance(dataset, SpatialprobeError):
        return [_refused("Features", dataset)]
    clips = common_clips([run for run in runs if run.dataset == dataset.name], 1)
    if not clips:
        return []
    try:
        return feature_blocks(data, sources, dataset, clips[0])
    except SpatialprobeError as error:
        return [_refused("Features", error)]


def _open(
    data: ReportData, name: str, opened: dict[str, PreparedDataset | SpatialprobeError]
) -> PreparedDataset | SpatialprobeError:
    if name not in opened:
        try:
            opened[name] = PreparedDataset.open(name, data.root)
        except SpatialprobeError as error:
            opened[name] = error
    return opened[name]


def _refused(what: str, error: SpatialprobeError) -> Missing:
    return Missing(f"{what}: {error.problem}.", error.fix or "")


def _train(task: str) -> str:
    return commands.portable(commands.probe("train", task=task, model=commands.Blank("<source>")))
