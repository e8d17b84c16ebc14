"""Reading rows straight from shard files into a buffer: only the bytes asked for, adjacent rows in one request.

Every row is compared with its checksum when a process reads it for the first time; later reads of it are plain reads.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c
import numpy as np

from cache.contents import StoreContents
from cache.format import layout
from cache.format.records import ShardRecord
from cache.format.shard import decompress_row, has_rows_of
from cache.format.spec import ArraySpec, torch_dtype
from cache.source import Features, ReadItem, allocate
from cache.storage.backend import Backend, Bytes, Handle
from configs import commands
from configs.errors import CorruptionError, MissingError

if TYPE_CHECKING:
    import torch

MAX_HANDLES = 256
"""Shard files kept open."""


class _Checked:
    """Rows of one shard that this process has compared with their checksums.

    Kept for every shard that was ever open, so it is small: bit r of `rows` stands for row r.

    Attributes:
        version: of the object that was read (see `Handle`); the rows of another one haven't been compared.
        rows: the bits.
    """

    __slots__ = ("rows", "version")

    def __init__(self, version: int) -> None:
        self.version, self.rows = version, 0


class _Shard(NamedTuple):
    """An open shard."""

    handle: Handle
    record: ShardRecord
    checked: _Checked


class _Part(NamedTuple):
    """Rows of one shard and where they go."""

    store: StoreContents
    shard: _Shard
    spec: ArraySpec
    clip_id: str
    rows: Sequence[int]
    target: memoryview


class StoreReader(StoreContents):
    """A store whose committed shards can be read, row by row; see `FeatureSource.read`.

    Args:
        backend: its storage.
        io_threads: requests in flight at a time; 1 is best for local disks and warm caches, 4 to 8 for network disks.

    Attributes:
        checked_rows: (clip, array) -> which rows this process has compared with their checksums, a bit per row.
    """

    def __init__(self, backend: Backend, io_threads: int = 1) -> None:
        super().__init__(backend)
        self.io_threads = io_threads
        self._open_shards: OrderedDict[tuple[str, str], _Shard] = OrderedDict()
        self.checked_rows: dict[tuple[str, str], _Checked] = {}
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._last: tuple[weakref.ref[torch.Tensor], int, tuple[object, ...], memoryview] | None = None
        self._pool = ThreadPoolExecutor(io_threads, thread_name_prefix="shard reader") if io_threads > 1 else None

    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Features:
        if self._process != os.getpid():  # a fork: what the parent process has compared doesn't count here
            self._open_shards, self.checked_rows, self._process = OrderedDict(), {}, os.getpid()
            self._checked.clear()
        if len(items) == 1 and out is not None:
            return self._read_again(items[0], out, allow_partial)
        specs = [self.array(array) for _, array, _ in items]
        tensors = allocate(items, specs, out)
        if isinstance(tensors, list):
            targets = [_bytes_of(tensor) for tensor in tensors]
        else:
            data = _bytes_of(tensors)
            size = len(data) // len(items)
            targets = [data[i * size : (i + 1) * size] for i in range(len(items))]
        parts = []
        for (clip_id, array, rows), spec, target in zip(items, specs, targets, strict=True):
            part = self._part(clip_id, array, rows, spec, target, allow_partial)
            if part is not None:
                parts.append(part)
        if self._pool is None or len(parts) < 2:
            for part in parts:
                _fill(part)
        else:
            for done in [self._pool.submit(_fill, part) for part in parts]:
                done.result()
        return tensors

    def _read_again(self, item: ReadItem, out: torch.Tensor, allow_partial: bool) -> torch.Tensor:
        """Read one item into a buffer that is likely to be the one of the last call.

        Between two large copies every line of code runs with cold caches, so what was found out about the buffer is
        kept: five calls into torch less.
        """
        clip_id, array, rows = item
        spec = self.array(array)
        last, kind = self._last, (spec.dtype, len(rows), spec.grid, spec.channels)
        if last is not None and last[0]() is out and last[1] == out.data_ptr() and last[2] == kind:
            tensor, target = out, last[3]
        else:
            allocated = allocate([item], [spec], out)
            assert not isinstance(allocated, list)  # one item always goes into one tensor
            tensor, target = allocated, _bytes_of(allocated)
            if tensor is out:
                self._last = (weakref.ref(out, self._forget), out.data_ptr(), kind, target)
        part = self._part(clip_id, array, rows, spec, target, allow_partial)
        if part is not None:
            _fill(part)
        return tensor

    def _forget(self, _: object) -> None:
        self._last = None

    def _part(
        self, clip_id: str, array: str, rows: Sequence[int], spec: ArraySpec, target: memoryview, allow_partial: bool
    ) -> _Part | None:
        if rows and not (min(rows) >= 0 and max(rows) < spec.rows):
            wrong = next(row for row in rows if not 0 <= row < spec.rows)
            raise MissingError(f"array {array} has no row {wrong}", expected=f"0 to {spec.rows - 1}")
        shard = self._open_shards.get((clip_id, array))  # a single look-up needs no lock
        if shard is None:
            shard = self._open(clip_id, array, allow_partial)
            if shard is None:
                _fill_with_nan(target, spec.dtype)
                return None
        return _Part(self, shard, spec, clip_id, rows, target)

    def _open(self, clip_id: str, array: str, allow_partial: bool) -> _Shard | None:
        clip = self.clip_index(clip_id)
        record = self.shard_record(clip, array)
        if record is None:
            if allow_partial:
                self.partial.add((clip_id, array))
                return None
            raise MissingError(
                f"clip {clip_id} has no committed features in array {array}",
                where=self.where,
                fix=f"run the same `{commands.extract('run')}` command again: it fills the gaps",
            )
        self.check_array(array)
        key = layout.shard_key(array, clip)
        where = f"{self.where}/{key}"
        try:
            handle = self.backend.open(key)
        except MissingError:
            raise CorruptionError(
                f"the shard of committed clip {clip_id} is missing",
                where=where,
                fix=f"{commands.repair(self.where)}, then extract again",
            ) from None
        spec = self.array(array)
        if not has_rows_of(record, spec):
            raise CorruptionError(
                f"the commit record of clip {clip_id} doesn't fit the rows of array {array}",
                expected=f"{spec.rows} checksums",
                found=f"{len(record.crc32c)}",
                where=where,
                fix=f"{commands.repair(self.where)}, then extract again",
            )
        if handle.size != record.bytes:
            raise CorruptionError(
                f"the shard of clip {clip_id} has the wrong size",
                expected=f"{record.bytes} bytes",
                found=f"{handle.size} bytes",
                where=where,
                fix=f"{commands.repair(self.where)}, then extract again",
            )
        with self._lock:
            checked = self.checked_rows.get((clip_id, array))
            if checked is None or checked.version != handle.version:
                checked = self.checked_rows[clip_id, array] = _Checked(handle.version)
            shard = self._open_shards[clip_id, array] = _Shard(handle, record, checked)
            while len(self._open_shards) > MAX_HANDLES:  # a handle in use elsewhere stays open until it is let go
                self._open_shards.popitem(last=False)
        return shard


def _fill(part: _Part) -> None:
    size, record, checked = part.spec.row_bytes, part.shard.record, part.shard.checked
    known = checked.rows
    new = [(place, row) for place, row in enumerate(map(int, part.rows)) if not known >> row & 1]
    if record.chunks is None:
        _fill_raw(part, size)
    else:
        for place, row in enumerate(part.rows):
            target = part.target[place * size : (place + 1) * size]
            _decode_row(part, row, record.chunks[row], target, not known >> int(row) & 1)
    for place, row in new:
        _compare(part, row, np.frombuffer(part.target[place * size : (place + 1) * size], np.uint8), record.crc32c[row])
        checked.rows |= 1 << row  # a bit that another thread's assignment undoes costs one more comparison


def _compare(part: _Part, row: int, data: Bytes, expected: int) -> None:
    """Compare bytes of a row, compressed or not, with their checksum.

    Raises:
        CorruptionError: they differ.
    """
    found = google_crc32c.value(data)
    if found != expected:
        store = part.store
        raise CorruptionError(
            f"row {row} of clip {part.clip_id} has changed since it was written",
            expected=f"CRC-32C {expected:08x}",
            found=f"{found:08x}",
            where=f"{store.where}/{layout.shard_key(part.spec.name, store.clip_index(part.clip_id))}",
            fix=f"{commands.repair(store.where)}, then extract again",
        )


def _fill_raw(part: _Part, size: int) -> None:
    """Plan all requests first, then issue them back to back: between two large copies Python runs with cold caches."""
    rows, target = part.rows, part.target
    count = len(rows)
    if count == 1 or (count and all(after - before == 1 for before, after in itertools.pairwise(rows))):
        one_range = (rows[0] * size, [target], count * size)  # of the file, and of the memory
        part.shard.handle.read_many([one_range])
        return
    requests: list[tuple[int, list[memoryview], int]] = []
    last = -2
    for place in sorted(range(count), key=rows.__getitem__):
        row, piece = rows[place], target[place * size : (place + 1) * size]
        if row == last + 1:
            offset, pieces, wanted = requests[-1]
            pieces.append(piece)
            requests[-1] = (offset, pieces, wanted + size)
        else:
            requests.append((row * size, [piece], size))
        last = row
    part.shard.handle.read_many(requests)


def _decode_row(part: _Part, row: int, chunk: tuple[int, int, int], target: memoryview, new: bool) -> None:
    offset, size, crc = chunk
    data = bytearray(size)
    part.shard.handle.read_into(offset, [memoryview(data)])
    if new:
        _compare(part, row, np.frombuffer(data, np.uint8), crc)
    decompress_row(bytes(data), target, part.spec)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    return memoryview(tensor.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _fill_with_nan(target: memoryview, dtype: str) -> None:
    import torch

    torch.frombuffer(target, dtype=torch_dtype(dtype)).fill_(math.nan)
