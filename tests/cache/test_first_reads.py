"""A row that has changed since it was written stops its first read in every process; later reads are plain reads."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import torch

import cache.shard_reader
from cache import FeatureLoader, FeatureStore
from configs.errors import CorruptionError
from tests.stores import make_features, make_spec

Maker = Callable[..., FeatureStore]
SPECS = {codec: make_spec("features", compression=codec) for codec in ("none", "zstd", "blosc-lz4")}
RAW = SPECS["none"]


def shard(store: FeatureStore, clip: int = 0) -> Path:
    return Path(store.where) / f"features.zarr/features/c.{clip}.0.0.0.0"


def flip(path: Path, byte: int) -> None:
    """Change one byte in place: the same file, of the same size."""
    with path.open("r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ 1]))


def row_offset(store: FeatureStore, row: int) -> int:
    record = store.index.shard(0, "features")
    assert record is not None
    return row * RAW.row_bytes if record.chunks is None else record.chunks[row][0]


class Counted:
    """Counts the checksums that reading computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = google_crc32c.value

        def value(data: bytes) -> int:
            self.count += 1
            return int(real(data))

        monkeypatch.setattr(google_crc32c, "value", value)

    def taken(self) -> int:
        """Return how many there were since the last call."""
        count, self.count = self.count, 0
        return count


@pytest.mark.parametrize("codec", SPECS)
def test_a_changed_row_is_refused_and_its_neighbours_are_read(small: Maker, codec: str) -> None:
    store = FeatureStore.open(small(SPECS[codec], clips=1).where)
    flip(shard(store), row_offset(store, 2) + 9)
    out = torch.empty(1, 2, 3, 5, 8, dtype=torch.bfloat16)
    for into in (None, out):
        with pytest.raises(CorruptionError, match="row 2 of clip scene0000 has changed since it was written") as error:
            store.read([("scene0000", "features", [1, 2])], out=into)
        assert error.value.where == str(shard(store)) and f"store={store.where}" in str(error.value.fix)
        assert str(error.value.expected).startswith("CRC-32C ") and error.value.found is not None
    read = store.read([("scene0000", "features", [3, 0, 1])])
    assert torch.equal(read[0], make_features(RAW, 0).bfloat16()[[3, 0, 1]])


@pytest.mark.parametrize("io_threads", [1, 4])
def test_a_changed_row_is_found_among_several_clips(small: Maker, io_threads: int) -> None:
    store = FeatureStore.open(small(RAW, clips=4).where, io_threads=io_threads)
    flip(shard(store, 3), 5)
    with pytest.raises(CorruptionError, match="row 0 of clip scene0003"):
        store.read([(clip_id, "features", [0, 1]) for clip_id in store.clips])


@pytest.mark.parametrize(("codec", "each"), [("none", 1), ("zstd", 2)])
def test_every_row_is_compared_once(small: Maker, monkeypatch: pytest.MonkeyPatch, codec: str, each: int) -> None:
    """A compressed row has two checksums; a later read computes none, not even of a shard opened again."""
    monkeypatch.setattr(cache.shard_reader, "MAX_HANDLES", 1)
    store = FeatureStore.open(small(SPECS[codec], clips=3).where)
    counted = Counted(monkeypatch)
    store.read([(clip_id, "features", [1, 2]) for clip_id in store.clips])
    assert counted.taken() == 6 * each
    store.read([(clip_id, "features", [2, 3, 1]) for clip_id in store.clips])
    assert counted.taken() == 3 * each
    for rows in ([0], [1, 3], [0, 0]):
        store.read([("scene0001", "features", rows)], out=torch.empty(1, len(rows), 3, 5, 8, dtype=torch.bfloat16))
    assert counted.taken() == each
    assert all(sys.getsizeof(known) + sys.getsizeof(known.rows) <= 128 for known in store.checked_rows.values())


def test_shards_of_many_rows_and_rows_as_numpy_has_them(small: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small(make_spec("features", rows=130), clips=1)
    counted = Counted(monkeypatch)
    for times in (130, 0):
        store.read([("scene0000", "features", list(np.arange(130)))])
        assert counted.taken() == times


def test_a_replaced_shard_is_compared_again(small: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shard_reader, "MAX_HANDLES", 1)
    store = FeatureStore.open(small(RAW, clips=2).where)
    store.read([(clip_id, "features", range(4)) for clip_id in store.clips])
    other = shard(store).with_suffix(".new")
    other.write_bytes(shard(store).read_bytes())
    flip(other, row_offset(store, 1))
    other.replace(shard(store))
    with pytest.raises(CorruptionError, match="row 1"):
        store.read([("scene0000", "features", [1])])


def read_in_child(store: FeatureStore, answers: Connection) -> None:
    try:
        store.read([("scene0000", "features", [1])])
        answers.send("read")
    except CorruptionError:
        answers.send("refused")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_compares_again(small: Maker, method: str) -> None:
    store = FeatureStore.open(small(RAW, clips=1).where)
    store.read([("scene0000", "features", range(4))])
    flip(shard(store), row_offset(store, 1))
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=read_in_child, args=(store, theirs))
    child.start()
    assert ours.poll(60) and ours.recv() == "refused"
    child.join()


def test_the_loader_stops_at_a_changed_row(small: Maker) -> None:
    store = FeatureStore.open(small(RAW, clips=5).where)
    flip(shard(store, 4), 1)
    loader = FeatureLoader(store, [(clip_id, "features", (0,)) for clip_id in store.clips], 1, shuffle=False)
    seen = 0
    with pytest.raises(CorruptionError, match="row 0 of clip scene0004"):
        for _ in loader:
            seen += 1
    assert seen == 4
