"""Random rotations, point maps and confidences, and the variants that metrics are tested in."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from probe.metrics.arrays import FloatArray
from probe.metrics.score import Variant

VARIANTS: tuple[Variant, ...] = ("paper", "standard")


def rotations(count: int, seed: int) -> FloatArray:
    """Return (count, 3, 3) rotation matrices."""
    return np.asarray(Rotation.random(count, random_state=np.random.RandomState(seed)).as_matrix())


def clip(
    seed: int = 0, shape: tuple[int, int, int] = (3, 8, 9), noise: float = 0.1
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return predicted and true points (S, H, W, 3), and confidences (S, H, W) above 1."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(*shape, 3))
    prediction = truth + noise * rng.normal(size=truth.shape)
    confidence = 1.0 + rng.gamma(1.0, size=shape)
    return prediction, truth, confidence
