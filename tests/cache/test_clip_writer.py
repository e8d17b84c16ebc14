"""Writers that come late, disks that return other bytes, inputs of any type: what a commit promises."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from cache import FeatureStore
from cache.care.verify import verify
from cache.format import layout
from cache.format.shard import ClipFeatures
from cache.storage.local import LocalBackend
from configs.errors import CorruptionError, StoreError
from tests.stores import make_features, make_spec, make_store

SPEC = make_spec()


def test_a_holder_that_slept_through_its_lease_never_damages_a_commit(tmp_path: Path) -> None:
    """Two writers of one clip, as if the second had taken over: the committed values stay, whoever comes late."""
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])
    late = store.writer("scene0000")
    late.put(SPEC.name, make_features(SPEC, 99))
    (tmp_path / "s/leases/00000000.0000.json").unlink()
    other = FeatureStore.open(tmp_path / "s")
    with other.writer("scene0000") as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    with pytest.raises(StoreError, match="has committed different values"), late:
        pass
    assert verify(store.backend) == []
    assert (other.read([("scene0000", SPEC.name, [1])])[0] == make_features(SPEC, 0).bfloat16()[[1]]).all()


def test_the_same_values_twice_are_no_conflict(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])
    late = store.writer("scene0000")
    late.put(SPEC.name, make_features(SPEC, 0))
    (tmp_path / "s/leases/00000000.0000.json").unlink()
    with FeatureStore.open(tmp_path / "s").writer("scene0000") as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    with late:
        pass
    assert verify(store.backend) == [] and store.missing() == []


def test_a_commit_overwritten_between_check_and_rename_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])
    late = store.writer("scene0000")
    shard = store.backend.stage(layout.shard_key(SPEC.name, 0))
    publish = shard.publish
    with monkeypatch.context() as patch:
        patch.setattr(store.backend, "stage", lambda key: shard)
        late.put(SPEC.name, make_features(SPEC, 99))

    def sleep_and_publish() -> None:
        (tmp_path / "s/leases/00000000.0000.json").unlink()
        with FeatureStore.open(tmp_path / "s").writer("scene0000") as writer:
            writer.put(SPEC.name, make_features(SPEC, 0))
        publish()

    monkeypatch.setattr(shard, "publish", sleep_and_publish)
    with pytest.raises(StoreError, match="its commit was withdrawn"), late:
        pass
    fresh = FeatureStore.open(tmp_path / "s")
    assert fresh.missing() == ["scene0000"] and verify(fresh.backend) == []


def test_a_disk_that_returns_other_bytes_is_noticed_before_the_clip_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store", [SPEC], 2, written=[])
    first, second = store.clips
    with store.writer(first, verify_writes=True) as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    assert store.committed(SPEC.name) == [first]
    shard = tmp_path / "store" / layout.shard_key(SPEC.name, 1)
    sync = LocalBackend.sync
    flipped: list[Path] = []

    def flip(backend: LocalBackend, folders: Iterable[str]) -> None:
        sync(backend, folders)
        if shard.is_file() and not flipped:  # a second time would flip it back
            content = bytearray(shard.read_bytes())
            content[5] ^= 1
            shard.write_bytes(content)
            flipped.append(shard)

    monkeypatch.setattr(LocalBackend, "sync", flip)
    with (
        pytest.raises(CorruptionError, match="reads back differently"),
        store.writer(second, verify_writes=True) as writer,
    ):
        writer.put(SPEC.name, make_features(SPEC, 1))
    monkeypatch.undo()
    fresh = FeatureStore.open(tmp_path / "store")
    assert fresh.committed(SPEC.name) == [first] and fresh.missing() == [second]
    with fresh.writer(second, verify_writes=True) as writer:
        writer.put(SPEC.name, make_features(SPEC, 1))
    assert not verify(fresh.backend)


def test_inputs_of_any_float_type_and_layout(tmp_path: Path) -> None:
    import ml_dtypes

    spec = make_spec()
    features = make_features(spec, 0)
    rounded = features.bfloat16()
    turned = features.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    given_as: list[ClipFeatures] = [
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


def test_a_commit_while_others_are_looked_for_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread commits while another one lists records: the list lacks the new one, which isn't gone for that."""
    store = make_store(tmp_path / "s", [SPEC], 2, written=[])
    names = store.backend.names

    def commits_meanwhile(prefix: str) -> Iterable[str]:
        listed = list(names(prefix))
        if prefix == layout.COMMITS:
            monkeypatch.undo()
            with store.writer("scene0001") as writer:
                writer.put(SPEC.name, make_features(SPEC, 0))
        return listed

    monkeypatch.setattr(store.backend, "names", commits_meanwhile)
    store.refresh()
    assert store.committed(SPEC.name) == ["scene0001"]
    assert store.claim("scene0001") is None
    (tmp_path / "s" / layout.COMMITS / layout.commit_name(1, 0)).unlink()
    store.refresh()
    assert store.committed(SPEC.name) == []  # what others have removed is gone
