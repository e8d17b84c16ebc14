"""Errors by depth, percentile and frame distance against loops over pixels and queries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from configs.errors import DatasetError
from probe.metrics.arrays import BoolArray, FloatArray
from probe.metrics.score import Variant
from probe.tasks.geometry.metrics.finegrained import depth_bin_errors, error_percentiles, frame_distance_errors
from tests.probe.tasks.geometry.metrics.random_clips import VARIANTS


def quantile_twin(values: list[float], q: float) -> float:
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def bins_twin(values: list[float], positions: list[float], edges: list[float]) -> list[float]:
    means = []
    for b in range(len(edges) - 1):
        last = b == len(edges) - 2
        inside = [
            v
            for v, x in zip(values, positions, strict=True)
            if edges[b] <= x < edges[b + 1] or (last and x == edges[b + 1])
        ]
        means.append(sum(inside) / len(inside) if inside else math.nan)
    return means


def summaries_twin(family: str, means: list[float]) -> dict[str, float]:
    known = [m for m in means if not math.isnan(m)]
    if len(known) < 2:
        return {}
    mean = sum(known) / len(known)
    return {
        f"{family}_far_minus_near": known[-1] - known[0],
        f"{family}_far_over_near": known[-1] / known[0] if known[0] > 1e-9 else math.nan,
        f"{family}_mean": mean,
        f"{family}_var": sum((m - mean) ** 2 for m in known) / len(known),
    }


def random_errors(seed: int, shape: tuple[int, int, int] = (4, 5, 6)) -> tuple[FloatArray, FloatArray, BoolArray]:
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=shape), rng.gamma(3.0, size=shape), rng.random(shape) < 0.4


@pytest.mark.parametrize("seed", range(5))
def test_depth_bins_equal_the_twin(seed: int) -> None:
    distance, depth, mask = random_errors(seed)
    if seed == 4:
        depth = np.round(depth)  # repeated edges and empty bins
    values, depths = distance[mask].tolist(), depth[mask].tolist()
    edges = [quantile_twin(depths, k / 10) for k in range(11)]
    means = bins_twin(values, depths, edges)
    expected = {f"depth_bin_{b:02d}_err": m for b, m in enumerate(means)} | summaries_twin("depth_bin", means)
    got = depth_bin_errors(distance, depth, mask)
    assert list(got.values) == list(expected)
    np.testing.assert_allclose(list(got.values.values()), list(expected.values()), rtol=1e-9)


def test_equal_depths_fill_the_last_bin_only() -> None:
    got = depth_bin_errors(np.full((1, 2, 2), 3.0), np.ones((1, 2, 2)), np.ones((1, 2, 2), bool))
    assert got.values["depth_bin_09_err"] == 3.0
    assert len(got.undefined) == 9
    assert "depth_bin_mean" not in got.values


def test_no_masked_pixel() -> None:
    distance, depth, mask = random_errors(0)
    assert len(depth_bin_errors(distance, depth, ~mask & mask).undefined) == 10
    assert set(error_percentiles(distance, ~mask & mask).undefined.values()) == {"no masked pixel"}
    lost = np.full_like(distance, np.nan)  # no alignment: every distance is unknown
    assert len(depth_bin_errors(lost, depth, mask).undefined) == 10
    assert len(error_percentiles(lost, mask).undefined) == 4
    for variant in VARIANTS:
        assert len(frame_distance_errors(lost, mask, np.arange(4), variant=variant).undefined) == 4


@pytest.mark.parametrize("seed", range(3))
def test_percentiles_equal_the_twin(seed: int) -> None:
    distance, _, mask = random_errors(seed)
    got = error_percentiles(distance, mask).values
    for p in (50, 90, 99):
        assert got[f"pmap_err_p{p}"] == pytest.approx(quantile_twin(distance[mask].tolist(), p / 100))
    assert got["pmap_err_p99_over_p50"] == pytest.approx(got["pmap_err_p99"] / got["pmap_err_p50"])
    zero = error_percentiles(0 * distance, mask)
    assert zero.values["pmap_err_p50"] == 0.0
    assert zero.undefined == {"pmap_err_p99_over_p50": "median error is zero"}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(4))
def test_frame_distance_equals_the_twin(seed: int, variant: Variant) -> None:
    distance, _, mask = random_errors(seed, (6, 3, 3))
    mask[2] = False
    frames = np.sort(np.random.default_rng(seed).choice(80, 6, replace=False))
    queries, apart = [], []
    for s in range(6):
        values = [float(v) for v in distance[s][mask[s]]]
        if values or variant == "paper":
            queries.append(sum(values) / (len(values) + 1e-6) if variant == "paper" else sum(values) / len(values))
            apart.append(float(abs(frames[s] - frames[0])))
    low, high = 0.0, float(abs(frames - frames[0]).max())
    means = bins_twin(queries, apart, [low + (high - low) * k / 4 for k in range(5)])
    expected = {f"frame_dist_b{b}_err": m for b, m in enumerate(means)} | summaries_twin("frame_dist", means)
    got = frame_distance_errors(distance, mask, frames, variant=variant)
    assert list(got.values) == list(expected)
    np.testing.assert_allclose(list(got.values.values()), list(expected.values()), rtol=1e-9)


def test_query_without_pixels_is_left_out_or_zero() -> None:
    distance, mask = np.full((2, 2, 2), 4.0), np.ones((2, 2, 2), bool)
    mask[1] = False
    standard = frame_distance_errors(distance, mask, np.array([0, 10]))
    paper = frame_distance_errors(distance, mask, np.array([0, 10]), variant="paper")
    assert standard.values["frame_dist_b0_err"] == 4.0
    assert standard.undefined["frame_dist_b3_err"] == "empty bucket"
    assert paper.values["frame_dist_b3_err"] == 0.0
    assert paper.values["frame_dist_b0_err"] == pytest.approx(4.0, rel=1e-6)


def test_queries_as_ranks_or_unknown() -> None:
    distance, mask = np.arange(1.0, 5.0)[:, None, None] * np.ones((4, 2, 2)), np.ones((4, 2, 2), bool)
    paper = frame_distance_errors(distance, mask, None, variant="paper").values
    assert [paper[f"frame_dist_b{b}_err"] for b in range(4)] == pytest.approx([1, 2, 3, 4], rel=1e-6)
    unknown = frame_distance_errors(distance, mask, None)
    assert set(unknown.undefined.values()) == {"frame indices unknown"}
    same = frame_distance_errors(distance, mask, np.full(4, 7)).values
    assert same["frame_dist_b0_err"] == 2.5
    assert math.isnan(same["frame_dist_b1_err"])
    with pytest.raises(DatasetError):
        frame_distance_errors(distance, mask, np.arange(3))
