"""Class embeddings from a file, one row per class in the order of the dataset's classes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from configs.errors import ConfigError, MissingError, NonFiniteError


def load_class_embeddings(path: str | Path, num_classes: int) -> Tensor:
    """Read a table of class embeddings, for example text embeddings of class names.

    Args:
        path: `.npy`, or `.safetensors` with one tensor.
        num_classes: expected number of rows.

    Returns:
        (num_classes, E) float32.

    Raises:
        MissingError: no such file.
        ConfigError: another kind of file, more than one tensor, or another number of rows.
        NonFiniteError: NaN or infinite values.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError("no such file of class embeddings", where=path, fix="set head.class_embeddings=FILE")
    rows = _read(path).float()
    if rows.ndim != 2 or rows.shape[0] != num_classes or rows.shape[1] == 0:
        raise ConfigError(
            "these class embeddings don't fit the dataset",
            expected=f"({num_classes}, E)",
            found=tuple(rows.shape),
            where=path,
            fix="write one row per class, in the order of the dataset's classes",
        )
    if not rows.isfinite().all():
        raise NonFiniteError("class embeddings hold NaN or infinite values", where=path)
    return rows


def _read(path: Path) -> Tensor:
    if path.suffix == ".npy":
        import numpy as np

        try:
            loaded = np.load(path, allow_pickle=False)
            return torch.from_numpy(np.ascontiguousarray(loaded, dtype=np.float32))
        except (ValueError, TypeError, EOFError) as error:
            raise ConfigError(f"not a readable array of numbers: {error}", where=path) from error
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise ConfigError(f"not a readable safetensors file: {error}", where=path) from error
        if len(tensors) != 1:
            raise ConfigError("a file of class embeddings holds one tensor", found=sorted(tensors), where=path)
        rows: Tensor = next(iter(tensors.values()))
        return rows
    raise ConfigError(
        "unknown kind of class embeddings", expected=".npy or .safetensors", found=path.suffix, where=path
    )
