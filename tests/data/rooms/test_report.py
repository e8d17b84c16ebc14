from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.dataset.ceilings import cells, depth_floor, instance_score, perfect_cells
from data.dataset.clip import Clip
from data.dataset.taxonomy import SCANNET20
from data.rooms.config import RoomsConfig
from data.rooms.paths import query_positions
from data.rooms.recording import FrameRenderer
from data.rooms.report import Truth, print_report, report, store_report
from data.rooms.source import RoomsSource
from data.rooms.world import build


def truth_of_clip(clip: Clip) -> Truth:
    """Return the ground truth of a clip in memory."""
    assert clip.instance is not None and clip.depth is not None and clip.class_pixels is not None
    stored = list(range(len(clip.frames))) if clip.positions is None else clip.positions.tolist()
    dense = clip.gt_frames.tolist()
    counts = clip.class_pixels[[stored.index(position) for position in dense]]
    things = [item.id for item in clip.instances if item.is_thing]
    return Truth(clip.clip_id, dense, clip.instance, clip.depth, counts, things)


def slow_score(predicted: NDArray[np.int64], instance: NDArray[np.uint16]) -> tuple[float, float]:
    """T-mIoU and T-SR by definition, with boolean masks."""
    valid = instance > 0
    ious, successes = [], []
    for number in np.unique(instance[valid]):
        truth = instance == number
        clusters = [c for c in np.unique(predicted[valid]) if c >= 0]
        best = max(
            clusters, key=lambda c: ((predicted == c) & truth).sum() / (((predicted == c) & valid) | truth).sum()
        )
        guess = (predicted == best) & valid
        queries = [v for v in range(len(instance)) if truth[v].any()]
        per_query = [(guess[v] & truth[v]).sum() / (guess[v] | truth[v]).sum() for v in queries]
        ious.append(np.mean(per_query))
        successes.append(min(per_query) >= 0.5)
    return float(np.mean(ious)), float(np.mean(successes))


def test_scores_match_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        instance = rng.integers(0, 4, (3, 6, 8)).astype(np.uint16)
        predicted = np.where(rng.random((3, 6, 8)) < 0.6, instance.astype(int) - 1, rng.integers(-1, 4, (3, 6, 8)))
        found = instance_score(predicted, instance)
        assert found[:2] == pytest.approx(slow_score(predicted, instance))
        assert found.objects == 3


def test_objects_are_matched_over_the_volume_not_over_frames_laid_on_top() -> None:
    instance, predicted = np.zeros((2, 1, 4), np.uint16), np.full((2, 1, 4), -1)
    instance[0, 0, :2], instance[1, 0, 2:] = 1, 1
    instance[0, 0, 2:], instance[1, 0, :2] = 2, 2
    predicted[instance == 1], predicted[instance == 2] = 5, 3
    assert instance_score(predicted, instance)[:2] == (1.0, 1.0)


def test_nothing_to_score() -> None:
    blank = np.zeros((2, 4, 4), np.uint16)
    assert instance_score(np.full((2, 4, 4), -1), blank) == (0.0, 0.0, 0)
    assert instance_score(np.full((2, 4, 4), -1), blank + 1) == (0.0, 0.0, 1)


def test_perfect_cells_vote_per_cell() -> None:
    instance = np.array([[[1, 1, 2, 0], [1, 2, 0, 0]]], np.uint16)
    np.testing.assert_array_equal(perfect_cells(instance, 2), [[[1, 1, -1, -1], [1, 1, -1, -1]]])
    np.testing.assert_array_equal(perfect_cells(instance[:, :, :2].repeat(2, 1), 1), np.ones((1, 4, 2)))
    np.testing.assert_array_equal(cells((4, 6), (2, 2)), np.repeat([[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]], 2, axis=0))


def test_depth_floor_is_the_error_of_cell_means() -> None:
    depth = np.array([[[1.0, 3.0, 2.0, 2.0], [1.0, 3.0, 0.0, 2.0]]], np.float32)
    floor = depth_floor(depth, 2)  # cells of one row and two columns
    assert floor.abs_rel == pytest.approx((1 + 1 / 3 + 1 + 1 / 3) / 7)
    assert floor.rmse == pytest.approx(np.sqrt(4 / 7))
    assert depth_floor(np.full((1, 8, 8), 2.0, np.float32), 4) == (0.0, 0.0)


def geometry(number: int) -> Truth:
    """Ground truth of one default room without rendering colour."""
    world = build(RoomsConfig(), number)
    renderer, query = FrameRenderer(world), query_positions(81)
    frames = [renderer.render(position, colour=False) for position in query]
    counts = np.zeros((len(query), 20), np.int32)
    things = list(range(7, 7 + len(world.scene.objects)))
    instance = np.stack([frame.instance for frame in frames])
    return Truth(f"room{number:05d}", query, instance, np.stack([f.geometry.depth for f in frames]), counts, things)


def test_ceilings_are_near_those_of_the_reference_rooms() -> None:
    found = report((geometry(number) for number in range(5)), SCANNET20.names)["ceilings"]
    assert found["8x8"]["t_miou"] == pytest.approx(0.54, abs=0.08)
    assert found["16x16"]["t_miou"] == pytest.approx(0.70, abs=0.08)
    assert found["32x32"]["t_miou"] == pytest.approx(0.82, abs=0.08)
    errors = [found[grid]["depth_abs_rel"] for grid in ("8x8", "16x16", "32x32")]
    assert 0.15 > errors[0] > errors[1] > errors[2] > 0


def test_a_report_says_what_sampled_queries_see(make: Callable[..., Clip], capsys: pytest.CaptureFixture[str]) -> None:
    clips = [make(number, frames=41) for number in (0, 1)]
    content = report((truth_of_clip(clip) for clip in clips), SCANNET20.names)
    assert content["clips"] == 2 and content["queries"] == 8
    wall = content["classes"]["wall"]
    assert wall == {"clips_positive": 1.0, "clips_positive_in_queries": 1.0, "queries_when_positive": 8.0}
    for row in content["classes"].values():
        assert row["clips_positive_in_queries"] <= row["clips_positive"]
    objects = content["instances"]
    assert sum(objects["queries_histogram"]) == 2 * objects["objects_per_clip"]
    print_report(json.loads(json.dumps(content, sort_keys=True)))  # as it comes back from report.json
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    row = next(words for words in printed if words[:1] == ["8x8"])
    assert float(row[1]) == pytest.approx(content["ceilings"]["8x8"]["t_miou"], rel=1e-3)
    assert ["wall", "1", "1", "8"] in printed


def test_the_report_of_a_prepared_dataset_is_that_of_its_source(small: RoomsConfig, tmp_path: Path) -> None:
    from data.prepare.prepare import prepare

    source = RoomsSource(replace(small, clips=2, frames=41, render="query", splits="hash"))
    prepare(source, tmp_path / "rooms", plans=[], workers=1)
    stored = json.loads(store_report(tmp_path / "rooms").read_text())
    direct = report((truth_of_clip(source.make(clip_id)) for clip_id in source.clip_ids()), SCANNET20.names)
    assert stored["classes"] == direct["classes"] and stored["instances"] == direct["instances"]
    for grid, values in direct["ceilings"].items():
        assert stored["ceilings"][grid] == pytest.approx(values, abs=1e-4)  # stored depth is rounded


def test_a_report_on_nothing_is_refused() -> None:
    with pytest.raises(DatasetError, match="no clip"):
        report([], SCANNET20.names)
