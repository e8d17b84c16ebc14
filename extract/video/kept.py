"""VAE latents kept on disk and shared by models that have the same VAE and see the same pixels of a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.files import atomic_file
from configs.identity import digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class LatentCache:
    """A folder of latents, one small file per clip and window, named by a digest of pixels and VAE.

    They are kept in float32, so that a run with the cache gives the same bits as one without.
    """

    def __init__(self, cache: str | None) -> None:
        self.folder = Path(cache) / "latents" if cache else None

    def get(self, key: Any, compute: Callable[[], Tensor], device: torch.device) -> Tensor:
        """Return the latents of `key`, computing and keeping them if they aren't there yet."""
        if self.folder is None:
            return compute()
        from safetensors.torch import load_file, save_file

        name = digest(key)[:32]
        path = self.folder / name[:2] / f"{name}.safetensors"
        if path.is_file():
            found: Tensor = load_file(path, device=str(device))["latents"]
            return found
        latents = compute()
        with atomic_file(path) as temporary:
            save_file({"latents": latents.contiguous().cpu()}, temporary)
        return latents
