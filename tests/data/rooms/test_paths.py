from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import DatasetError
from configs.loader import load_named, resolve
from data.dataset.clip import QUERY_POSITIONS
from data.rooms.config import RoomsConfig
from data.rooms.furniture import block_of
from data.rooms.paths import measure, required_clearance
from data.rooms.render import Caster
from data.rooms.scene import SHELL_LABELS, Pinhole, Scene, turn_degrees
from data.rooms.source import RoomsSource
from data.rooms.world import World, build


def closest_point_distance(scene: Scene, eye: NDArray[np.float64]) -> float:
    """Distance from a point to the nearest primitive's box or shell face, one at a time with rotation matrices."""
    best = min(float(half - abs(value)) for half, value in zip(scene.half, eye, strict=True))
    p = scene.primitives
    for i in range(len(p.kind)):
        turn = np.array([[p.cos[i], -p.sin[i], 0], [p.sin[i], p.cos[i], 0], [0, 0, 1]])
        local = (eye - p.centre[i]) @ turn
        best = min(best, float(np.linalg.norm(local - np.clip(local, -p.half[i], p.half[i]))))
    return best


def violations(world: World, longest: int, positions: list[int]) -> list[str]:
    """Measure the invariants of one clip at some positions by definition, without the generator's own checks."""
    broken = []
    if min(closest_point_distance(world.scene, world.path[position, :3, 3]) for position in positions) < 0.2:
        broken.append("clearance")
    if np.median(turn_degrees(world.path)) >= 6:
        broken.append("turn")
    camera = world.camera.thumbnail(longest)
    caster = Caster(world.scene, camera)
    buffers = {position: caster.cast(world.path[position]) for position in positions}
    if min(np.percentile(buffer.depth, 1) for buffer in buffers.values()) < 0.25:
        broken.append("depth")
    seen: Counter[int] = Counter()
    for position in sorted(set(positions) & set(QUERY_POSITIONS)):
        ids, counts = np.unique(caster.instance(buffers[position]), return_counts=True)
        seen.update(ids[counts >= 0.0017 * camera.height * camera.width].tolist())
    objects = sum(1 for number, frames in seen.items() if number > len(SHELL_LABELS) and frames >= 2)
    if objects < 6:
        broken.append(f"{objects} visible")
    points = np.stack(buffers[0].points(), axis=-1).reshape(-1, 3)
    pose = world.path[73]
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixel = (local @ camera.matrix.T)[local[:, 2] > 0.05]
    pixel[:, :2] /= pixel[:, 2:]
    inside = ((pixel[:, :2] >= 0) & (pixel[:, :2] < [camera.width, camera.height])).all(axis=1)
    at = pixel[inside].astype(int)
    again = np.abs(buffers[73].depth[at[:, 1], at[:, 0]] / pixel[inside, 2] - 1) < 0.05
    if again.sum() / len(points) < 0.04:
        broken.append(f"overlap {again.sum() / len(points):.3f}")
    return broken


def ci() -> RoomsConfig:
    return resolve(RoomsConfig, [load_named("dataset/rooms", "ci")], {})


@pytest.fixture(scope="module")
def ci_worlds() -> list[World]:
    """The 40 clips of the default preset, not rendered."""
    return [build(ci(), number) for number in range(ci().clips)]


def test_no_clip_of_the_default_preset_breaks_an_invariant(ci_worlds: list[World]) -> None:
    # An object seen in two of six query frames is seen in two of all twenty; where six don't do, all are counted.
    suspects = [world for world in ci_worlds if violations(world, 48, [0, 13, 29, 45, 61, 73])]
    assert len(suspects) < 20
    assert [violations(world, 48, list(QUERY_POSITIONS)) for world in suspects] == [[]] * len(suspects)


@pytest.mark.full
def test_no_clip_of_the_default_preset_breaks_an_invariant_at_full_size(ci_worlds: list[World]) -> None:
    found = {number: violations(world, 128, list(range(81))) for number, world in enumerate(ci_worlds)}
    assert {number: broken for number, broken in found.items() if broken} == {}


def test_both_families_occur_and_paths_move(ci_worlds: list[World]) -> None:
    assert Counter(world.family for world in ci_worlds) == {"walk": 20, "orbit": 20}
    for world in ci_worlds:
        steps = np.linalg.norm(np.diff(world.path[:, :3, 3], axis=0), axis=1)
        assert 0.5 < steps.sum() < 15  # metres in 81 frames
        assert steps.max() < 0.25


def test_objects_stay_inside_and_off_each_other(ci_worlds: list[World]) -> None:
    for world in ci_worlds:
        scene, blocks = world.scene, [block_of(item) for item in world.scene.objects]
        for block in blocks:
            assert abs(block.x) + block.reach((1, 0)) <= scene.half[0] + 1e-5
            assert abs(block.y) + block.reach((0, 1)) <= scene.half[1] + 1e-5
            assert -scene.half[2] - 1e-9 <= block.low and block.high <= scene.half[2]
        assert not any(a.meets(b) for i, a in enumerate(blocks) for b in blocks[:i])


def test_everything_stands_on_the_floor_or_hangs_on_a_wall(ci_worlds: list[World]) -> None:
    mounted = {"door", "window", "picture", "curtain", "shower curtain"}
    for world in ci_worlds:
        w, d, h = world.scene.half
        for item, block in zip(world.scene.objects, map(block_of, world.scene.objects), strict=True):
            at_wall = min(w - abs(block.x) - block.reach((1, 0)), d - abs(block.y) - block.reach((0, 1)))
            if item.label in mounted:
                assert abs(at_wall) < 1e-5
            else:
                assert abs(block.low + h) < 1e-9


def test_class_frequencies_have_a_head_and_a_tail(ci_worlds: list[World]) -> None:
    rate = Counter(label for world in ci_worlds for label in set(world.scene.labels))
    rates = sorted(count / len(ci_worlds) for label, count in rate.items() if label not in ("wall", "floor", "ceiling"))
    assert len(rates) == 18
    assert rates[-1] > 0.8 and rates[0] < 0.35
    assert rates[0] >= 0.1  # every class has clips to learn it from


def test_a_steeper_prior_thins_the_tail() -> None:
    from data.rooms.furniture import furnish
    from data.rooms.world import Streams

    def tail(prior: float) -> float:
        config = RoomsConfig(class_prior=prior)
        scenes = [furnish(config, Streams(0, room, 0, "camera").generator("layout")) for room in range(40)]
        return float(np.mean([label in ("bathtub", "shower curtain") for s in scenes for label in s.labels[6:]]))

    assert tail(3.0) < tail(1.0) < tail(0.0)


def test_distance_matches_a_one_by_one_search(worlds: list[World]) -> None:
    rng = np.random.default_rng(0)
    for world in worlds:
        points = rng.uniform(-1, 1, (20, 3)) * world.scene.half
        expected = [closest_point_distance(world.scene, point) for point in points]
        np.testing.assert_allclose(world.scene.distance(points), expected, atol=1e-9)


def test_a_path_through_furniture_is_found_out(worlds: list[World]) -> None:
    world = worlds[0]
    target = block_of(world.scene.objects[0])
    path = world.path.copy()
    path[5, :3, 3] = (target.x, target.y, (target.low + target.high) / 2)
    found = measure([world.scene], world.camera, path)
    assert found.clearance < required_clearance(RoomsConfig(), world.camera)


def test_required_clearance_covers_the_corner_ray() -> None:
    camera = Pinhole(128, 128, 90.0)
    needed = required_clearance(RoomsConfig(), camera)
    assert needed == pytest.approx(0.25 * math.sqrt(3), abs=1e-3)
    assert required_clearance(RoomsConfig(clearance=0.5), camera) == 0.5


def test_impossible_demands_are_an_error_that_says_what_to_change(small: RoomsConfig) -> None:
    source = RoomsSource(replace(small, camera="orbit", max_turn=0.1))
    with pytest.raises(DatasetError, match="no camera path of family orbit") as caught:
        source.make("room00000")
    assert "min_overlap=" in str(caught.value.fix)
