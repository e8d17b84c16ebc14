"""What the tests of fusion share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fusion.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "root")
    made.dataset()
    return made


@pytest.fixture
def whole() -> Callable[[Any, str], torch.Tensor]:
    """Reads all rows of all clips of the only array of a source, as float32."""

    def read(source: Any, clip_id: str) -> torch.Tensor:
        (name,) = source.arrays
        features: torch.Tensor = source.read([(clip_id, name, range(source.array(name).rows))])[0]
        return features.float()

    return read
