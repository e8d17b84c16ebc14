"""Tensors computed once and kept on disk under a digest: latents of clips, embeddings of the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.console import get_logger
from configs.files import atomic_file
from configs.identity import digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_NAME = "kept"


def kept(
    folder: Path | None,
    key: Any,
    compute: Callable[[], Tensor],
    device: str | torch.device = "cpu",
    *,
    spread: bool = False,
) -> Tensor:
    """Return `compute()`, or what an earlier call with the same key left in a folder: the same bits.

    A file that is damaged, or of another key, is named in a warning and written again.

    Args:
        folder: holds one small file per tensor; None keeps nothing.
        key: everything that the tensor depends on, as JSON types.
        compute: makes the tensor.
        device: where a tensor from the folder goes.
        spread: spread the files over sub-folders, for thousands of them.
    """
    if folder is None:
        return compute()
    from safetensors.torch import save_file

    name = digest(key)
    path = (folder / name[:2] if spread else folder) / f"{name[:20]}.safetensors"
    if path.is_file():
        found = _load(path, name)
        if found is not None:
            return found.to(device)
        get_logger("extract").warning("%s is not the tensor that was kept there; it is computed again", path)
    tensor = compute()
    host = tensor.contiguous().cpu()
    with atomic_file(path) as temporary:
        save_file({_NAME: host}, temporary, {"sha256": _sha256(name, host)})
    return tensor


def _load(path: Path, name: str) -> Tensor | None:
    """Return the tensor of a file on the CPU; None if it isn't the one that was kept under this name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensor: Tensor = file.get_tensor(_NAME).clone()  # else a view of the file, which could change later
            recorded = (file.metadata() or {}).get("sha256")
    except SafetensorError:
        return None
    return tensor if recorded == _sha256(name, tensor) else None


def _sha256(name: str, tensor: Tensor) -> str:
    import torch

    total = hashlib.sha256(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
    total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
