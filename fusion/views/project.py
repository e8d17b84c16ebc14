"""Fixed linear maps of one branch to another width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Projection:
    """x @ matrix - offset.

    Args:
        matrix: (C, width) float32.
        offset: (width,) float32; None for 0.
    """

    def __init__(self, matrix: torch.Tensor, offset: torch.Tensor | None = None) -> None:
        self.matrix, self.offset = matrix, offset

    @property
    def width(self) -> int:
        """Channels after the projection."""
        return self.matrix.shape[1]

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """Map cells (n, C) float32 to (n, width) float32."""
        import torch

        with torch.autocast(cells.device.type, enabled=False):
            self.matrix = self.matrix.to(cells.device)
            found = cells @ self.matrix
            if self.offset is not None:
                self.offset = self.offset.to(cells.device)
                found -= self.offset
            return found


def random_projection(channels: int, width: int, seed: int) -> Projection:
    """Return a Gaussian projection that keeps the mean square of unit-variance channels (Johnson and Lindenstrauss).

    Args:
        channels: width of the branch.
        width: width asked for, smaller or larger.
        seed: draws the matrix, together with both widths.
    """
    import torch

    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, channels, width])))
    matrix = generator.standard_normal((channels, width), dtype=np.float32)
    matrix /= np.float32(np.sqrt(channels))
    return Projection(torch.from_numpy(matrix))
