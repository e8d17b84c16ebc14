"""From per-cell embeddings to scores: PCA, HDBSCAN over all queries jointly, nearest upsampling, and matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import NonFiniteError
from probe.metrics.arrays import BoolArray, FloatArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant
from probe.tasks.instance.metrics import NOISE, Background, instance_score, match_objects

_FIX = "pass maps of all queries; maps[None] for a single one"


def cluster_cells(
    embeddings: FloatArray, *, min_cluster_size: int = 30, min_samples: int = 5, dims: int = 8
) -> NDArray[np.int32]:
    """Cluster all cells of a clip together, which makes cluster ids consistent across queries.

    PCA to `dims` (centred, not whitened, fitted on this clip, not re-normalised), then HDBSCAN with excess-of-mass
    selection. Noise stays noise. A clip that is one blob is all noise, as no single cluster is allowed.

    Args:
        embeddings: (S, h, w, D) head output, unit length over D, any float dtype; clustered in float64.
        min_cluster_size: smallest cluster, in cells over all queries. Cells cover different areas on different grids.
        min_samples: neighbours of the core distance as the protocol counts them, **without** the point itself;
            scikit-learn counts the point too and is given one more.
        dims: PCA width; skipped when D is not larger.

    Returns:
        (S, h, w) int32, -1 noise.

    Raises:
        NonFiniteError: an embedding is NaN or infinite.
        DatasetError: not four axes, or not floats.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    require_array(
        embeddings, (None, None, None, None), "float", "instance embeddings", fix="pass (S, h, w, D) embeddings"
    )
    if not np.isfinite(embeddings).all():
        raise NonFiniteError(
            "Instance embeddings contain NaN or infinite values",
            expected="finite embeddings",
            where="instance embeddings",
            fix="lower recipe.lr= or set recipe.precision=float32 and train the probe again",
        )
    grid = embeddings.shape[:3]
    cells = np.asarray(embeddings, np.float64).reshape(-1, embeddings.shape[3])
    # HDBSCAN needs as many points as neighbours, and fewer than one cluster's worth of cells can hold no cluster
    if len(cells) < max(min_cluster_size, min_samples + 1) or np.ptp(cells, axis=0).max(initial=0.0) == 0.0:
        return np.full(grid, NOISE, np.int32)
    if cells.shape[1] > dims:
        cells = PCA(n_components=min(dims, len(cells)), random_state=0).fit_transform(cells)
    labels = HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=min_samples + 1,
        metric="euclidean",
        cluster_selection_method="eom",
        allow_single_cluster=False,
        copy=True,
    ).fit_predict(cells)
    return np.asarray(labels, np.int32).reshape(grid)


def count_clusters(labels: IntArray) -> int:
    """Number of clusters in label maps, noise not counted.

    Args:
        labels: integer, any shape.

    Raises:
        DatasetError: not an array of integers.
    """
    require_array(labels, np.shape(labels), "integer", "label maps")
    return len(np.unique(labels[labels >= 0]))


def upsample_labels(labels: IntArray, size: tuple[int, int]) -> IntArray:
    """Bring label maps to mask resolution by nearest neighbour with floor indexing.

    Source row = floor(row * h / H), in integers, columns likewise. This is torch's `mode="nearest"`, not the
    centre-aligned `nearest-exact`. Rows and columns scale independently.

    Args:
        labels: (S, h, w) integer.
        size: (H, W).

    Returns:
        (S, H, W), same dtype.

    Raises:
        DatasetError: not three axes, or not integers.
    """
    require_array(labels, (None, None, None), "integer", "label maps", fix=_FIX)
    height, width = size
    rows = np.arange(height) * labels.shape[1] // height
    columns = np.arange(width) * labels.shape[2] // width
    return labels[:, rows[:, None], columns]


def score_embeddings(
    embeddings: FloatArray,
    truth: IntArray,
    *,
    valid: BoolArray | None = None,
    things: IntArray | None = None,
    background: Background = "excluded",
    min_cluster_size: int = 30,
    min_samples: int = 5,
    variant: Variant = "standard",
) -> tuple[ClipScore, NDArray[np.int32]]:
    """Cluster the cells of a clip and score them against the instance masks.

    Args:
        embeddings: (S, h, w, D) head output.
        truth: (S, H, W) object ids, any integers, 0 = none.
        valid: (S, H, W) bool, pixels that count; all by default.
        things: (K,) ids for the things-only scores.
        background: see `match_objects`.
        min_cluster_size: see `cluster_cells`.
        min_samples: see `cluster_cells`.
        variant: see `match_objects` and `instance_score`.

    Returns:
        The score, with counts `n_clusters` (clusters at grid resolution) and `n_noise` (cells), and the
        (S, h, w) cluster ids for pictures.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
        NonFiniteError: an embedding is NaN or infinite.
    """
    labels = cluster_cells(embeddings, min_cluster_size=min_cluster_size, min_samples=min_samples)
    require_array(truth, (len(labels), None, None), "integer", "instance ids")
    upsampled = upsample_labels(labels, (truth.shape[1], truth.shape[2]))
    matches = match_objects(upsampled, truth, valid=valid, background=background, variant=variant)
    counts = ClipScore(counts={"n_clusters": count_clusters(labels), "n_noise": int((labels == NOISE).sum())})
    return instance_score(matches, things=things, variant=variant) | counts, labels
