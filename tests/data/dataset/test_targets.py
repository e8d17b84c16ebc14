"""What tasks learn from: label thresholds, sampled pixels, exact and invariant geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from configs.errors import ConfigError, MissingError
from data.dataset.queries import load_plan
from data.dataset.reader import PreparedDataset
from data.dataset.samples import ClipSamples, SampleOptions, teacher_confidence
from data.dataset.targets import geometry_targets, pixel_threshold, sample_pixels, tag_labels


def test_label_threshold_is_inclusive_and_scaled() -> None:
    counts = np.array([[100, 199, 0, 200], [100, 0, 0, 0]], np.int32)
    assert tag_labels(counts, (540, 720)).tolist() == [1, 0, 0, 1]
    assert pixel_threshold((270, 360)) == 50
    assert tag_labels(np.array([[50, 49]], np.int32), (270, 360)).tolist() == [1, 0]
    assert tag_labels(counts, (540, 720), min_queries=2).tolist() == [1, 0, 0, 0]
    assert tag_labels(np.zeros((2, 1), np.int32), (4, 4)).tolist() == [0]


def test_labels_follow_the_sampled_queries(toy: PreparedDataset) -> None:
    samples = ClipSamples(toy, ["plain_00"], SampleOptions(target="labels"), n_queries=4)
    for epoch in range(5):
        samples.set_epoch(epoch)
        item = samples[0]
        counts = toy.class_pixels("plain_00", item["queries"].tolist())
        assert item["labels"].dtype == torch.float32
        assert np.array_equal(item["labels"].numpy(), tag_labels(counts, (32, 40)))


def test_pixel_sampling() -> None:
    maps = np.zeros((3, 10, 12), np.uint16)
    maps[0, 2:4, 3:9], maps[2, 5, :], maps[1, 0, 0] = 1, 2, 3
    rng = np.random.default_rng(0)
    drawn = sample_pixels(maps, 20, rng)
    assert np.array_equal(maps[tuple(drawn.coordinates.T)], drawn.ids) and drawn.valid.all()
    assert len({tuple(c) for c in drawn.coordinates}) == 20  # without replacement: 25 pixels are annotated
    assert sample_pixels(maps, 100, rng).ids.shape == (100,)  # with replacement
    balanced = sample_pixels(maps, 6000, rng, balanced=True).ids
    assert np.allclose(np.bincount(balanced)[1:] / 6000, 1 / 3, atol=0.03)
    empty = sample_pixels(np.zeros((2, 4, 4), np.uint16), 5, rng)
    assert not empty.valid.any() and empty.ids.shape == (5,)


def scene(queries: int = 3, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Random cameras that look at the plane z = 0 of the world, with its exact depth."""
    rng = np.random.default_rng(seed)
    height, width = 12, 16
    k = np.array([[14, 0, 7.5], [0, 13, 6.2], [0, 0, 1]], np.float32)
    poses, depths = [], []
    for _ in range(queries):
        angle = rng.uniform(-0.3, 0.3, 3)
        r = np.eye(3)
        for axis, a in enumerate(angle):
            c, s = np.cos(a), np.sin(a)
            i, j = [(1, 2), (0, 2), (0, 1)][axis]
            turn = np.eye(3)
            turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -s, s
            r = turn @ r
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = r, rng.uniform(-1, 1, 3) - [0, 0, 5]
        v, u = np.mgrid[0:height, 0:width] + 0.5
        rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1)
        world = rays @ r.T
        depths.append(-pose[2, 3] / world[..., 2])
        poses.append(pose)
    return (
        np.stack(depths).astype(np.float32),
        np.tile(k, (queries, 1, 1)),
        np.stack(poses).astype(np.float32),
        np.ones(queries, bool),
    )


def test_points_are_exact_in_camera_0() -> None:
    depth, k, poses, valid = scene()
    target = geometry_targets(depth, k, poses, valid)
    assert target.usable and np.allclose(target.world2cam[0], np.eye(4))
    assert np.linalg.norm(target.points[0], axis=-1).mean() == pytest.approx(1, abs=1e-5)
    to_world = poses[0].astype(np.float64)
    world = target.points.astype(np.float64) / target.scale @ to_world[:3, :3].T + to_world[:3, 3]
    assert np.abs(world[..., 2]).max() < 1e-4  # all on the plane z = 0
    for i in range(3):  # a point moved by world2cam has the depth of its own query
        local = target.points[i] @ target.world2cam[i, :3, :3].T + target.world2cam[i, :3, 3]
        assert np.allclose(local[..., 2], target.depth[i], atol=1e-5)


def test_scale_and_world_frame_do_not_matter() -> None:
    depth, k, poses, valid = scene()
    base = geometry_targets(depth, k, poses, valid)
    turn = np.array([[0, -1, 0, 3], [1, 0, 0, 2], [0, 0, 1, 1], [0, 0, 0, 1]], np.float32)
    scaled = poses.copy()
    scaled[:, :3, 3] *= 7
    other = geometry_targets(depth * 7, k, turn @ scaled, valid)
    assert other.scale == pytest.approx(base.scale / 7, rel=1e-4)
    for name in ("points", "depth", "world2cam"):
        assert np.allclose(getattr(base, name), getattr(other, name), atol=1e-5)


def test_smaller_size_keeps_exact_rays() -> None:
    depth, k, poses, valid = scene()
    full, small = geometry_targets(depth, k, poses, valid), geometry_targets(depth, k, poses, valid, size=(4, 4))
    assert small.depth.shape == (3, 4, 4) and small.points.shape == (3, 4, 4, 3)
    rows, columns = [1, 4, 7, 10], [2, 6, 10, 14]  # the source pixels under the target pixel centres
    assert np.allclose(small.points / small.scale, full.points[:, rows][:, :, columns] / full.scale, atol=1e-4)
    assert np.allclose(small.intrinsics[0], k[0] * [[4 / 16], [4 / 12], [1]])
    with pytest.raises(ValueError, match="at most"):
        geometry_targets(depth, k, poses, valid, size=(13, 4))


def test_unknown_depth_and_confidence() -> None:
    depth, k, poses, valid = scene()
    depth[1, :3] = 0
    confidence = np.full(depth.shape, 0.5, np.float16)
    target = geometry_targets(depth, k, poses, valid, confidence)
    assert (target.confidence[1, :3] == 0).all() and (target.confidence[1, 3:] == 0.5).all()
    assert (target.points[1, :3] == 0).all()


@pytest.mark.parametrize("case", ["pose", "no depth", "tiny", "huge"])
def test_unusable_clips_are_flagged_not_crashed(case: str) -> None:
    depth, k, poses, valid = scene()
    if case == "pose":
        poses[1], valid[1] = -np.inf, False
    elif case == "no depth":
        depth[0] = 0
    else:
        factor = 1e-5 if case == "tiny" else 1e6
        depth, poses[:, :3, 3] = depth * factor, poses[:, :3, 3] * factor
    target = geometry_targets(depth, k, poses, valid)
    assert not target.usable and target.reason and np.isfinite(target.points).all()


def test_geometry_samples(toy: PreparedDataset) -> None:
    samples = ClipSamples(toy, ["plain_00", "invalid_00"], SampleOptions(target="geometry", size=(8, 10)), n_queries=4)
    item = samples[0]
    assert item["points"].shape == (4, 8, 10, 3) and item["usable"] and item["world2cam"].dtype == torch.float32
    assert "frames" not in item and "ids" not in item and "labels" not in item
    bad = [e for e in range(60) if 9 in samples.queries("invalid_00", e)]
    assert bad and not samples.sample("invalid_00", bad[0])["usable"]


def test_confidence_is_that_of_the_teacher(toy: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = SampleOptions(target="geometry")
    assert (ClipSamples(toy, ["plain_00"], wanted, n_queries=4)[0]["confidence"] == 1).all()
    depth = toy.depth

    def holed(clip_id: str, positions: Sequence[int]) -> np.ndarray:
        return np.where(np.arange(40) < 7, 0, depth(clip_id, positions))

    monkeypatch.setattr(toy, "depth", holed)
    raw = np.linspace(1, 60, 4 * 32 * 40).reshape(4, 32, 40)
    monkeypatch.setattr(toy, "confidence", lambda clip_id, positions: (1 - 1 / raw).astype(np.float16))
    found = ClipSamples(toy, ["plain_00"], wanted, n_queries=4)[0]["confidence"].numpy()
    assert found.dtype == np.float32 and (found[..., :7] == 0).all()
    np.testing.assert_allclose(found[..., 7:], raw[..., 7:], rtol=0.02)


def test_surest_teacher_stays_finite() -> None:
    raw = np.array([1, 2, 100, 1e3, 1e5])
    found = teacher_confidence((1 - 1 / raw).astype(np.float16).astype(np.float32))
    assert found[:3] == pytest.approx(raw[:3], rel=0.03) and found[3] == pytest.approx(1e3, rel=0.3)
    assert found[4] == 4096


def test_only_what_is_asked_for(toy: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("read something that the task does not need")

    for name in ("frames", "depth", "confidence"):
        monkeypatch.setattr(toy, name, refuse)
    item = ClipSamples(toy, ["plain_00"], SampleOptions(target="instances", pixels=64), n_queries=4)[0]
    assert set(item) == {"clip_id", "queries", "coordinates", "ids", "valid"} and item["coordinates"].shape == (64, 3)
    monkeypatch.setattr(toy, "instance_maps", refuse)
    ClipSamples(toy, ["plain_00"], SampleOptions(target="labels"), n_queries=4)[0]


def test_maps_on_request(toy: PreparedDataset) -> None:
    options = SampleOptions(target="instances", pixels=16, with_maps=True)
    item = ClipSamples(toy, ["portrait_00"], options, plan=load_plan(toy, "paper-4"))[0]
    assert item["maps"].shape == (4, 48, 32) and item["maps"].dtype == torch.int32
    assert item["things"].tolist() == [False, False, True, False]
    assert item["queries"].tolist() == list(load_plan(toy, "paper-4").of("portrait_00"))


def test_workers_do_not_matter(toy: PreparedDataset) -> None:
    clips = ["plain_00", "plain_01", "portrait_00", "invalid_00"]
    samples = ClipSamples(toy, clips, SampleOptions(target="instances", pixels=8), n_queries=4, seed=3)
    samples.set_epoch(2)
    here = [samples[i] for i in range(4)]
    loader = torch.utils.data.DataLoader(samples, batch_size=None, num_workers=2)
    for one, other in zip(here, loader, strict=True):
        assert torch.equal(one["queries"], other["queries"]) and torch.equal(one["coordinates"], other["coordinates"])


def test_restricted_positions(toy: PreparedDataset) -> None:
    positions = [0, 5, 13, 21, 29, 37]
    samples = ClipSamples(
        toy, ["plain_00"], SampleOptions(target="labels"), sampler="uniform", n_queries=3, positions=positions
    )
    assert set(samples.queries("plain_00", 0)) <= set(positions)
    with pytest.raises(MissingError, match="queries without features"):
        ClipSamples(
            toy, ["plain_00"], SampleOptions(target="labels"), plan=load_plan(toy, "paper-4"), positions=[0, 1, 5, 9]
        )


def test_start_up_check(toy: PreparedDataset) -> None:
    with pytest.raises(ConfigError, match="did you mean instances"):
        ClipSamples(toy, ["plain_00"], SampleOptions(target="instance"))
    with pytest.raises(MissingError, match="1 clips are not in the dataset"):
        ClipSamples(toy, ["plain_00", "ghost"], SampleOptions(target="labels"))
    with pytest.raises(MissingError, match="leaves out"):
        ClipSamples(toy, ["short_00"], SampleOptions(target="labels"), plan=load_plan(toy, "paper-8"))
