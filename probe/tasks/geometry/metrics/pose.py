"""Camera pose: relative motion of all query pairs, its errors, accuracies, and the area under their curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, NonFiniteError
from probe.metrics.arrays import FloatArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant

_PAPER_EPS = 1e-15
_PAPER_FAILED = 1e6


@dataclass(frozen=True)
class RelativePoses:
    """Motion between the queries of each pair i < j.

    Attributes:
        rotation: (P, 3, 3).
        translation: (P, 3).
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def relative_poses(world_to_camera: FloatArray, *, variant: Variant = "standard") -> RelativePoses:
    """Relative pose of every ordered pair i < j.

    `standard`: E_i E_j^-1, from camera j to camera i. `paper`: E_i^-1 E_j, right for camera-to-world matrices but
    applied to world-to-camera ones.

    Args:
        world_to_camera: (S, 3, 4) [R | t].
        variant: see above.
    """
    poses = np.asarray(world_to_camera, np.float64)
    rotation, translation = poses[..., :3], poses[..., 3]
    i, j = np.triu_indices(len(poses), k=1)
    if variant == "paper":
        back = rotation[i].swapaxes(-1, -2)
        return RelativePoses(back @ rotation[j], _apply(back, translation[j] - translation[i]))
    relative = rotation[i] @ rotation[j].swapaxes(-1, -2)
    return RelativePoses(relative, translation[i] - _apply(relative, translation[j]))


def _apply(matrices: FloatArray, vectors: FloatArray) -> NDArray[np.float64]:
    return np.asarray(np.einsum("pij,pj->pi", matrices, vectors), np.float64)


def rotation_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Angle of first^T second in degrees, [0, 180]; exact near 0 and 180, where the arc cosine is not.

    Args:
        first: (P, 3, 3) rotations.
        second: (P, 3, 3) rotations.
    """
    residual = first.swapaxes(-1, -2) @ second
    skew = np.stack([residual[:, k, j] - residual[:, j, k] for j, k in ((1, 2), (2, 0), (0, 1))], axis=-1)
    trace = np.trace(residual, axis1=-2, axis2=-1)
    return np.asarray(np.degrees(np.arctan2(np.linalg.norm(skew, axis=-1), trace - 1.0)), np.float64)


def direction_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Angle between two lines in degrees, [0, 90]: blind to sign and length. 90 if a vector is zero.

    Args:
        first: (P, 3).
        second: (P, 3).
    """
    dot = np.abs((first * second).sum(axis=-1))
    cross = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.where((dot == 0) & (cross == 0), 90.0, np.degrees(np.arctan2(cross, dot)))


def paper_rotation_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Rotation error as published, degrees: arccos(1 - 2 max(1 - c, 1e-15)), c the squared quaternion product."""
    # (q . q')^2 = (1 + trace of the residual) / 4 for unit quaternions
    trace = np.trace(first.swapaxes(-1, -2) @ second, axis1=-2, axis2=-1)
    miss = np.maximum(1.0 - (1.0 + trace) / 4.0, _PAPER_EPS)
    return np.asarray(np.degrees(np.arccos(np.clip(1.0 - 2.0 * miss, -1.0, 1.0))), np.float64)


def paper_direction_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Translation error as published, degrees: arccos sqrt(1 - max(1 - (u . u')^2, 1e-15)); not finite -> 1e6 rad."""
    unit = [v / (np.linalg.norm(v, axis=-1, keepdims=True) + _PAPER_EPS) for v in (first, second)]
    miss = np.clip(1.0 - (unit[0] * unit[1]).sum(axis=-1) ** 2, _PAPER_EPS, 1.0)
    angle = np.arccos(np.sqrt(1.0 - miss))
    return np.degrees(np.where(np.isfinite(angle), angle, _PAPER_FAILED))


AUC_LIMITS = (30, 10, 5, 3)
"""Upper ends of the accuracy curves, degrees."""
ACCURACY_LIMITS = (5, 15)
"""Limits of the accuracies, degrees."""
POSE_KEYS = tuple(f"auc_{k}" for k in AUC_LIMITS) + tuple(f"{part}_{k}" for part in ("rac", "tac") for k in (5, 15))
"""Keys of the values that `pose_score` returns."""

_PAPER_BINS = 31
_PAPER_RANGE = 30.0


@dataclass(frozen=True)
class PairErrors:
    """Errors of the P = S(S-1)/2 query pairs i < j, in lexicographic order.

    Attributes:
        rotation: (P,) degrees in [0, 180].
        translation: (P,) degrees in [0, 90]: direction only, blind to sign and scale. NaN where the true baseline
            is zero and the direction has no meaning (`standard`).
        static: (P,) bool, pairs without a true baseline.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    static: NDArray[np.bool_]

    @property
    def combined(self) -> NDArray[np.float64]:
        """(P,) the larger of both errors; rotation alone where translation has no meaning."""
        return np.fmax(self.rotation, self.translation)


def pair_errors(
    prediction: FloatArray, truth: FloatArray, *, min_baseline: float = 1e-6, variant: Variant = "standard"
) -> PairErrors:
    """Compare the relative poses of all query pairs.

    `standard` composes E_i E_j^-1, which doesn't depend on the world frame. `paper` composes E_i^-1 E_j, which does,
    and counts a zero baseline as 90 degrees even if both are zero.

    Args:
        prediction: (S, 3, 4) world-to-camera [R | t], R orthonormal.
        truth: (S, 3, 4), finite, same queries.
        min_baseline: true translations up to this length, in their own unit, have no direction (`standard`). A
            predicted one of length zero against a true one that isn't is 90 degrees off.
        variant: see above.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
        NonFiniteError: a true pose is not finite. Leave queries without a pose out beforehand.
    """
    check_variant(variant)
    _require_poses(prediction, truth)
    if not np.isfinite(truth).all():
        raise NonFiniteError(
            "A true camera pose is not finite",
            expected="queries with a valid pose only",
            found=f"queries {np.flatnonzero(~np.isfinite(truth).all(axis=(1, 2))).tolist()}",
            where="true poses",
            fix="select queries by the dataset's pose_valid flags before scoring",
        )
    predicted, true = relative_poses(prediction, variant=variant), relative_poses(truth, variant=variant)
    baseline = np.linalg.norm(true.translation, axis=-1)
    if variant == "paper":
        return PairErrors(
            rotation=paper_rotation_angles(predicted.rotation, true.rotation),
            translation=paper_direction_angles(predicted.translation, true.translation),
            static=baseline == 0,
        )
    static = baseline <= min_baseline
    direction = direction_angles(predicted.translation, true.translation)
    return PairErrors(
        rotation=rotation_angles(predicted.rotation, true.rotation),
        translation=np.where(static, np.nan, direction),
        static=static,
    )


def _require_poses(prediction: FloatArray, truth: FloatArray) -> None:
    fix = "pass [R | t] of the same queries; poses[:, :3] takes it from (S, 4, 4) matrices"
    require_array(prediction, (None, 3, 4), "float", "predicted poses", fix=fix)
    require_array(truth, prediction.shape, "float", "true poses", fix=fix)


def pose_auc(errors: FloatArray, limit: int, *, variant: Variant = "standard") -> float:
    """Area under the accuracy curve of pair errors up to a limit.

    `standard`: the mean, over thresholds 1, 2, ..., `limit` degrees, of the share of pairs below (the last bin is
    closed). `paper`: one histogram of 31 bins over [0, 30] degrees whatever the limit, summed over its first
    `limit` bins, so that AUC@30 ends at 29.03 degrees and AUC@3 at 2.90.

    Args:
        errors: (P,) degrees; infinite and NaN errors are never below a threshold.
        limit: degrees, a whole number from 1; at most 30 in `paper`.
        variant: see above.

    Returns:
        In [0, 1]; NaN without pairs.

    Raises:
        ConfigError: a limit that isn't such a number.
        DatasetError: errors of another rank or dtype.
    """
    check_variant(variant)
    whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
    if not whole or limit < 1 or (variant == "paper" and limit > _PAPER_RANGE):
        raise ConfigError(
            "Wrong limit of an accuracy curve",
            expected="a whole number of degrees, at least 1 and in the variant paper at most 30",
            found=repr(limit),
            where="limit",
            fix="choose a smaller limit, or variant='standard', whose curves may end beyond 30 degrees",
        )
    require_array(errors, (None,), "float", "pair errors", fix="pass one error per pair of queries")
    if not len(errors):
        return float("nan")
    bins, end = (_PAPER_BINS, _PAPER_RANGE) if variant == "paper" else (limit, float(limit))
    histogram, _ = np.histogram(errors[np.isfinite(errors)], bins=bins, range=(0.0, end))
    return float(np.cumsum(histogram[:limit]).mean() / len(errors))


def pose_score(
    prediction: FloatArray, truth: FloatArray, *, min_baseline: float = 1e-6, variant: Variant = "standard"
) -> ClipScore:
    """Pose metrics of one clip; with a constant number of queries their mean equals pooling all pairs.

    No alignment of trajectories takes place.

    Args:
        prediction: (S, 3, 4) world-to-camera.
        truth: (S, 3, 4) world-to-camera.
        min_baseline: see `pair_errors`.
        variant: see `pair_errors` and `pose_auc`.

    Returns:
        values `auc_30/10/5/3` on the larger error of each pair, `rac_5/15` and `tac_5/15` the shares of rotation and
        translation errors below 5 and 15 degrees; counts `pose_pairs`, `pose_static_pairs`. In `standard`, static
        pairs are scored by rotation alone and left out of `tac_*`; NaN for one query, for predictions that are
        not finite, and for `tac_*` of a static camera.

    Raises:
        DatasetError, NonFiniteError: see `pair_errors`.
    """
    check_variant(variant)
    _require_poses(prediction, truth)
    pairs = len(prediction) * (len(prediction) - 1) // 2
    if pairs == 0:
        return ClipScore.without_value(POSE_KEYS, "fewer than two queries", {"pose_pairs": 0, "pose_static_pairs": 0})
    errors = pair_errors(prediction, truth, min_baseline=min_baseline, variant=variant)
    counts = {"pose_pairs": pairs, "pose_static_pairs": int(errors.static.sum())}
    if variant == "standard" and not np.isfinite(prediction).all():
        return ClipScore.without_value(POSE_KEYS, "predicted poses are not finite", counts)
    combined = errors.combined if variant == "standard" else np.maximum(errors.rotation, errors.translation)
    values = {f"auc_{k}": pose_auc(combined, k, variant=variant) for k in AUC_LIMITS}
    values |= {f"rac_{k}": float((errors.rotation < k).mean()) for k in ACCURACY_LIMITS}
    moving = errors.translation if variant == "paper" else errors.translation[~errors.static]
    for k in ACCURACY_LIMITS:
        values[f"tac_{k}"] = float((moving < k).mean()) if len(moving) else float("nan")
    undefined = {} if len(moving) else {f"tac_{k}": "static camera" for k in ACCURACY_LIMITS}
    return ClipScore(values, counts, undefined)
