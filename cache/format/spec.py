"""What one array of a store is: tap point, block, noise level, grid, and which rows answer which query slots."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from configs.errors import MissingError, StoreError
from configs.identity import plain

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Stored data types and the bytes of one value."""

CODECS: dict[str, dict[str, Any]] = {
    "none": {},
    "zstd": {"level": 3},
    "blosc-lz4": {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0},
}
"""Compression of rows with its settings: none (the default, read at the speed of the disk), and two for archives."""


@cache
def torch_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of a stored dtype."""
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")

MAX_ROW_BYTES = 1 << 30
"""Bytes of one row at most; the largest native maps take 16 MB. A store that says more is refused, not allocated."""
MAX_ROWS, MAX_CHANNELS = 1 << 16, 1 << 20


def is_array_name(name: object) -> bool:
    """Return whether a name can be that of an array, which is also a folder."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def array_name(tap: str, block: int | None, noise_level: float | None, grid: tuple[int, int]) -> str:
    """Return the canonical name of an array, e.g. `dit.b21.s0502.15x26`, `llm.b22.17x30` or `vae.15x26`.

    Args:
        tap: where in the model, e.g. `dit`, `llm`, `vision`, `vae`.
        block: how many blocks had run, counted from 1; None where there are none.
        noise_level: noise level (sigma) in [0, 10), written in thousandths; None for models without noise.
        grid: height and width of the stored map in cells.

    Raises:
        StoreError: `noise_level` is out of range.
    """
    parts = [tap]
    if block is not None:
        parts.append(f"b{block}")
    if noise_level is not None:
        if not 0 <= noise_level < 10:
            raise StoreError("a noise level must lie in [0, 10)", found=noise_level, where=tap)
        parts.append(f"s{round(noise_level * 1000):04d}")
    parts.append(f"{grid[0]}x{grid[1]}")
    return ".".join(parts)


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """One array of a store; every field is kept as an attribute of the Zarr array.

    Attributes:
        name: folder of the array in the Zarr group; `array_name` gives the canonical one, "" takes it.
        tap: where in the model the features were read.
        block: how many transformer blocks had run, counted from 1; None where there are none.
        blocks_total: number of blocks of the model.
        noise_level: noise level (sigma) of the input, None for models without noise.
        grid: (height, width) of each stored map.
        rows: number of stored maps per clip.
        channels: width C of each cell.
        dtype: `bfloat16`, `float16` or `float32`.
        row_of_slot: row that answers each query slot (20 of them), -1 where the slot is not served.
        source_frames: clip positions that each row summarises, one tuple per row.
        pooling: how the native map became this grid, `none` if it is the native one.
        extra: more attributes, JSON types only.
        compression: `none`, `zstd` or `blosc-lz4` (bitshuffle). Changes no value.
    """

    name: str
    tap: str
    block: int | None
    blocks_total: int | None
    noise_level: float | None
    grid: tuple[int, int]
    rows: int
    channels: int
    dtype: str
    row_of_slot: tuple[int, ...]
    source_frames: tuple[tuple[int, ...], ...]
    pooling: str = "none"
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compression: str = "none"

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "grid", (int(self.grid[0]), int(self.grid[1])))
        set_field(self, "rows", int(self.rows))
        set_field(self, "channels", int(self.channels))
        set_field(self, "row_of_slot", tuple(int(row) for row in self.row_of_slot))
        set_field(self, "source_frames", tuple(tuple(int(f) for f in frames) for frames in self.source_frames))
        set_field(self, "name", self.name or array_name(self.tap, self.block, self.noise_level, self.grid))
        where = f"array {self.name!r}"
        if not is_array_name(self.name):
            raise StoreError("not a usable array name", expected="letters, digits, `.`, `_`, `-`", where=where)
        if self.dtype not in ITEM_BYTES:
            raise StoreError("unknown dtype", expected=", ".join(ITEM_BYTES), found=self.dtype, where=where)
        if self.compression not in CODECS:
            raise StoreError("unknown compression", expected=", ".join(CODECS), found=self.compression, where=where)
        if min(*self.grid, self.rows, self.channels) < 1:
            raise StoreError("rows, grid and channels must be positive", found=self.shape, where=where)
        if self.rows > MAX_ROWS or self.channels > MAX_CHANNELS or self.row_bytes > MAX_ROW_BYTES:
            raise StoreError(
                "implausible shape: no backbone has such features",
                expected=f"at most {MAX_ROWS} rows, {MAX_CHANNELS} channels and {MAX_ROW_BYTES} bytes per row",
                found=f"(rows, height, width, channels) = {self.shape}",
                where=where,
            )
        if any(not -1 <= row < self.rows for row in self.row_of_slot):
            raise StoreError(
                "row_of_slot names rows that don't exist",
                expected=f"-1 to {self.rows - 1}",
                found=self.row_of_slot,
                where=where,
            )
        if len(self.source_frames) != self.rows:
            raise StoreError(
                "source_frames must have one entry per row",
                expected=self.rows,
                found=len(self.source_frames),
                where=where,
            )
        if self.noise_level is not None and not math.isfinite(self.noise_level):
            raise StoreError("the noise level must be finite", found=self.noise_level, where=where)

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip: (rows, height, width, channels)."""
        return (self.rows, *self.grid, self.channels)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one uncompressed row."""
        return self.grid[0] * self.grid[1] * self.channels * ITEM_BYTES[self.dtype]

    @property
    def relative_depth(self) -> float | None:
        """block / blocks_total, None where there are no blocks."""
        return None if self.block is None or not self.blocks_total else self.block / self.blocks_total

    def rows_of(self, slots: Iterable[int]) -> tuple[int, ...]:
        """Return the rows that answer query slots, in the given order.

        Raises:
            MissingError: a slot does not exist or is not served by this array.
        """
        rows = []
        for slot in slots:
            row = self.row_of_slot[slot] if 0 <= slot < len(self.row_of_slot) else -1
            if row < 0:
                served = [i for i, r in enumerate(self.row_of_slot) if r >= 0]
                raise MissingError(f"array {self.name} has no features for slot {slot}", expected=f"one of {served}")
            rows.append(row)
        return tuple(rows)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        values = plain(self)
        assert isinstance(values, dict)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ArraySpec:
        """Rebuild a spec from `to_json`; unknown keys are refused by the constructor."""
        return cls(**values)


def by_name(arrays: Sequence[ArraySpec]) -> dict[str, ArraySpec]:
    """Return specs by name.

    Raises:
        StoreError: two specs share a name.
    """
    named: dict[str, ArraySpec] = {}
    for spec in arrays:
        if spec.name in named:
            raise StoreError("two arrays share a name", found=spec.name)
        named[spec.name] = spec
    return named
