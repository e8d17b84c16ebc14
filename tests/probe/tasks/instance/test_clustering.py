"""Clustering of cells, the offset of min_samples, and nearest upsampling with floor indexing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from configs.errors import DatasetError, NonFiniteError
from probe.metrics.arrays import FloatArray, IntArray
from probe.tasks.instance.clustering import cluster_cells, count_clusters, score_embeddings, upsample_labels


def blobs(
    seed: int = 0,
    *,
    classes: int = 5,
    spread: float = 0.05,
    shape: tuple[int, int, int] = (2, 12, 16),
    dims: int = 32,
) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dims))
    owner = rng.integers(0, classes, shape)
    cells = centres[owner] / np.linalg.norm(centres[owner], axis=-1, keepdims=True)
    cells = cells + spread * rng.normal(size=(*shape, dims))
    return (cells / np.linalg.norm(cells, axis=-1, keepdims=True)).astype(np.float32), owner


def test_separate_blobs_are_found_across_queries() -> None:
    cells, owner = blobs()
    labels = cluster_cells(cells)
    assert count_clusters(labels) == 5
    found = labels >= 0
    assert found.mean() > 0.9
    assert adjusted_rand_score(owner[found], labels[found]) == 1.0
    np.testing.assert_array_equal(labels, cluster_cells(cells))


def test_neighbours_are_counted_without_the_point_itself() -> None:
    """The textbook definition: core distance = distance to the k-th other point; checked on the labels it gives."""
    from sklearn.cluster import HDBSCAN
    from sklearn.neighbors import NearestNeighbors

    cells, _ = blobs(3, spread=0.2, dims=8)
    points = cells.reshape(-1, 8).astype(np.float64)
    # mutual reachability from the k = 5 nearest other points, given to a clusterer that adds nothing (k = 1: itself)
    core = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points)[0][:, 5]
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    reach = np.maximum(np.maximum(core[:, None], core[None]), distance)
    expected = HDBSCAN(min_cluster_size=30, min_samples=1, metric="precomputed", copy=True).fit_predict(reach)
    labels = cluster_cells(cells).ravel()
    assert count_clusters(labels) >= 2
    assert adjusted_rand_score(expected, labels) > 0.999
    unshifted = HDBSCAN(min_cluster_size=30, min_samples=5, copy=True).fit_predict(points)
    assert (unshifted != labels).any()


def test_dimensions_above_eight_are_reduced() -> None:
    rng = np.random.default_rng(0)
    cells, owner = blobs(1, dims=8)
    rotation = np.linalg.qr(rng.normal(size=(32, 32)))[0][:8]
    wide = cells @ rotation.astype(np.float32)  # same geometry in 32 dimensions
    assert adjusted_rand_score(cluster_cells(wide).ravel(), cluster_cells(cells).ravel()) > 0.999
    assert owner.shape == wide.shape[:3]


@pytest.mark.parametrize("name", ["one blob", "constant", "too few cells", "four cells"])
def test_nothing_to_find_is_all_noise(name: str) -> None:
    rng = np.random.default_rng(0)
    cells = {
        "one blob": rng.normal(size=(2, 10, 10, 8)),
        "constant": np.ones((2, 10, 10, 32)),
        "too few cells": rng.normal(size=(1, 4, 5, 32)),
        "four cells": rng.normal(size=(1, 2, 2, 32)),
    }[name]
    assert (cluster_cells(cells) == -1).all()


def test_repeated_points_form_clusters() -> None:
    cells = np.zeros((2, 10, 10, 32))
    cells[0, ..., 0] = 1.0
    cells[1, ..., 1] = 1.0
    labels = cluster_cells(cells)
    assert count_clusters(labels) == 2
    assert np.ptp(labels[0]) == np.ptp(labels[1]) == 0


def test_bad_embeddings_are_refused() -> None:
    cells, _ = blobs()
    with pytest.raises(DatasetError):
        cluster_cells(cells[0])
    cells[0, 0, 0, 0] = np.inf
    with pytest.raises(NonFiniteError):
        cluster_cells(cells)


@pytest.mark.parametrize(
    ("grid", "size"), [((15, 26), (54, 72)), ((15, 22), (540, 720)), ((3, 5), (3, 5)), ((4, 7), (2, 3))]
)
def test_upsampling_uses_floor_indices(grid: tuple[int, int], size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(-1, 9, (2, *grid)).astype(np.int32)
    got = upsample_labels(labels, size)
    assert got.dtype == np.int32
    for y in range(0, size[0], 7):
        for x in range(0, size[1], 5):
            assert (got[:, y, x] == labels[:, y * grid[0] // size[0], x * grid[1] // size[1]]).all()


@pytest.mark.parametrize("grid", [(15, 26), (15, 22), (16, 16)])
def test_upsampling_equals_torch_nearest(grid: tuple[int, int]) -> None:
    labels = np.arange(grid[0] * grid[1]).reshape(1, *grid)
    expected = torch.nn.functional.interpolate(torch.tensor(labels)[None].double(), (540, 720), mode="nearest")
    np.testing.assert_array_equal(upsample_labels(labels, (540, 720)), expected[0].numpy())


def test_embeddings_to_score() -> None:
    cells, owner = blobs(2)
    truth = upsample_labels(owner + 1, (48, 64))
    score, labels = score_embeddings(cells, truth, things=np.array([1, 2]))
    assert labels.shape == owner.shape
    assert score.counts["n_clusters"] == score.counts["n_objects"] == 5
    assert score.counts["n_things"] == 2
    assert score.counts["n_noise"] == int((labels < 0).sum())
    assert score.values["t_miou"] > 0.9
    assert score.values["t_sr"] == 1.0
