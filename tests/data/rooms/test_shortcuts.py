from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from data.rooms import paths
from data.rooms.config import RoomsConfig
from data.rooms.furniture import HALF, block_of, tunnel, tunnel_pair
from data.rooms.recording import FrameRenderer
from data.rooms.render import Caster
from data.rooms.scene import Pinhole, Scene
from data.rooms.source import RoomsSource, Shortcuts, count_pairs
from data.rooms.world import Streams, build

Frames = list[tuple[NDArray[np.uint16], NDArray[np.float32]]]
CAMERA = Pinhole(96, 128, 62.0)

TABLE = {
    1.0: (0.846, 0.004, 0.150),
    0.5: (0.591, 0.245, 0.164),
    0.0: (0.445, 0.413, 0.141),
    -0.5: (0.273, 0.582, 0.145),
    -1.0: (0.011, 0.820, 0.169),
}
"""Consistent, counter and ambiguous pairs of the reference corridor per asked correlation, 14 objects at 96 x 128."""


def seen(scene: Scene, rng: np.random.Generator) -> Frames:
    caster, path = Caster(scene, CAMERA), paths.tunnel(scene, 81, rng)
    buffers = [caster.cast(path[position]) for position in (0, 40, 80)]
    return [(caster.instance(buffer), buffer.depth) for buffer in buffers]


def corridors(vd: float, count: int) -> tuple[NDArray[np.float64], float]:
    """Shares of the three kinds over some corridors, and the mean correlation."""
    config = RoomsConfig(mode="tunnel", vd=vd, objects=14)
    tally, correlations = np.zeros(3), []
    for room in range(count):
        streams = Streams(0, room, 0, "camera")
        scene = tunnel(config, streams.generator("layout"))
        found = count_pairs(seen(scene, streams.generator("camera")))
        tally += found[:3]
        assert found.spearman is not None
        correlations.append(found.spearman)
    return tally / tally.sum(), float(np.mean(correlations))


@pytest.mark.parametrize("vd", sorted(TABLE))
def test_shares_of_pairs_follow_the_reference_corridor(vd: float) -> None:
    shares, correlation = corridors(vd, 12)
    np.testing.assert_allclose(shares, TABLE[vd], atol=0.05)
    assert correlation == pytest.approx(vd, abs=0.15)


@pytest.mark.full
@pytest.mark.parametrize("vd", sorted(TABLE))
def test_shares_of_pairs_over_many_corridors(vd: float) -> None:
    shares, correlation = corridors(vd, 120)
    np.testing.assert_allclose(shares, TABLE[vd], atol=0.05)
    assert correlation == pytest.approx(vd, abs=0.08)


def test_rooms_have_the_natural_bias() -> None:
    tally = np.zeros(3)
    for number in range(6):
        world = build(RoomsConfig(height=96, width=128), number)
        renderer = FrameRenderer(world)
        frames = [renderer.render(position, colour=False) for position in (0, 40, 80)]
        tally += count_pairs((frame.instance, frame.geometry.depth) for frame in frames)[:3]
    shares = tally / tally.sum()
    np.testing.assert_allclose(shares, (0.717, 0.129, 0.154), atol=0.12)


def test_pairs_are_counted_by_definition() -> None:
    instance, depth = np.zeros((100, 60), np.uint16), np.full((100, 60), 5.0, np.float32)
    for number, (row, distance) in enumerate([(80, 1.0), (50, 2.0), (52, 3.0), (20, 1.5)], start=7):
        instance[row - 3 : row + 4, 10 * (number - 6) : 10 * (number - 6) + 6] = number
        depth[instance == number] = distance
    # 80/1 m with 50/2 m, 52/3 m and 20/1.5 m: all consistent; 50 with 52: ambiguous; 50/2 m and 52/3 m with 20/1.5 m:
    # the higher one is nearer, counter.
    found = count_pairs([(instance, depth)])
    assert found[:3] == (3, 2, 1)
    assert found.pairs == 6
    assert found.shares() == pytest.approx((0.5, 1 / 3, 1 / 6))
    assert found.spearman == pytest.approx(0.2)  # ranks of height 0, 2, 1, 3 and of depth 0, 2, 3, 1


def test_walls_and_specks_do_not_count() -> None:
    instance = np.ones((50, 50), np.uint16)
    instance[0, 0] = 9
    found = count_pairs([(instance, np.ones((50, 50), np.float32))])
    assert found == Shortcuts(0, 0, 0, None)
    assert found.shares() is None


def test_corridor_objects_float_inside_and_apart() -> None:
    for room in range(10):
        scene = tunnel(RoomsConfig(mode="tunnel"), Streams(3, room, 0, "camera").generator("layout"))
        blocks = [block_of(item) for item in scene.objects]
        assert len(blocks) >= 12
        for block in blocks:
            assert abs(block.x) + block.reach((1, 0)) < scene.half[0]
            assert -scene.half[2] < block.low and block.high < scene.half[2]
        assert not any(a.meets(b) for i, a in enumerate(blocks) for b in blocks[:i])


def test_a_pair_keeps_shapes_look_and_depths_while_the_angles_change() -> None:
    source = RoomsSource(RoomsConfig(clips=512, frames=6, height=48, width=64, mode="tunnel_pair"))
    worlds = [source.world(source.clip_ids()[number]) for number in (0, 5, 16 * 4)]
    first = worlds[0].scene.objects
    for world in worlds[1:]:
        assert [item.parts for item in world.scene.objects] == [item.parts for item in first]
        np.testing.assert_array_equal(world.look.colour, worlds[0].look.colour)
        np.testing.assert_array_equal(world.path, worlds[0].path)
    centres = [
        [np.array([b.x, b.y, (b.low + b.high) / 2]) for b in map(block_of, world.scene.objects)] for world in worlds
    ]
    for moved, kept in ((1, 0), (0, 1)):
        other = centres[1] if moved == 1 else centres[2]
        np.testing.assert_allclose(other[kept], centres[0][kept], atol=1e-9)
        assert np.linalg.norm(other[moved] - centres[0][moved]) > 0.3
        assert other[moved][1] == pytest.approx(centres[0][moved][1])
    groups = {source.world(clip_id).streams.room for clip_id in (source.clip_ids()[0], source.clip_ids()[256])}
    assert groups == {0, 1}


def test_equal_size_scales_with_the_distance_from_the_entrance() -> None:
    rng = [Streams(0, 0, 0, "sensor").generator("layout") for _ in range(2)]
    plain = tunnel_pair(RoomsConfig(mode="tunnel_pair"), rng[0], 37).objects
    equal = tunnel_pair(RoomsConfig(mode="tunnel_pair", equal_size=True), rng[1], 37).objects
    near, far = (block_of(item).y + HALF[1] for item in plain)
    assert equal[0].scale / plain[0].scale == pytest.approx(near / far)
    assert equal[1].scale == plain[1].scale


def test_requested_and_realised_correlation_are_both_recorded() -> None:
    source = RoomsSource(RoomsConfig(clips=1, frames=22, height=48, width=64, mode="tunnel", vd=-1.0))
    facts = source.make("tunnel00000").facts
    assert facts["vd_requested"] == -1.0
    assert isinstance(facts["vd_spearman"], float) and facts["vd_spearman"] < -0.8
    shares = [facts[f"pairs_{kind}"] for kind in ("consistent", "counter", "ambiguous")]
    assert sum(shares) == pytest.approx(1)  # type: ignore[arg-type]
    assert facts["n_pairs"] and facts["n_pairs"] > 20  # type: ignore[operator]
