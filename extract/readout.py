"""Features out of a running network: read at its blocks, averaged to a coarser grid, all on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from configs.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

K = TypeVar("K")
Pick: TypeAlias = "Callable[[Any], Tensor]"
"""Takes the hidden state of the visual tokens, or all visual tokens, from what a module returns."""


def pool_to_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average token maps to a coarser grid (adaptive average pooling, published protocol).

    Args:
        features: (..., y, x, C), any float dtype; averaged in float32.
        grid: the requested (rows, columns); the grid of the features returns them as they are.

    Returns:
        (..., grid[0], grid[1], C) in the dtype of `features`.

    Raises:
        ConfigError: the requested grid is finer than the features.
    """
    import torch.nn.functional as F

    *lead, height, width, channels = features.shape
    if grid == (height, width):
        return features
    if grid[0] > height or grid[1] > width:
        raise ConfigError(
            "features can only be pooled to a coarser grid",
            expected=f"at most {height}x{width}",
            found=f"{grid[0]}x{grid[1]}",
            fix="choose a smaller grid=, or grid=native",
        )
    flat = features.reshape(-1, height, width, channels).permute(0, 3, 1, 2).float()
    pooled = F.adaptive_avg_pool2d(flat, grid).permute(0, 2, 3, 1)
    return pooled.to(features.dtype).reshape(*lead, *grid, channels)


class _Reached(Exception):
    """The deepest tap has been read; nothing after it needs to run."""


@contextmanager
def reading(readers: Mapping[K, tuple[nn.Module, Pick]], stop_after: K | None = None) -> Iterator[dict[K, Tensor]]:
    """Collect what is picked from the outputs of some modules of whatever network runs inside.

    Args:
        readers: key -> the module to read, and what takes the hidden state of the visual tokens from its output.
        stop_after: key of the module after which nothing needs to run; None lets the network run to its end.
    """
    found: dict[K, Tensor] = {}

    def hook(key: K, pick: Pick) -> Callable[..., None]:
        def read(_module: object, _inputs: object, output: Any) -> None:
            found[key] = pick(output)
            if key == stop_after:
                raise _Reached

        return read

    handles = [module.register_forward_hook(hook(key, pick)) for key, (module, pick) in readers.items()]
    try:
        with suppress(_Reached):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def block_readers(
    blocks: Sequence[nn.Module] | nn.ModuleList, wanted: Sequence[int], pick: Pick = lambda output: output
) -> dict[int, tuple[nn.Module, Pick]]:
    """Return readers of the wanted transformer blocks, counted from 1: how many have run when the state is read."""
    return {number: (blocks[number - 1], pick) for number in wanted}
