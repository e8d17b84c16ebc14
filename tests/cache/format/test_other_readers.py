"""The same bits through zarr-python, tensorstore, xarray and Dask, for any dtype and codec."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cache.format.bfloat16  # noqa: F401  # registers the type for this process
from cache import FeatureStore
from cache.format.spec import torch_dtype
from cache.loading.offline import as_dask, channel_statistics
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

        array: Any = zarr.open_group(f"{store.where}/features.zarr", mode="r")[name]
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
