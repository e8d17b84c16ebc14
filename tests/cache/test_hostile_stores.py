"""Stores whose digests are right and whose names, keys, links or shapes are not: nothing outside is touched."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from cache.care.prune import prune
from cache.care.verify import verify
from cache.create import save_header
from cache.format import clips, layout, records
from cache.format.header import load_header
from cache.lease import LeaseBoard
from cache.printing import copy_store, open_store
from cache.storage.local import LocalBackend
from configs.errors import ConfigError, CorruptionError
from configs.files import dataset_path, features_path, sha256_bytes
from tests.stores import make_spec, make_store

SPEC = make_spec()


def store_below(root: Path) -> FeatureStore:
    return make_store(features_path(root, "rooms", "toy") / "0123456789ab", [SPEC], 2)


def forge(store: FeatureStore, **fields: Any) -> None:
    """Change `store.json` and give it the digest that its content asks for."""
    key = Path(store.where) / layout.STORE
    values = records.parse(key.read_bytes(), "")
    del values["schema"]
    key.write_bytes(records.render({**values, **fields}))


@pytest.mark.parametrize("field", ["source", "dataset"])
@pytest.mark.parametrize("name", ["../../../outside", "/tmp", "..", "", ".hidden", "a/b", 7, None])
def test_a_copy_stays_below_its_root(tmp_path: Path, field: str, name: object) -> None:
    store = store_below(tmp_path / "root")
    forge(store, **{field: name})
    with pytest.raises(CorruptionError, match=f"not a usable name of a {field}"):
        copy_store(open_store(str(tmp_path / "root"), None, None, store.where), str(tmp_path / "to"), None, None, False)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert [problem.kind for problem in verify(store.backend)] == ["header"]


@pytest.mark.parametrize("name", ["../x", "", "/etc", "a b", "x\n", "*"])
def test_names_that_a_user_gives_stay_below_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not a usable name of a dataset"):
        dataset_path(tmp_path, name)
    with pytest.raises(ConfigError, match="not a usable name of a dataset"):
        features_path(tmp_path, name)
    with pytest.raises(ConfigError, match="not a usable name of a source"):
        features_path(tmp_path, "rooms", name)


@pytest.mark.parametrize(
    "key", ["../../secret", "/etc/hostname", "leases/x", "features.zarr/../../zarr.json", "tmp/a/b"]
)
def test_only_files_of_the_store_are_listed(tmp_path: Path, key: str) -> None:
    store = store_below(tmp_path)
    header = load_header(store.backend)
    save_header(store.backend, dataclasses.replace(header, files={**header.files, key: ("0" * 64,)}))
    with pytest.raises(CorruptionError, match="lists a file that is not part of a store"):
        FeatureStore.open(store.where)


def test_a_clip_id_is_not_a_path(tmp_path: Path) -> None:
    store = store_below(tmp_path)
    table = clips.to_parquet([dataclasses.replace(store.entries[0], clip_id="../../x"), store.entries[1]])
    store.backend.replace(layout.CLIPS, table)
    header = load_header(store.backend)
    save_header(
        store.backend, dataclasses.replace(header, files={**header.files, layout.CLIPS: (sha256_bytes(table),)})
    )
    with pytest.raises(CorruptionError, match=r"not a usable clip id: '\.\./\.\./x'"):
        FeatureStore.open(store.where)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grid", [1 << 20, 1 << 20]), ("channels", 1 << 40), ("rows", 1 << 30), ("grid", [-1, 4]), ("grid", []),
        ("channels", "many"), ("name", "../x"), ("rows", [4]),
    ],
)  # fmt: skip
def test_an_absurd_array_is_refused(tmp_path: Path, field: str, value: object) -> None:
    store = store_below(tmp_path)
    spec = {**SPEC.to_json(), field: value}
    if field == "rows" and isinstance(value, int):
        spec["source_frames"] = []
    forge(store, arrays=[spec])
    with pytest.raises(
        CorruptionError, match=r"implausible shape|must be positive|malformed|not a usable array name"
    ) as caught:
        FeatureStore.open(store.where)
    assert layout.STORE in str(caught.value)


def in_time(work: Any) -> Any:
    """What a function returns, if it does so soon."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it hangs"
    return found[0]


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
@pytest.mark.parametrize("key", [layout.CLIPS, layout.shard_key(SPEC.name, 0), layout.statistics_key(0, 0)])
def test_only_regular_files_are_read(tmp_path: Path, kind: str, key: str) -> None:
    store = store_below(tmp_path)
    path = Path(store.where) / key
    if kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        path.mkdir()
    (problem,) = in_time(lambda: verify(LocalBackend(store.where)))
    assert problem.key == key and ("regular file" in problem.message)


def test_no_link_leads_out_of_a_store(tmp_path: Path) -> None:
    """Pruning would remove the files of somebody else."""
    store = store_below(tmp_path / "root")
    outside = tmp_path / "outside" / "othermachine-12-34-cafe"
    outside.mkdir(parents=True)
    (outside / "precious").touch()
    for path in (outside / "precious", outside):
        os.utime(path, (0, 0))
    temporary = Path(store.where) / "tmp"
    for session in temporary.iterdir():
        session.rmdir()
    temporary.rmdir()
    temporary.symlink_to(tmp_path / "outside")
    backend = LocalBackend(store.where)
    with pytest.raises(CorruptionError, match="a link leads out of the feature store"):
        prune(backend, LeaseBoard(backend))
    assert (outside / "precious").exists()


def test_a_linked_store_is_the_store(tmp_path: Path) -> None:
    store = store_below(tmp_path / "root")
    (tmp_path / "link").symlink_to(store.where, target_is_directory=True)
    assert verify(LocalBackend(tmp_path / "link")) == []
