"""Rotary position codes, and dropout that repeats its masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from configs.errors import ConfigError
from probe.net.attention import Dropout, rotary_tables, rotate
from tests.probe.gradients import gradient


def slow(x: torch.Tensor, grid: tuple[int, int], specials: int, base: float) -> torch.Tensor:
    """Number by number from the definition: halves for row and column, pairs (j, j + a/2) turned by pos * f_j."""
    out = x.clone()
    half = x.shape[-1] // 2
    for token in range(x.shape[0]):
        patch = token - specials
        position = (0, 0) if patch < 0 else (patch // grid[1] + 1, patch % grid[1] + 1)
        for axis in range(2):
            for j in range(half // 2):
                angle = position[axis] * base ** (-2 * j / half)
                a, b = axis * half + j, axis * half + j + half // 2
                c, s = math.cos(angle), math.sin(angle)
                out[token, a] = x[token, a] * c - x[token, b] * s
                out[token, b] = x[token, b] * c + x[token, a] * s
    return out


@pytest.mark.parametrize(("grid", "head_dim", "specials"), [((3, 5), 16, 5), ((4, 2), 8, 1), ((1, 1), 4, 0)])
def test_equals_the_slow_definition(grid: tuple[int, int], head_dim: int, specials: int) -> None:
    x = torch.randn(specials + grid[0] * grid[1], head_dim)
    fast = rotate(x, *rotary_tables(grid, head_dim, specials=specials))
    torch.testing.assert_close(fast, slow(x, grid, specials, 100.0), atol=1e-6, rtol=0)


def test_scores_depend_on_offsets_only() -> None:
    grid = (6, 7)
    cosines, sines = rotary_tables(grid, 16, specials=0)
    q, k = torch.randn(2, 16)
    at = {(r, c): r * grid[1] + c for r in range(grid[0]) for c in range(grid[1])}

    def score(a: tuple[int, int], b: tuple[int, int]) -> float:
        return float(rotate(q, cosines[at[a]], sines[at[a]]) @ rotate(k, cosines[at[b]], sines[at[b]]))

    assert score((1, 1), (3, 2)) == pytest.approx(score((3, 4), (5, 5)), abs=1e-5)
    assert score((1, 1), (3, 2)) != pytest.approx(score((1, 1), (2, 3)), abs=1e-3)


def test_special_tokens_are_not_turned() -> None:
    cosines, sines = rotary_tables((2, 2), 8, specials=5)
    assert (cosines[:5] == 1).all()
    assert (sines[:5] == 0).all()


@pytest.mark.parametrize("head_dim", [0, 6, -4])
def test_wrong_head_width(head_dim: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        rotary_tables((2, 2), head_dim, specials=1)


def test_wrong_base() -> None:
    with pytest.raises(ConfigError, match="base"):
        rotary_tables((2, 2), 8, specials=1, base=0.0)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.9])
def test_rate_and_mean_of_the_library(p: float) -> None:
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(300, 1001))
    assert abs((out == 0).double().mean().item() - p) < 5 * (p * (1 - p) / out.numel()) ** 0.5
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)


def test_values_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(1)
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).double() - 0.5
    for distance in (1, 2, 3, 4, 5, 8):  # four values share a random word
        assert abs((dropped[distance:] * dropped[:-distance]).mean().item()) < 2e-3


def test_gradients_flow_through_kept_values() -> None:
    torch.manual_seed(2)
    x = torch.randn(7, 33, requires_grad=True)
    out = Dropout(0.4)(x)
    torch.autograd.backward(out.sum())
    torch.testing.assert_close(gradient(x) * x.detach(), out.detach())


def test_a_seed_gives_the_same_masks_again() -> None:
    x, drop = torch.randn(5, 77), Dropout(0.2)
    torch.manual_seed(3)
    state, first, second = torch.get_rng_state(), drop(x), drop(x)
    torch.set_rng_state(state)
    assert torch.equal(drop(x), first) and torch.equal(drop(x), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5)])
def test_any_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    out = Dropout(0.5)(x)
    assert out.shape == x.shape and out.dtype is dtype
    assert set(out.flatten().tolist()) <= {0.0, 2.0}


def test_as_the_library_where_nothing_is_random() -> None:
    x = torch.randn(4, 6)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))


def test_compiles_into_one_graph() -> None:
    torch.manual_seed(4)
    module = nn.Sequential(nn.Linear(8, 8), Dropout(0.5))
    out = torch.compile(module, fullgraph=True, backend="eager")(torch.randn(64, 8))
    assert 0.3 < (out == 0).double().mean() < 0.7


def test_rates_that_16_bits_cannot_tell_from_never_and_always() -> None:
    assert (Dropout(1e-7)(torch.ones(10_000)) == 0).sum() < 5
    assert (Dropout(1 - 1e-7)(torch.ones(10_000)) != 0).sum() < 5
