"""Where tiny twins are kept, and weights for them whose blocks differ visibly from one another."""

from __future__ import annotations

import atexit
import math
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from configs.files import atomic_folder
from extract.adapter import Variant
from extract.weights.libraries import quiet_libraries

if TYPE_CHECKING:
    from torch import nn


@cache
def _session_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="spatialprobe-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def tiny_snapshot(name: str, architecture: str, version: int, variant: Variant, write: Callable[[Path], None]) -> Path:
    """Return the folder of a tiny snapshot, writing it first if it isn't there; safe for concurrent processes.

    Args:
        name: name of the model.
        architecture, version: digest and recipe version that the folder's name must show.
        variant: gives the cache folder and the seed.
        write: writes the parts into an empty folder.
    """
    home = Path(variant.cache) / "tiny" if variant.cache else _session_folder()
    final = home / f"{name}-{architecture}-v{version}-seed{variant.init_seed}"
    if final.is_dir():
        return final
    with atomic_folder(final, durable=False) as work, quiet_libraries():
        write(work)
    return final


def redraw(module: nn.Module, seed: int) -> nn.Module:
    """Redraw all weights with standard deviation 1 / sqrt(fan-in), so that every block changes its input visibly.

    The libraries' own initialisation leaves successive blocks of small networks nearly equal, so no test would
    notice a block number that is off by one.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                fan_in = 1 if "embed_tokens" in name or "shared" in name else parameter[0].numel()
                parameter.copy_(values / math.sqrt(max(fan_in, 1)))
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * values)
            else:
                parameter.copy_(0.02 * values)
    return module.eval()
