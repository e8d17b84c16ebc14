from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.dataset.check import check_clip
from data.dataset.clip import Clip
from data.dataset.taxonomy import SCANNET20

Make = Callable[..., Clip]


def decode(frame: bytes) -> NDArray[np.float64]:
    with Image.open(io.BytesIO(frame)) as image:
        return np.asarray(image, np.float64)


@pytest.fixture(scope="module")
def clean(make: Make) -> Clip:
    return make()


def test_depth_noise_grows_with_the_square_of_distance(make: Make, clean: Clip) -> None:
    noisy = make(depth_noise=0.01)
    assert noisy.depth_kind == "sensor"
    assert noisy.depth is not None and clean.depth is not None
    error, truth = (noisy.depth - clean.depth).ravel(), clean.depth.ravel()
    for at in (truth < np.median(truth), truth >= np.median(truth)):
        assert np.sqrt(np.mean((error[at] / truth[at] ** 2) ** 2)) == pytest.approx(0.01, rel=0.05)
    assert noisy.sources["geometry"] == clean.sources["geometry"]  # the digest is that of the exact arrays
    np.testing.assert_array_equal(noisy.instance, clean.instance)


def test_depth_drops_out_at_grazing_angles(make: Make, clean: Clip) -> None:
    spoiled = make(depth_dropout=1.0)
    assert spoiled.depth is not None and clean.depth is not None
    lost = spoiled.depth == 0
    assert 0.005 < lost.mean() < 0.6
    np.testing.assert_array_equal(spoiled.depth[~lost], clean.depth[~lost])
    relief = np.abs(np.gradient(clean.depth, axis=1)) / clean.depth
    assert relief[lost].mean() > 1.5 * relief[~lost].mean()  # steep surfaces lose most


def test_pose_jitter_and_invalid_poses(make: Make, clean: Clip) -> None:
    jittered = make(pose_jitter_m=0.05, pose_jitter_deg=1.0)
    assert jittered.pose_kind == "sensor"
    shift = jittered.cam2world[:, :3, 3] - clean.cam2world[:, :3, 3]
    assert shift.std() == pytest.approx(0.05, rel=0.4)
    rotation = jittered.cam2world[:, :3, :3].astype(np.float64)
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (22, 3, 3)), atol=1e-5
    )
    turn = np.einsum("tij,tij->t", rotation, clean.cam2world[:, :3, :3])
    assert 0.2 < np.degrees(np.arccos((turn - 1) / 2)).mean() < 4
    lost = make(invalid_pose_prob=0.5)
    assert 0 < (~lost.pose_valid).sum() < 22
    assert np.isneginf(lost.cam2world[~lost.pose_valid]).all()
    np.testing.assert_array_equal(lost.cam2world[lost.pose_valid], clean.cam2world[lost.pose_valid])
    assert list(lost.frames) == list(clean.frames)


def test_unannotated_instances_vanish_and_ids_stay_compact(make: Make, clean: Clip) -> None:
    sparse = make(unannotated_prob=0.5)
    check_clip(sparse, len(SCANNET20))
    assert sparse.instance is not None and clean.instance is not None
    assert 6 < len(sparse.instances) < len(clean.instances)
    assert [item.id for item in sparse.instances] == list(range(1, len(sparse.instances) + 1))
    gone = (sparse.instance == 0) & (clean.instance != 0)
    assert gone.any()
    for item in sparse.instances:  # what stays annotated covers the same pixels as before
        before = np.unique(clean.instance[sparse.instance == item.id])
        assert len(before) <= 1
    assert sparse.class_pixels is not None and clean.class_pixels is not None
    assert (sparse.class_pixels <= clean.class_pixels).all() and (sparse.class_pixels < clean.class_pixels).any()


def test_raw_ids_have_gaps(make: Make, clean: Clip) -> None:
    assert [item.source_id for item in clean.instances] == [item.id for item in clean.instances]
    gapped = [item.source_id for item in make(id_gap=5).instances]
    steps = np.diff(gapped)
    assert (steps >= 1).all() and steps.max() > 1 and steps.max() <= 6


def test_missing_frames_repeat_their_predecessor(make: Make, clean: Clip) -> None:
    clip = make(missing_prob=0.4)
    assert 0 < clip.frame_dup.sum() < 22
    assert not clip.frame_dup[0]
    for position, source in enumerate(clip.frame_src.tolist()):
        assert clip.frames[position] == clean.frames[source]
        np.testing.assert_array_equal(clip.cam2world[position], clean.cam2world[source])
    np.testing.assert_array_equal(clip.frame_dup, clip.frame_src != np.arange(22))
    assert clip.depth is not None and clean.depth is not None
    for row, position in enumerate(clip.gt_frames.tolist()):
        if not clip.frame_dup[position]:
            np.testing.assert_array_equal(clip.depth[row], clean.depth[row])


def test_a_repeated_frame_brings_its_jittered_pose_along(make: Make) -> None:
    clip = make(missing_prob=0.4, pose_jitter_m=0.1, invalid_pose_prob=0.3)
    for position in np.flatnonzero(clip.frame_dup).tolist():
        np.testing.assert_array_equal(clip.cam2world[position], clip.cam2world[clip.frame_src[position]])
        assert clip.pose_valid[position] == clip.pose_valid[clip.frame_src[position]]


def test_portrait_frames_exchange_height_and_width(make: Make) -> None:
    clip = make(portrait_prob=1.0)
    check_clip(clip, len(SCANNET20))
    assert clip.frame_size == (64, 48)
    assert clip.depth is not None and clip.depth.shape[1:] == (64, 48)
    k = clip.intrinsics[0]
    assert (k[0, 2], k[1, 2]) == (24, 32)
    assert k[1, 1] == pytest.approx(0.5 * 64 / np.tan(np.radians(31)))


def test_exposure_blur_and_jpeg_quality_change_frames_only(make: Make) -> None:
    clean = make(frames=8)
    spoiled = {}
    for key, value in {"exposure_drift": 1.0, "motion_blur": 1.0, "jpeg_quality": 30, "supersample": 2}.items():
        spoiled[key] = make(frames=8, **{key: value})
        assert list(spoiled[key].frames) != list(clean.frames)
        np.testing.assert_array_equal(spoiled[key].depth, clean.depth)
        np.testing.assert_array_equal(spoiled[key].cam2world, clean.cam2world)
    drifting = [decode(frame).mean() for frame in spoiled["exposure_drift"].frames]
    steady = [decode(frame).mean() for frame in clean.frames]
    assert np.std(np.log2(np.array(drifting) / steady)) > 0.1
    assert len(spoiled["jpeg_quality"].frames[0]) < 0.6 * len(clean.frames[0])
    sharp, blurred = (
        np.abs(np.diff(decode(clip.frames[2]), axis=1)).mean() for clip in (clean, spoiled["motion_blur"])
    )
    assert blurred < sharp


def test_knobs_draw_independently(make: Make) -> None:
    """Turning one fault on doesn't move another one."""
    alone, both = make(invalid_pose_prob=0.3), make(invalid_pose_prob=0.3, unannotated_prob=0.3, depth_noise=0.01)
    np.testing.assert_array_equal(alone.pose_valid, both.pose_valid)
