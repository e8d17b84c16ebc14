"""Features as colours: their first three principal components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Colouring(NamedTuple):
    """`colours` (n, h, w, 3) uint8, and the share of variance of the three components together."""

    colours: NDArray[np.uint8]
    explained: float


def pca_colours(features: NDArray[np.floating]) -> Colouring:
    """Return maps coloured by the first three principal components of all their cells.

    One PCA for all maps: equal colours mean equal features in different maps. Each component is stretched between its
    2nd and 98th percentile; its sign makes the largest loading positive, so that colours are reproducible.

    Args:
        features: (n, h, w, C), finite.
    """
    from sklearn.decomposition import PCA

    grid = features.shape[:3]
    cells = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
    count = min(3, *cells.shape)
    if np.ptp(cells, axis=0).max(initial=0.0) == 0.0:
        return Colouring(np.full((*grid, 3), 128, np.uint8), 0.0)
    solver = "randomized" if min(cells.shape) > 64 else "full"
    pca = PCA(count, svd_solver=solver, random_state=0).fit(cells)
    loadings = pca.components_
    signs = np.sign(loadings[np.arange(count), np.abs(loadings).argmax(axis=1)])
    values = pca.transform(cells) * signs
    low, high = np.percentile(values, (2, 98), axis=0)
    scaled = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
    colours = np.full((len(cells), 3), 0.5)
    colours[:, :count] = scaled
    explained = float(pca.explained_variance_ratio_.sum())
    return Colouring((colours * 255).round().astype(np.uint8).reshape(*grid, 3), explained)
