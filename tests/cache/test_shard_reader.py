"""Any rows of any clips in any order, in as few requests as there are runs of neighbours."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import FeatureStore
from cache.format.spec import ITEM_BYTES, torch_dtype
from cache.storage.local import LocalBackend
from configs.errors import StoreError
from tests.cache.storage.memory import MemoryBackend
from tests.stores import make_features, make_spec, make_store


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_and_selection(data: st.DataObject) -> None:
    """Against plain torch indexing, over shapes, dtypes, codecs, backends, row orders and repeats."""
    number = st.integers(1, 5)
    specs = [
        make_spec(
            f"array{index}",
            rows=data.draw(st.integers(1, 9), label="rows"),
            grid=(data.draw(number), data.draw(number)),
            channels=data.draw(st.integers(1, 17), label="channels"),
            dtype=data.draw(st.sampled_from(list(ITEM_BYTES))),
            compression=data.draw(st.sampled_from(["none", "none", "zstd", "blosc-lz4"])),
        )
        for index in range(data.draw(st.integers(1, 2), label="arrays"))
    ]
    store = make_store(MemoryBackend(), specs, 2)
    values = {
        (clip, spec.name): make_features(spec, index).to(torch_dtype(spec.dtype))
        for index, clip in enumerate(store.clips)
        for spec in specs
    }
    items = []
    for _ in range(data.draw(st.integers(1, 4), label="items")):
        spec = data.draw(st.sampled_from(specs))
        rows = data.draw(st.lists(st.integers(0, spec.rows - 1), min_size=0, max_size=12), label="rows")
        items.append((data.draw(st.sampled_from(store.clips)), spec.name, rows))
    flat = torch.empty(store.nbytes(items) + 64, dtype=torch.uint8)
    for read in (store.read(items), store.read(items, out=flat)):
        for found, (clip, name, rows) in zip(read, items, strict=True):
            assert torch.equal(found, values[clip, name][rows])


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.integers(0, 19), max_size=30))
def test_adjacent_rows_are_read_together(rows: list[int]) -> None:
    """As many requests as there are runs of neighbours among the sorted rows, never more bytes than asked for."""

    class Counting(MemoryBackend):
        def __init__(self) -> None:
            super().__init__()
            self.requests: list[int] = []

        def open(self, key: str):  # type: ignore[no-untyped-def]
            handle, requests = super().open(key), self.requests

            class Handle:
                size, version = handle.size, handle.version

                def read_many(self, many: list[tuple[int, list[memoryview], int]]) -> None:
                    requests.extend(sum(map(len, buffers)) for _, buffers, _ in many)
                    handle.read_many(many)

            return Handle()

    spec = make_spec(rows=20)
    backend = Counting()
    store = make_store(backend, [spec], 1)
    read = store.read([("scene0000", spec.name, rows)])
    assert torch.equal(read[0], make_features(spec, 0).bfloat16()[rows])
    assert sum(backend.requests) == len(rows) * spec.row_bytes
    ordered = sorted(rows)
    runs = sum(1 for i, row in enumerate(ordered) if i == 0 or ordered[i - 1] + 1 != row)
    in_order = bool(rows) and all(b == a + 1 for a, b in itertools.pairwise(rows))
    assert len(backend.requests) == (1 if in_order else runs)


@pytest.mark.parametrize("io_threads", [1, 4])
def test_io_threads_read_the_same(tmp_path: Path, io_threads: int) -> None:
    spec = make_spec(rows=8)
    make_store(tmp_path / "s", [spec], 6)
    store = FeatureStore.open(tmp_path / "s", io_threads=io_threads)
    items = [(clip, spec.name, (7, 0, 3)) for clip in store.clips]
    read = store.read(items)
    for index, found in enumerate(read):
        assert torch.equal(found, make_features(spec, index).bfloat16()[[7, 0, 3]])


def test_a_store_travels_between_processes(tmp_path: Path) -> None:
    import pickle

    spec = make_spec()
    store = pickle.loads(pickle.dumps(make_store(LocalBackend(tmp_path / "s"), [spec], 2)))
    assert torch.equal(store.read([("scene0001", spec.name, [2])])[0], make_features(spec, 1).bfloat16()[[2]])


def test_a_buffer_is_remembered_but_never_mistaken(tmp_path: Path) -> None:
    one, two = make_spec("one"), make_spec("two", dtype="float16")
    store = make_store(tmp_path / "s", [one, two], 2)
    out = torch.empty(1, 2, 3, 5, 8, dtype=torch.bfloat16)
    for rows in ([0, 1], [3, 1], [2, 3]):
        for index, clip_id in enumerate(store.clips):
            assert store.read([(clip_id, "one", rows)], out=out) is out
            assert torch.equal(out[0], make_features(one, index).bfloat16()[rows])
    with pytest.raises(StoreError, match="does not fit"):
        store.read([("scene0000", "two", [0, 1])], out=out)
    with pytest.raises(StoreError, match="does not fit"):
        store.read([("scene0000", "one", [0, 1, 2])], out=out)
    other = torch.empty_like(out)
    del out
    assert torch.equal(
        store.read([("scene0001", "one", [1, 0])], out=other)[0], make_features(one, 1).bfloat16()[[1, 0]]
    )
