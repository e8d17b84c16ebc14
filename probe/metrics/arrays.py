"""Types of the arrays that metrics take, and the shared check of the inputs of metrics and losses."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, SpatialprobeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.integer[Any]]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
NumberArray: TypeAlias = NDArray[np.bool_ | np.integer[Any] | np.floating[Any]]

Kind: TypeAlias = Literal["bool", "integer", "float", "number"]
"""Kinds of dtypes. They are never converted silently: 0 and 1 would be indices where a mask is meant. `number` is any
of the other three."""

_LETTERS: dict[Kind, str] = {"bool": "b", "integer": "iu", "float": "f", "number": "biuf"}
_WRAP = ("np.asarray(values), or values.numpy(force=True) for a tensor", "torch.as_tensor(values)")
_CONVERT: dict[Kind, tuple[str, str]] = {
    "bool": (
        "values.astype(bool), or a comparison such as values > 0",
        "values.bool(), or a comparison such as values > 0",
    ),
    "integer": ("values.astype(np.int64); np.flatnonzero(values) takes the ids from a mask", "values.long()"),
    "float": ("values.astype(np.float64)", "values.float()"),
    "number": ("values.astype(np.float64)", "values.float()"),
}


def require_array(
    array: NDArray[Any] | Tensor,
    shape: tuple[int | None, ...],
    kind: Kind | None,
    name: str,
    *,
    fix: str = "bring prediction and ground truth to the same queries and resolution",
    of: type = np.ndarray,
    error: type[SpatialprobeError] = DatasetError,
) -> None:
    """Reject anything but an array of this shape and kind of dtype. Values are not checked.

    Args:
        array: what was given.
        shape: wanted extent per axis; None allows any.
        kind: wanted dtypes; None allows any.
        name: what to call the array in the message.
        fix: what to do about a wrong shape.
        of: class of the array, NumPy's or torch's.
        error: class of the error.

    Raises:
        DatasetError: (or `error`) not an array, another dtype, another rank or other extents.
    """
    numpy = of is np.ndarray
    if not isinstance(array, of):
        problem = f"The {name} must be given as {'a NumPy array' if numpy else 'a tensor'}"
        found = f"{type(array).__module__}.{type(array).__qualname__}".removeprefix("builtins.")
        fix = f"pass {_WRAP[0 if numpy else 1]}"
    elif kind is not None and _letter(array.dtype) not in _LETTERS[kind]:
        problem, found = f"Wrong dtype of the {name}", _described(array)
        fix = f"pass {_CONVERT[kind][0 if numpy else 1]}"
    elif not _fits(array.shape, shape):
        problem, found = f"Wrong shape of the {name}", _described(array)
    else:
        return
    extents = ", ".join("any" if extent is None else str(extent) for extent in shape)
    raise error(problem, expected=f"({extents}) {kind or 'of any dtype'}", found=found, where=name, fix=fix)


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(w is None or w == n for w, n in zip(shape, found, strict=True))


def _described(array: NDArray[Any] | Tensor) -> str:
    return f"({', '.join(map(str, array.shape))}) {str(array.dtype).removeprefix('torch.')}"


@cache
def _letter(dtype: np.dtype[Any] | torch.dtype) -> str:
    """NumPy's letter for a kind of dtypes, for those of torch too."""
    if isinstance(dtype, np.dtype):
        return dtype.kind
    if dtype.is_floating_point:
        return "f"
    return "c" if dtype.is_complex else "b" if str(dtype) == "torch.bool" else "i"
