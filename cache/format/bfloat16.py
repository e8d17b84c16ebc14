"""The Zarr v3 extension data type `bfloat16`, found by plain `zarr.open` through the package's entry point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeGuard, overload

import ml_dtypes
import numpy as np
from zarr.core.buffer.cpu import Buffer as Buffer  # for the entry point `zarr.buffer`, see below
from zarr.core.dtype import data_type_registry
from zarr.core.dtype.common import (
    DataTypeValidationError,
    DTypeConfig_V2,
    DTypeJSON,
    HasEndianness,
    HasItemSize,
)
from zarr.core.dtype.wrapper import TBaseDType, ZDType

NUMPY_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
"""The NumPy data type of bfloat16, as ml_dtypes registers it."""

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True)
class BFloat16(ZDType[Any, Any], HasEndianness, HasItemSize):
    """bfloat16: the upper 16 bits of an IEEE 754 float32.

    The `bytes` codec writes it little-endian, as tensorstore does; Zarr v2 has no spelling for it.
    """

    _zarr_v3_name: ClassVar[Literal["bfloat16"]] = "bfloat16"
    dtype_cls: ClassVar[type[np.dtype[Any]]] = type(NUMPY_BFLOAT16)

    @property
    def item_size(self) -> int:
        """Bytes of one value: 2."""
        return 2

    @classmethod
    def from_native_dtype(cls, dtype: TBaseDType) -> Self:
        """Return this type for the NumPy dtype `ml_dtypes.bfloat16`.

        Raises:
            DataTypeValidationError: it is another dtype.
        """
        if dtype == NUMPY_BFLOAT16:
            return cls()
        raise DataTypeValidationError(f"expected the NumPy dtype bfloat16, found {dtype}")

    def to_native_dtype(self) -> Any:
        """Return the NumPy dtype `ml_dtypes.bfloat16`."""
        return NUMPY_BFLOAT16

    @classmethod
    def _check_json_v2(cls, data: DTypeJSON) -> TypeGuard[DTypeConfig_V2[str, None]]:
        return False

    @classmethod
    def _check_json_v3(cls, data: DTypeJSON) -> TypeGuard[str]:
        return data == cls._zarr_v3_name

    @classmethod
    def _from_json_v2(cls, data: DTypeJSON) -> Self:
        raise DataTypeValidationError("bfloat16 exists only in Zarr v3")

    @classmethod
    def _from_json_v3(cls, data: DTypeJSON) -> Self:
        if cls._check_json_v3(data):
            return cls()
        raise DataTypeValidationError(f"expected {cls._zarr_v3_name!r}, found {data!r}")

    @overload
    def to_json(self, zarr_format: Literal[2]) -> DTypeConfig_V2[str, None]: ...

    @overload
    def to_json(self, zarr_format: Literal[3]) -> str: ...

    def to_json(self, zarr_format: Literal[2, 3]) -> DTypeConfig_V2[str, None] | str:
        """Return the name used in `zarr.json`.

        Raises:
            ValueError: `zarr_format` is 2.
        """
        if zarr_format == 3:
            return self._zarr_v3_name
        raise ValueError("bfloat16 exists only in Zarr v3")

    def _check_scalar(self, data: object) -> bool:
        return isinstance(data, (int, float, np.number, ml_dtypes.bfloat16))

    def cast_scalar(self, data: object) -> Any:
        """Return a number as a bfloat16 scalar.

        Raises:
            TypeError: `data` is no number.
        """
        if not self._check_scalar(data):
            raise TypeError(f"can't convert {data!r} to bfloat16")
        return NUMPY_BFLOAT16.type(data)

    def default_scalar(self) -> Any:
        """Return 0."""
        return NUMPY_BFLOAT16.type(0)

    def from_json_scalar(self, data: Any, *, zarr_format: Literal[2, 3]) -> Any:
        """Read a fill value: a number, `"NaN"`, `"Infinity"`, `"-Infinity"`, or the bits as `"0x7fc0"`.

        Raises:
            TypeError: `data` is none of these.
        """
        if isinstance(data, str):
            if data in _SPECIAL:
                return NUMPY_BFLOAT16.type(_SPECIAL[data])
            if data.startswith("0x"):
                return np.uint16(int(data, 16)).view(NUMPY_BFLOAT16)
        elif isinstance(data, (int, float)) and not isinstance(data, bool):
            return NUMPY_BFLOAT16.type(data)
        raise TypeError(f"not a bfloat16 fill value: {data!r}")

    def to_json_scalar(self, data: object, *, zarr_format: Literal[2, 3]) -> float | str:
        """Return a fill value as JSON."""
        value = float(self.cast_scalar(data))
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value


# zarr 3.1 collects the entry points of group `zarr.data_type` but never loads them. Those of group `zarr.buffer` are
# loaded before the first metadata is read: ours names zarr's own Buffer in this module, so that importing it registers
# the type. Registering twice is harmless.
data_type_registry.register(BFloat16._zarr_v3_name, BFloat16)
