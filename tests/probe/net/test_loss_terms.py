from __future__ import annotations

import pytest
import torch

from configs.errors import NonFiniteError
from probe.net.loss_terms import require_finite, weighted_sum


def test_weighted_sum_skips_weight_0() -> None:
    def never() -> torch.Tensor:
        raise AssertionError

    found = weighted_sum(
        {"a": (2.0, lambda: torch.tensor(3.0)), "b": (0.0, never), "c": (-1.0, lambda: torch.tensor(1.0))}
    )
    assert {name: float(value) for name, value in found.items()} == {"a": 3.0, "c": 1.0, "loss": 5.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_bad_values_are_named_and_counted(value: float, dtype: torch.dtype) -> None:
    features = torch.randn(2, 3, 4).to(dtype)
    features[1, 2, 3] = value
    with pytest.raises(NonFiniteError, match=r"features: 1 of 24 entries") as caught:
        require_finite({"features": features, "ids": torch.ones(3, dtype=torch.long), "none": None}, "clip scene_7")
    assert "scene_7" in str(caught.value)
    assert "depth" not in str(caught.value)


def test_opposite_infinities() -> None:
    with pytest.raises(NonFiniteError, match="2 of 3"):
        require_finite({"x": torch.tensor([float("inf"), float("-inf"), 0.0])})


def test_sums_that_overflow_are_no_error() -> None:
    require_finite({"half": torch.full((100,), 60000.0, dtype=torch.float16), "huge": torch.full((10,), 3e38)})


def test_nothing_to_check() -> None:
    require_finite({})
    require_finite({"ids": torch.ones(3, dtype=torch.long), "empty": torch.ones(0)})
