from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from data.rooms.materials import PATTERNS as KINDS
from data.rooms.materials import atlas
from data.rooms.recording import FrameRenderer
from data.rooms.render import Caster
from data.rooms.scene import Pinhole, Placed, Scene, look_at
from data.rooms.shapes import BOX, ELLIPSOID, Part
from data.rooms.world import World


def unproject(
    depth: NDArray[np.float32], matrix: NDArray[np.float32], pose: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Depth to world points by the stored conventions alone: K, camera-to-world, pixel centres at +0.5."""
    height, width = depth.shape
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix.astype(np.float64)).T
    return (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


def reference_depth(scene: Scene, camera: Pinhole, pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every ray against every primitive in double precision by textbook formulas: (n, 1 + P)."""
    x, y = (values.astype(np.float64) for values in camera.rays())
    rays = np.stack([*np.meshgrid(x, y), np.ones((camera.height, camera.width))], axis=-1).reshape(-1, 3)
    rays = rays @ pose[:3, :3].T
    origin = pose[:3, 3]
    hits = [((np.sign(rays) * scene.half - origin) / rays).min(axis=1)]
    p = scene.primitives
    for i, kind in enumerate(p.kind):
        turn = np.array([[p.cos[i], -p.sin[i], 0], [p.sin[i], p.cos[i], 0], [0, 0, 1]])
        o, d = (origin - p.centre[i]) @ turn / p.half[i], rays @ turn / p.half[i]
        if kind == BOX:
            ends = np.sort(np.stack([(-1 - o) / d, (1 - o) / d]), axis=0)
            enter, leave = ends[0].max(axis=1), ends[1].min(axis=1)
        else:
            axes = slice(0, 3) if kind == ELLIPSOID else slice(0, 2)
            a, b = (d[:, axes] ** 2).sum(1), (d[:, axes] * o[axes]).sum(1)
            root = np.sqrt(b * b - a * ((o[axes] ** 2).sum() - 1))  # nan where missed
            enter, leave = (-b - root) / a, (-b + root) / a
            if kind != ELLIPSOID:
                ends = np.sort(np.stack([(-1 - o[2]) / d[:, 2], (1 - o[2]) / d[:, 2]]), axis=0)
                enter, leave = np.maximum(enter, ends[0]), np.minimum(leave, ends[1])
        hits.append(np.where((enter <= leave) & (enter > 0.05), enter, np.inf))
    return np.stack(hits, axis=1)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("position", [0, 40])
def test_depth_unprojects_to_the_hit_points(worlds: list[World], index: int, position: int) -> None:
    world = worlds[index]
    frame = FrameRenderer(world).render(position, colour=False)
    points = np.stack(frame.geometry.points(), axis=-1)
    error = np.abs(unproject(frame.geometry.depth, world.camera.matrix, world.path[position]) - points)
    assert error.max() < 1e-5


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_depth_and_surface_agree_with_a_double_precision_ray_caster(worlds: list[World], index: int) -> None:
    world = worlds[index]
    camera = world.camera.thumbnail(64)
    for position in (3, 60):
        buffer = Caster(world.scene, camera).cast(world.path[position])
        hits = reference_depth(world.scene, camera, world.path[position])
        expected = hits.min(axis=1).reshape(buffer.depth.shape)
        surface = np.where(hits.argmin(axis=1) == 0, -1, hits.argmin(axis=1) - 1).reshape(buffer.depth.shape)
        same = np.where(buffer.surface < 6, -1, buffer.surface - 6) == surface
        assert same.mean() > 0.999  # a ray along a silhouette may pass it on either side
        assert np.abs(buffer.depth - expected)[same].max() < 1e-5


def test_reprojection_agrees_in_depth_and_instance(worlds: list[World]) -> None:
    agreement, same_id = [], []
    for world in worlds[:2]:
        renderer = FrameRenderer(world)
        first = renderer.render(10, colour=False)
        points = np.stack(first.geometry.points(), axis=-1).reshape(-1, 3).astype(np.float64)
        for position in (14, 18, 26):
            pose, second = world.path[position], renderer.render(position, colour=False)
            local = (points - pose[:3, 3]) @ pose[:3, :3]
            pixel = local @ world.camera.matrix.astype(np.float64).T
            with np.errstate(divide="ignore", invalid="ignore"):
                column, row = np.floor(pixel[:, 0] / pixel[:, 2]), np.floor(pixel[:, 1] / pixel[:, 2])
            height, width = second.instance.shape
            inside = (local[:, 2] > 0.05) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            at = (row[inside].astype(int), column[inside].astype(int))
            relative = local[inside, 2] / second.geometry.depth[at] - 1
            unhidden = relative < 0.01
            agree = unhidden & (relative > -0.01)
            assert unhidden.mean() > 0.5  # most of what is in view is not hidden
            agreement.append(agree.sum() / unhidden.sum())
            same_id.append((second.instance[at] == first.instance.ravel()[inside])[agree].mean())
    assert min(agreement) > 0.95
    assert min(same_id) > 0.99


def test_normals_are_unit_face_the_camera_and_match_depth(worlds: list[World]) -> None:
    world = worlds[0]
    renderer = FrameRenderer(world)
    frame = renderer.render(20, colour=False)
    normals = renderer.shader.normals(frame.geometry)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    rays = np.stack(frame.geometry.rays, axis=-1)
    assert ((normals * rays).sum(axis=-1) < 1e-3).mean() > 0.999
    # The plane through a pixel holds its neighbour's point too, wherever both lie on one flat surface.
    points = np.stack(frame.geometry.points(), axis=-1)
    step = points[:, 1:] - points[:, :-1]
    flat = (frame.geometry.surface[:, 1:] == frame.geometry.surface[:, :-1]) & (frame.geometry.surface[:, 1:] < 6)
    assert np.abs((normals[:, :-1] * step).sum(axis=-1))[flat].max() < 1e-5


def test_a_known_box_has_the_expected_depth_and_extent() -> None:
    box = Placed("cabinet", [Part(BOX, (0.0, 0.0, 0.0), (0.5, 0.25, 0.5), 0)], (0.0, 1.0, 0.0), 0.0, 1.0, 0)
    scene = Scene("test", (3.0, 3.0, 1.5), (box,))
    camera = Pinhole(100, 100, 90.0)  # focal length 50
    pose = look_at(np.array([[0.0, -1.25, 0.0]]), np.array([[0.0, 1.0, 0.0]]), np.zeros(1))[0]
    caster = Caster(scene, camera)
    buffer = caster.cast(pose)
    instance = caster.instance(buffer)
    seen = instance == 7
    assert seen.sum() == 26 * 26 or seen.sum() == 24 * 24  # 0.5 m at 2 m and f = 50 is 12.5 pixels either side
    np.testing.assert_allclose(buffer.depth[seen], 2.0, rtol=1e-6)
    assert set(np.unique(instance)) == {3, 5, 6, 7, 1, 2}  # the wall ahead, floor, ceiling, the box and both side walls


def test_image_axes_and_handedness(worlds: list[World]) -> None:
    """Right in the image is the camera's x, down its y, and the floor is below the ceiling."""
    for world in worlds:
        np.testing.assert_allclose(np.linalg.det(world.path[:, :3, :3]), 1, atol=1e-9)
        assert (world.path[:, 2, 1] < -0.7).all()  # the camera's y axis points down in the world
        instance = FrameRenderer(world).render(0, colour=False).instance
        rows = {face: np.nonzero(instance == face)[0] for face in (5, 6)}
        if len(rows[5]) and len(rows[6]):
            assert rows[5].min() > rows[6].mean()


def test_supersampling_changes_only_colour(worlds: list[World]) -> None:
    plain, fine = FrameRenderer(worlds[0]).render(5), FrameRenderer(worlds[0], supersample=2).render(5)
    assert plain.colour is not None and fine.colour is not None
    np.testing.assert_array_equal(plain.geometry.depth, fine.geometry.depth)
    difference = np.abs(plain.colour.astype(int) - fine.colour)
    assert difference.any()
    assert difference.mean() < 8


def test_flat_textures_and_brightness() -> None:
    from data.rooms.config import RoomsConfig
    from data.rooms.world import build

    base = RoomsConfig(height=48, width=64)
    images = []
    for changes in ({}, {"texture": 0.0}, {"light": 0.5}):
        world = build(RoomsConfig(**{**base.__dict__, **changes}), 0)
        frame = FrameRenderer(world).render(0)
        assert frame.colour is not None
        images.append(frame.colour.astype(float))
    detail = [np.abs(np.diff(image, axis=1)).mean() for image in images]
    assert detail[1] < 0.8 * detail[0]
    assert images[2].mean() < 0.85 * images[0].mean()
    assert 60 < images[0].mean() < 200  # neither dark nor burnt out
    assert (images[0] >= 255).mean() < 0.2


def test_every_mip_level_keeps_the_mean_of_each_pattern() -> None:
    texture = atlas()
    assert texture.size.tolist() == [128, 64, 32, 16, 8, 4]
    means = []
    for offset, size in zip(texture.offset, texture.size, strict=True):
        means.append(texture.texels[offset : offset + len(KINDS) * size**2].reshape(len(KINDS), -1).mean(axis=1))
    np.testing.assert_allclose(means, np.broadcast_to(means[0], (6, len(KINDS))), atol=1e-5)
    assert texture.texels.min() >= 0 and texture.texels.max() <= 1
