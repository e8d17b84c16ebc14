"""Every changed byte is found, nothing changed is ever returned by a first read, and repair redoes just that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import ArraySpec, FeatureStore
from cache.care.repair import repair
from cache.care.seal import seal
from cache.care.verify import verify
from cache.lease import LeaseBoard
from cache.storage.local import LocalBackend
from configs.errors import CorruptionError, SpatialprobeError
from tests.stores import make_features, make_spec, make_store

Maker = Callable[..., FeatureStore]
RAW, PACKED = make_spec("raw", channels=4), make_spec("packed", channels=4, compression="zstd")
BLOSC = make_spec("blosc", channels=4, dtype="float16", compression="blosc-lz4")


def sealed_store(small: Maker) -> FeatureStore:
    store = small(RAW, PACKED, BLOSC, clips=2)
    store.quarantine("scene0001", "kept to be corrupted too")
    seal(store.backend, store.board)
    return FeatureStore.open(store.where)


def files_of(root: str) -> list[Path]:
    return sorted(path for path in Path(root).rglob("*") if path.is_file())


def test_every_single_byte_change_is_found_and_never_returned(small: Maker) -> None:
    """1,000 random flips over data, indexes, metadata, records, statistics, spare copies and Parquet."""
    specs = [make_spec(codec, rows=2, channels=2, compression=codec) for codec in ("none", "zstd")]
    store = small(*specs, clips=2, written=[0])
    store.quarantine("scene0001", "kept to be corrupted too")
    seal(store.backend, store.board)
    root = store.where
    assert verify(store.backend) == []
    right = {("scene0000", spec.name): store.read([("scene0000", spec.name, range(2))])[0] for spec in specs}
    statistics = store.statistics("none", ["scene0000"])
    random = np.random.default_rng(7)
    files = files_of(root)
    sizes = np.array([path.stat().st_size for path in files], float)
    # half of the flips by size, half evenly over files, so that small files get their share
    chance = 0.5 * sizes / sizes.sum() + 0.5 / len(files)
    hit: set[str] = set()
    for number in range(1000):
        path = files[random.choice(len(files), p=chance)]
        original = path.read_bytes()
        changed = bytearray(original)
        position = int(random.integers(len(changed)))
        changed[position] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        key = path.relative_to(root).as_posix()
        hit.add(key.split("/")[0])
        with contextlib.suppress(SpatialprobeError):  # a header of another version is refused, which is found too
            assert verify(store.backend), f"flip {number} of byte {position} of {key} was not found"
        with contextlib.suppress(SpatialprobeError):
            opened = FeatureStore.open(root)
            for (clip_id, name), values in right.items():
                with contextlib.suppress(SpatialprobeError):
                    assert torch.equal(opened.read([(clip_id, name, range(2))])[0], values), key
            found = opened.statistics("none", ["scene0000"])
            assert found[0] == statistics[0] and np.array_equal(found[1], statistics[1]), key
        path.write_bytes(original)
    assert verify(store.backend) == []
    top = {
        "store.json",
        "clips.parquet",
        "manifest.parquet",
        "features.zarr",
        "commits",
        "stats",
        "backup",
        "quarantine",
    }
    assert hit == top


@pytest.mark.parametrize("spec", [RAW, PACKED, BLOSC], ids=lambda spec: spec.name)
@pytest.mark.parametrize("damage", ["truncate", "empty", "delete", "grow", "zeros"])
def test_damaged_shards_are_redone_and_nothing_else(small: Maker, spec: ArraySpec, damage: str) -> None:
    store = sealed_store(small)
    path = Path(store.where) / f"features.zarr/{spec.name}/c.0.0.0.0.0"
    data = path.read_bytes()
    path.unlink()
    if damage != "delete":
        path.write_bytes({"truncate": data[:-7], "empty": b"", "grow": data + b"x", "zeros": bytes(len(data))}[damage])
    problems = verify(store.backend)
    assert [(problem.kind, problem.clip, problem.array) for problem in problems] == [("shard", 0, spec.name)]
    repair(store.backend, LeaseBoard(store.backend), problems)
    assert verify(store.backend) == []

    mended = FeatureStore.open(store.where)
    assert mended.missing([spec.name], quarantined=True) == ["scene0000"]
    others = [name for name in mended.arrays if name != spec.name]
    assert mended.missing(others, quarantined=True) == []
    assert mended.statistics(others[0], mended.clips)[0] == 120
    with mended.writer("scene0000") as writer:
        writer.put(spec.name, make_features(spec, 0))
    assert path.read_bytes() == data
    assert verify(store.backend) == []


def test_lost_statistics_are_computed_again(small: Maker) -> None:
    store = sealed_store(small)
    before = store.statistics("packed", store.clips)
    path = Path(store.where) / "stats/00000000.0000.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(CorruptionError, match="channel statistics have changed since they were written"):
        store.statistics("packed", store.clips)
    repair(store.backend, LeaseBoard(store.backend))
    assert verify(store.backend) == []
    mended = FeatureStore.open(store.where)
    assert mended.missing(quarantined=True) == []
    after = mended.statistics("packed", store.clips)
    assert before[0] == after[0] and np.array_equal(before[1], after[1]) and np.array_equal(before[2], after[2])


@pytest.mark.parametrize(
    "key", ["store.json", "clips.parquet", "features.zarr/zarr.json", "features.zarr/raw/zarr.json"]
)
@pytest.mark.parametrize("damage", ["change", "delete"])
def test_metadata_is_mended(small: Maker, key: str, damage: str) -> None:
    store = sealed_store(small)
    path = Path(store.where) / key
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(data.replace(b"a", b"b", 1))
    try:
        found = [problem.key for problem in verify(store.backend)]
    except SpatialprobeError:  # no store.json at all
        found = [key]
    assert key in found
    repair(store.backend, LeaseBoard(store.backend))
    assert path.read_bytes() == data
    assert verify(store.backend) == []


def test_a_broken_commit_record_costs_one_clip(small: Maker) -> None:
    store = sealed_store(small)
    path = Path(store.where) / "commits/00000001.0000.json"
    path.write_bytes(path.read_bytes().replace(b"scene", b"scent"))
    done = repair(store.backend, LeaseBoard(store.backend))
    assert any("00000001.0000.json: removed" in line for line in done)
    assert verify(store.backend) == []
    mended = FeatureStore.open(store.where)
    assert mended.missing(quarantined=True) == ["scene0001"]


def test_a_record_of_another_store_is_refused(small: Maker) -> None:
    store, other = small(RAW, clips=2), small(RAW, clips=2, name="other", fingerprint={"model": "other"})
    record = Path(other.where) / "commits/00000001.0000.json"
    (Path(store.where) / "commits/00000001.0000.json").write_bytes(record.read_bytes())
    with pytest.raises(CorruptionError, match="another clip or another store"):
        FeatureStore.open(store.where).read([("scene0001", "raw", [0])])
    assert [problem.kind for problem in verify(store.backend)] == ["commit"]
    # the same record under another clip's name
    (Path(store.where) / "commits/00000001.0000.json").write_bytes(
        (Path(store.where) / "commits/00000000.0000.json").read_bytes()
    )
    assert [problem.kind for problem in verify(store.backend)] == ["commit"]


def test_reads_notice_a_wrong_size(small: Maker) -> None:
    store = small(RAW, clips=1)
    path = Path(store.where) / "features.zarr/raw/c.0.0.0.0.0"
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(CorruptionError, match="wrong size"):
        store.read([("scene0000", "raw", [0])])


def test_both_clip_tables_lost_is_said_plainly(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [RAW], 1)
    for key in ("clips.parquet", "backup/clips.parquet"):
        (tmp_path / "s" / key).unlink()
    with pytest.raises(CorruptionError, match="both copies of the clip table are lost"):
        repair(LocalBackend(store.where), LeaseBoard(store.backend))
