"""Pooling to a coarser grid."""

from __future__ import annotations

import pytest
import torch

from configs.errors import ConfigError
from extract.readout import pool_to_grid


def test_exact_halves() -> None:
    features = torch.randn(2, 3, 30, 52, 4)
    expected = features.view(2, 3, 15, 2, 26, 2, 4).mean(dim=(3, 5))
    assert torch.allclose(pool_to_grid(features, (15, 26)), expected, atol=1e-6)


def test_overlapping_bins_of_the_published_grids() -> None:
    features = torch.arange(45.0).view(1, 1, 1, 45, 1).expand(1, 1, 30, 45, 1)
    pooled = pool_to_grid(features, (15, 22))[0, 0, 0, :, 0]
    bins = [features[0, 0, 0, i * 45 // 22 : -(-(i + 1) * 45 // 22), 0].mean() for i in range(22)]
    assert torch.allclose(pooled, torch.stack(bins))


def test_native_grid_is_returned_as_it_is() -> None:
    features = torch.randn(1, 2, 3, 4, 5)
    assert pool_to_grid(features, (3, 4)) is features


def test_bfloat16_is_averaged_in_float32() -> None:
    features = torch.randn(1, 1, 8, 8, 16).bfloat16()
    assert torch.equal(pool_to_grid(features, (2, 2)), pool_to_grid(features.float(), (2, 2)).bfloat16())


def test_finer_grids_are_refused() -> None:
    with pytest.raises(ConfigError, match="coarser"):
        pool_to_grid(torch.zeros(1, 2, 4, 4, 1), (4, 5))
