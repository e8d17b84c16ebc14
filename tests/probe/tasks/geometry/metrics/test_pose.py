"""Pose metrics against 4 x 4 matrices and quaternions pair by pair, by invariance, and in degenerate clips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from configs.errors import ConfigError, DatasetError, NonFiniteError
from probe.metrics.score import Variant
from probe.tasks.geometry.metrics.pose import POSE_KEYS, pair_errors, pose_auc, pose_score
from tests.probe.tasks.geometry.metrics.random_clips import VARIANTS


def poses(queries: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(queries, random_state=np.random.RandomState(seed)).as_matrix()
    return np.concatenate([rotation, rng.normal(size=(queries, 3, 1))], axis=-1)


def disturbed(truth: np.ndarray, degrees: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(np.radians(degrees) * rng.normal(size=(len(truth), 3))).as_matrix()
    return np.concatenate([turn @ truth[..., :3], truth[..., 3:] + 0.3 * rng.normal(size=(len(truth), 3, 1))], axis=-1)


def in_other_world(world_to_camera: np.ndarray, seed: int) -> np.ndarray:
    """The same cameras seen from another world frame: E G^-1 with a similarity G of scale 1."""
    frame = np.eye(4)
    frame[:3] = poses(1, seed)[0]
    return np.asarray(homogeneous(world_to_camera)[:, :3] @ np.linalg.inv(frame))


def homogeneous(world_to_camera: np.ndarray) -> np.ndarray:
    full = np.tile(np.eye(4), (len(world_to_camera), 1, 1))
    full[:, :3] = world_to_camera
    return full


def twin(prediction: np.ndarray, truth: np.ndarray, variant: Variant) -> dict[str, float]:
    """Pairs one by one: quaternions, arc cosines, thresholds one by one."""
    e, f = homogeneous(prediction), homogeneous(truth)
    rotation, translation, static = [], [], []
    for i in range(len(e)):
        for j in range(i + 1, len(e)):
            if variant == "paper":
                d, c = np.linalg.inv(e[i]) @ e[j], np.linalg.inv(f[i]) @ f[j]
            else:
                d, c = e[i] @ np.linalg.inv(e[j]), f[i] @ np.linalg.inv(f[j])
            q, r = (Rotation.from_matrix(m[:3, :3]).as_quat() for m in (d, c))
            rotation.append(math.degrees(math.acos(max(-1.0, 1 - 2 * max(1 - float(q @ r) ** 2, 1e-15)))))
            u, v = d[:3, 3], c[:3, 3]
            lengths = float(np.linalg.norm(u)) * float(np.linalg.norm(v))
            cosine = abs(float(u @ v)) / lengths if lengths else 0.0
            translation.append(math.degrees(math.acos(math.sqrt(1 - min(1.0, max(1 - cosine**2, 1e-15))))))
            static.append(float(np.linalg.norm(v)) <= (0.0 if variant == "paper" else 1e-6))
    n = len(rotation)
    skip = [variant == "standard" and s for s in static]
    worst = [r if s else max(r, t) for r, t, s in zip(rotation, translation, skip, strict=True)]
    values = {}
    for k in (30, 10, 5, 3):
        width = 30 / 31 if variant == "paper" else 1.0
        below = [
            sum(x < m * width or (variant == "standard" and m == k and x == k) for x in worst) / n
            for m in range(1, k + 1)
        ]
        values[f"auc_{k}"] = sum(below) / k
    moving = [t for t, s in zip(translation, skip, strict=True) if not s]
    for k in (5, 15):
        values[f"rac_{k}"] = sum(r < k for r in rotation) / n
        values[f"tac_{k}"] = sum(t < k for t in moving) / len(moving) if moving else math.nan
    return values


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(8))
def test_pose_metrics_equal_the_twin(seed: int, variant: Variant) -> None:
    truth = poses(5, seed)
    prediction = disturbed(truth, 3.0 * (seed + 1), seed)
    got = pose_score(prediction, truth, variant=variant)
    expected = twin(prediction, truth, variant)
    assert set(got.values) == set(POSE_KEYS) == set(expected)
    for key, value in expected.items():
        assert got.values[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("seed", range(4))
def test_angles_equal_scipy(seed: int) -> None:
    truth, prediction = poses(4, seed), poses(4, seed + 50)
    errors = pair_errors(prediction, truth)
    row = 0
    for i in range(4):
        for j in range(i + 1, 4):
            d, c = prediction[i, :, :3] @ prediction[j, :, :3].T, truth[i, :, :3] @ truth[j, :, :3].T
            expected = np.degrees((Rotation.from_matrix(d).inv() * Rotation.from_matrix(c)).magnitude())
            assert errors.rotation[row] == pytest.approx(expected, abs=1e-9)
            row += 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_perfect_poses_score_one(variant: Variant) -> None:
    truth = poses(4, 0)
    got = pose_score(truth, truth, variant=variant)
    assert got.values == dict.fromkeys(POSE_KEYS, 1.0)
    assert got.counts == {"pose_pairs": 6, "pose_static_pairs": 0}


def test_tiny_errors_are_exact_in_standard() -> None:
    truth = poses(2, 0)
    turned = truth.copy()
    turned[1, :, :3] = Rotation.from_rotvec([1e-9, 0, 0]).as_matrix() @ truth[1, :, :3]
    assert pair_errors(turned, truth).rotation[0] == pytest.approx(math.degrees(1e-9), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_world_frame_matters_in_paper_only(seed: int) -> None:
    """The same relative poses in another world frame are perfect, unless composed as E_i^-1 E_j."""
    truth = poses(4, seed)
    moved = in_other_world(truth, seed + 9)
    assert pose_score(moved, truth).values["auc_30"] == 1.0
    assert pose_score(moved, truth, variant="paper").values["auc_30"] < 0.9
    noisy = disturbed(truth, 5.0, seed)
    one, two = pose_score(noisy, truth).values, pose_score(in_other_world(noisy, seed + 3), truth).values
    assert one == pytest.approx(two, abs=1e-9)
    scaled = noisy.copy()
    scaled[..., 3] *= 4.0
    assert pose_score(scaled, truth).values == pytest.approx(one, abs=1e-9)


def test_direction_is_blind_to_sign() -> None:
    truth = poses(2, 0)
    truth[0, :, 3] = 0
    flipped = truth.copy()
    flipped[1, :, 3] *= -1
    errors = pair_errors(flipped, truth)
    assert errors.translation[0] == pytest.approx(0.0, abs=1e-6)


def test_a_static_camera() -> None:
    truth = poses(4, 0)
    truth[..., 3] = 0.0
    paper, standard = pose_score(truth, truth, variant="paper"), pose_score(truth, truth)
    assert paper.values["auc_30"] == 0.0
    assert paper.values["tac_15"] == 0.0
    assert (pair_errors(truth, truth, variant="paper").translation == 90.0).all()
    assert standard.values["auc_30"] == standard.values["rac_5"] == 1.0
    assert math.isnan(standard.values["tac_5"])
    assert standard.undefined == {"tac_5": "static camera", "tac_15": "static camera"}
    assert standard.counts["pose_static_pairs"] == paper.counts["pose_static_pairs"] == 6


def test_a_camera_that_stands_still_in_the_prediction_only_is_wrong() -> None:
    truth = poses(3, 1)
    still = truth.copy()
    still[..., 3] = 0.0
    errors = pair_errors(still, truth)
    assert (errors.translation == 90.0).all()
    assert pose_score(still, truth).values["auc_30"] == 0.0
    assert pose_score(still, truth).counts["pose_static_pairs"] == 0


def test_partly_static_clip_scores_the_rest() -> None:
    truth = np.tile(np.eye(4)[:3], (3, 1, 1))
    truth[2, 0, 3] = 1.0
    prediction = truth.copy()
    prediction[2, :, 3] = [0.0, 1.0, 0.0]
    got = pose_score(prediction, truth)
    assert got.counts["pose_static_pairs"] == 1
    assert got.values["tac_15"] == 0.0
    assert got.values["auc_30"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("errors", "limit", "standard", "paper"),
    [
        ([0.0], 30, 1.0, 1.0),
        ([2.95], 3, 1 / 3, 0.0),  # the third bin as published ends at 2.903 degrees
        ([30.0], 30, 1 / 30, 0.0),  # closed at the end; as published in the 31st bin, which no sum reaches
        ([30.1], 30, 0.0, 0.0),
        ([14.5], 30, 16 / 30, 16 / 30),
        ([0.98], 30, 1.0, 29 / 30),
        ([0.5, 100.0], 10, 0.5, 0.5),
        ([np.inf, np.nan, 0.1], 5, 1 / 3, 1 / 3),
    ],
)
def test_area_by_hand(errors: list[float], limit: int, standard: float, paper: float) -> None:
    assert pose_auc(np.array(errors), limit) == pytest.approx(standard)
    assert pose_auc(np.array(errors), limit, variant="paper") == pytest.approx(paper)


def test_area_without_pairs() -> None:
    assert math.isnan(pose_auc(np.zeros(0), 30))


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_query_has_no_pairs(variant: Variant) -> None:
    got = pose_score(poses(1, 0), poses(1, 0), variant=variant)
    assert set(got.undefined.values()) == {"fewer than two queries"}
    assert all(math.isnan(value) for value in got.values.values())


def test_predictions_that_are_not_finite() -> None:
    truth = poses(3, 0)
    broken = truth.copy()
    broken[1] = np.nan
    assert set(pose_score(broken, truth).undefined.values()) == {"predicted poses are not finite"}
    assert pose_score(broken, truth, variant="paper").values["auc_30"] == pytest.approx(1 / 3)
    assert (pair_errors(broken, truth, variant="paper").translation[[0, 2]] > 1e6).all()
    with pytest.raises(NonFiniteError, match="pose_valid"):
        pose_score(truth, broken)
    with pytest.raises(DatasetError):
        pose_score(truth, truth[:2])


def test_mean_over_clips_equals_pooled_pairs() -> None:
    clips = [(disturbed(poses(4, s), 8.0, s), poses(4, s)) for s in range(3)]
    for variant in VARIANTS:
        pooled = np.concatenate(
            [np.maximum((e := pair_errors(p, t, variant=variant)).rotation, e.translation) for p, t in clips]
        )
        mean = np.mean([pose_score(p, t, variant=variant).values["auc_30"] for p, t in clips])
        assert pose_auc(pooled, 30, variant=variant) == pytest.approx(mean)


@pytest.mark.parametrize("limit", [0, -3, 2.5, 30.0, True, "30"])
@pytest.mark.parametrize("variant", ["standard", "paper"])
def test_limits_of_the_accuracy_curve_are_whole_degrees(limit: Any, variant: Variant) -> None:
    for errors in (np.ones(3), np.ones(0)):
        with pytest.raises(ConfigError, match="limit"):
            pose_auc(errors, limit, variant=variant)


def test_published_curves_end_at_30_degrees() -> None:
    errors = np.array([5.0, 45.0])
    assert pose_auc(errors, 30, variant="paper") == pytest.approx(0.5 * 25 / 30)
    assert pose_auc(errors, np.int64(60)) > 0.5  # type: ignore[arg-type]
    for limit in (31, 60):
        with pytest.raises(ConfigError, match=r"at most 30(.|\n)*found: *" + str(limit)):
            pose_auc(errors, limit, variant="paper")
