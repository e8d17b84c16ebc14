from __future__ import annotations

import math

import pytest
import torch

from configs.errors import ConfigError
from probe.net.attention import rotary_tables, rotate


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
