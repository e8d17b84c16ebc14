"""The same bits through zarr-python, tensorstore, xarray and Dask, for any shape, selection, order, dtype and codec."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cache.format.bfloat16  # noqa: F401  # registers the type for this process
from cache import FeatureStore
from cache.format.spec import ITEM_BYTES, torch_dtype
from cache.loading.offline import as_dask, channel_statistics
from cache.storage.local import LocalBackend
from configs.errors import StoreError
from tests.cache.storage.memory import MemoryBackend
from tests.stores import make_features, make_spec, make_store

SPECS = [
    make_spec(f"{dtype}.{compression}", dtype=dtype, compression=compression)
    for dtype in ("bfloat16", "float16", "float32")
    for compression in ("none", "zstd", "blosc-lz4")
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("readers") / "store", SPECS, 3, written=[0, 2])


def bits(values: torch.Tensor) -> np.ndarray:
    return values.contiguous().view(torch.uint8).numpy()


def wanted(name: str, clip: int) -> torch.Tensor:
    spec = next(spec for spec in SPECS if spec.name == name)
    return make_features(spec, clip).to(torch_dtype(spec.dtype))


def same_bits(found: np.ndarray, values: torch.Tensor) -> bool:
    return np.array_equal(np.ascontiguousarray(found).view(np.uint8), bits(values))


@pytest.mark.parametrize("name", [spec.name for spec in SPECS])
class TestOtherReaders:
    def test_zarr(self, store: FeatureStore, name: str) -> None:
        import zarr

        array = zarr.open_group(f"{store.where}/features.zarr", mode="r")[name]
        assert array.shape == (3, 4, 3, 5, 8)
        assert same_bits(array[2], wanted(name, 2))
        assert same_bits(array[0, 3], wanted(name, 0)[3])
        assert np.isnan(array[1].astype(np.float32)).all()  # not written: NaN, never zeros
        assert array.attrs["row_of_slot"][19] == 3 and array.attrs["block"] == 21
        assert array.metadata.dimension_names == ("clip", "row", "y", "x", "channel")

    def test_tensorstore(self, store: FeatureStore, name: str) -> None:
        import tensorstore

        path = f"{store.where}/features.zarr/{name}"
        array = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}).result()
        assert same_bits(array[2].read().result(), wanted(name, 2))
        assert same_bits(array[0, 3].read().result(), wanted(name, 0)[3])

    def test_xarray(self, store: FeatureStore, name: str) -> None:
        import xarray

        dataset = xarray.open_zarr(f"{store.where}/features.zarr", consolidated=False, mask_and_scale=False)
        assert dataset[name].dims == ("clip", "row", "y", "x", "channel")
        assert same_bits(dataset[name].isel(clip=2, row=1).values, wanted(name, 2)[1])

    def test_dask(self, store: FeatureStore, name: str) -> None:
        import dask.array

        array = dask.array.from_zarr(f"{store.where}/features.zarr", component=name)
        assert same_bits(array[2].compute(scheduler="synchronous"), wanted(name, 2))
        lazy = as_dask(store, name, ["scene0002", "scene0000"])
        values = torch.stack([wanted(name, 2), wanted(name, 0)]).float()
        assert np.array_equal(lazy.compute(scheduler="synchronous"), values.numpy())


def test_plain_zarr_finds_the_type_through_the_entry_points(store: FeatureStore, tmp_path: Path) -> None:
    """In a process that never imports this package by hand."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["entry-points"]
    assert groups["zarr.data_type"]["bfloat16"] == "cache.format.bfloat16:BFloat16"
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups.items()]
    folder = tmp_path / "probe-0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 0.1\n")
    (folder / "entry_points.txt").write_text("\n".join(lines))
    code = (
        "import sys, zarr, xarray\n"
        "group = zarr.open_group(sys.argv[1], mode='r')\n"
        "print(group['bfloat16.none'].dtype, xarray.open_zarr(sys.argv[1], consolidated=False)['bfloat16.zstd'].dtype)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"}
    done = subprocess.run(
        [sys.executable, "-c", code, f"{store.where}/features.zarr"], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == ["bfloat16", "bfloat16"], done.stderr


def test_dask_passes_agree_with_the_merged_statistics(store: FeatureStore) -> None:
    import dask

    clips = ["scene0000", "scene0002"]
    with dask.config.set(scheduler="synchronous"):
        merged = store.statistics("float32.none", clips)
        passed = channel_statistics(store, "float32.none", clips)
        assert merged[0] == passed[0]
        np.testing.assert_allclose(passed[1], merged[1], rtol=1e-12)
        np.testing.assert_allclose(passed[2], merged[2], rtol=1e-12)
        cells = torch.cat([wanted("float32.none", clip) for clip in (0, 2)]).reshape(-1, 8).double().numpy()
        assert passed[0] == len(cells)
        np.testing.assert_allclose(passed[1], cells.mean(0), rtol=1e-12)
        np.testing.assert_allclose(passed[2], cells.var(0), rtol=1e-9)
        halved = channel_statistics(store, "float32.none", clips, lambda x: x[:, ::2, ::2])
        assert halved[0] == 2 * 4 * 2 * 3


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
    for read in (store.read(items, verify=True), store.read(items, out=flat)):
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
                size = handle.size

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
    read = store.read(items, verify=True)
    for index, found in enumerate(read):
        assert torch.equal(found, make_features(spec, index).bfloat16()[[7, 0, 3]])


def test_a_store_travels_between_processes(tmp_path: Path) -> None:
    import pickle

    spec = make_spec()
    store = pickle.loads(pickle.dumps(make_store(LocalBackend(tmp_path / "s"), [spec], 2)))
    assert torch.equal(store.read([("scene0001", spec.name, [2])])[0], make_features(spec, 1).bfloat16()[[2]])


def test_inputs_of_any_float_type_and_layout(tmp_path: Path) -> None:
    import ml_dtypes

    spec = make_spec()
    features = make_features(spec, 0)
    rounded = features.bfloat16()
    turned = features.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    given_as = [
        features,
        rounded,
        features.double(),
        turned,
        features.numpy(),
        features.numpy().astype(ml_dtypes.bfloat16),
    ]
    store = make_store(tmp_path / "s", [spec], len(given_as), written=[])
    for clip_id, values in zip(store.clips, given_as, strict=True):
        with store.writer(clip_id) as writer:
            writer.put(spec.name, values)
        assert torch.equal(store.read([(clip_id, spec.name, range(4))])[0], rounded)
    shards = {store.index.shard(clip, spec.name) for clip in range(len(given_as))}
    assert len(shards) == 1  # one checksum whatever the way in


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
