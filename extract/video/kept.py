"""Tensors computed once and kept on disk: latents of clips, embeddings of the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.files import atomic_file
from configs.identity import digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def kept(
    folder: Path | None,
    key: Any,
    compute: Callable[[], Tensor],
    device: str | torch.device = "cpu",
    *,
    spread: bool = False,
) -> Tensor:
    """Return `compute()`, or what an earlier call with the same key left in a folder: the same bits.

    Args:
        folder: holds one small file per tensor; None keeps nothing.
        key: everything that the tensor depends on, as JSON types.
        compute: makes the tensor.
        device: where a tensor from the folder goes.
        spread: spread the files over sub-folders, for thousands of them.
    """
    if folder is None:
        return compute()
    from safetensors.torch import load_file, save_file

    name = digest(key)[:20]
    path = (folder / name[:2] if spread else folder) / f"{name}.safetensors"
    if path.is_file():
        found: Tensor
        (found,) = load_file(path, device=str(device)).values()
        return found
    tensor = compute()
    with atomic_file(path) as temporary:
        save_file({"kept": tensor.contiguous().cpu()}, temporary)
    return tensor
