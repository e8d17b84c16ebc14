"""How large the loaded part of a network is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from extract.adapter import Adapter


def network_modules(adapter: Adapter) -> list[nn.Module]:
    """Return the modules that an adapter holds, each once; none for sources that are not models."""
    from torch import nn

    owners = [adapter, getattr(adapter, "_network", None)]
    found = [value for owner in owners if owner is not None for value in vars(owner).values()]
    return list({id(value): value for value in found if isinstance(value, nn.Module)}.values())


def count_parameters(adapter: Adapter) -> int:
    """Return the parameters that are loaded: without blocks that no tap needs, with VAE and text encoder where used."""
    return sum(parameter.numel() for module in network_modules(adapter) for parameter in module.parameters())
