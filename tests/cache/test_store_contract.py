"""What every backend, dtype and codec must do alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cache import ClipEntry, FeatureStore
from cache.care.verify import verify
from cache.format.spec import torch_dtype
from cache.storage.backend import Backend
from cache.storage.local import LocalBackend
from configs import commands
from configs.errors import (
    CorruptionError,
    MissingError,
    NonFiniteError,
    StaleError,
    StoreError,
    VersionError,
)
from tests.cache.storage.memory import MemoryBackend
from tests.stores import FINGERPRINT, make_clips, make_features, make_spec, make_store

DTYPES = ["bfloat16", "float16", "float32"]
CODECS = ["none", "zstd", "blosc-lz4"]


class StoreContract:
    """Subclass with a `backend` fixture to test another kind of storage."""

    @pytest.mark.parametrize("compression", CODECS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_reads_back_bit_for_bit(self, backend: Backend, dtype: str, compression: str) -> None:
        spec = make_spec(dtype=dtype, compression=compression)
        make_store(backend, [spec], 3, written=[0, 2])
        store = FeatureStore.open(backend)
        read = store.read([("scene0002", spec.name, (3, 0, 1)), ("scene0000", spec.name, [2, 2, 1])])
        assert isinstance(read, torch.Tensor)
        wanted = [
            make_features(spec, clip).to(torch_dtype(dtype))[rows] for clip, rows in ((2, [3, 0, 1]), (0, [2, 2, 1]))
        ]
        assert read.dtype == torch_dtype(dtype)
        assert torch.equal(read, torch.stack(wanted))
        assert verify(backend) == []

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_statistics_merge_exactly(self, backend: Backend, dtype: str) -> None:
        spec = make_spec(dtype=dtype)
        store = make_store(backend, [spec], 4)
        count, mean, variance = store.statistics(spec.name, ["scene0003", "scene0001"])
        cells = torch.cat([make_features(spec, clip) for clip in (1, 3)]).to(torch_dtype(dtype)).double()
        cells = cells.reshape(-1, spec.channels)
        assert count == len(cells)
        np.testing.assert_allclose(mean, cells.mean(0), rtol=1e-12)
        np.testing.assert_allclose(variance, cells.var(0, unbiased=False), rtol=1e-11)

    def test_missing_coverage_and_partial_reads(self, backend: Backend) -> None:
        spec = make_spec()
        make_store(backend, [spec], 4, written=[1])
        store = FeatureStore.open(backend)
        assert store.coverage() == {spec.name: 0.25}
        assert store.committed(spec.name) == ["scene0001"]
        assert store.missing() == ["scene0000", "scene0002", "scene0003"]
        with pytest.raises(MissingError, match="scene0000 has no committed features"):
            store.read([("scene0000", spec.name, [0])])
        read = store.read([("scene0000", spec.name, [0]), ("scene0001", spec.name, [1])], allow_partial=True)
        assert torch.isnan(read[0].float()).all()
        assert torch.equal(read[1], make_features(spec, 1).bfloat16()[[1]])
        assert store.partial == {("scene0000", spec.name)}

    def test_names_the_closest(self, backend: Backend) -> None:
        store = make_store(backend, [make_spec()], 1)
        with pytest.raises(MissingError, match=r"did you mean dit\.b21\.s0502\.3x5"):
            store.read([("scene0000", "dit.b21.s0502.3x6", [0])])
        with pytest.raises(MissingError, match="did you mean scene0000"):
            store.read([("scene000", make_spec().name, [0])])
        with pytest.raises(MissingError, match="has no row 4"):
            store.read([("scene0000", make_spec().name, [4])])
        with pytest.raises(MissingError, match="has no row -1"):
            store.read([("scene0000", make_spec().name, [-1])])

    def test_create_twice_changes_nothing(self, backend: Backend) -> None:
        make_store(backend, [make_spec()], 2)
        before = {name: backend.read(name) for name in ("store.json", "clips.parquet")}
        make_store(backend, [make_spec()], 2, written=[])
        assert {name: backend.read(name) for name in before} == before

    def test_arrays_and_clips_are_added_without_touching_what_is_there(self, backend: Backend) -> None:
        one, two = make_spec("one"), make_spec("two", dtype="float32", rows=2)
        make_store(backend, [one], 2)
        shard = backend.read("features.zarr/one/c.1.0.0.0.0")
        store = make_store(backend, [one, two], 5, written=[])
        assert backend.read("features.zarr/one/c.1.0.0.0.0") == shard
        assert store.clips == [f"scene{i:04d}" for i in range(5)]
        assert store.missing(["one"]) == ["scene0002", "scene0003", "scene0004"]
        with store.writer("scene0001") as writer:
            writer.put("two", make_features(two, 1))
        reopened = FeatureStore.open(backend)
        assert reopened.index.generations(1) == [0, 1]
        mixed = reopened.read([("scene0001", "one", [0]), ("scene0001", "two", [1])])
        assert torch.equal(mixed[0], make_features(one, 1).bfloat16()[[0]])
        assert torch.equal(mixed[1], make_features(two, 1)[[1]])
        assert reopened.statistics("two", ["scene0001"])[0] == 2 * 3 * 5
        assert verify(backend) == []

    def test_committed_features_are_never_rewritten(self, backend: Backend) -> None:
        store = make_store(backend, [make_spec()], 1)
        with pytest.raises(StoreError, match="never rewritten"), store.writer("scene0000") as writer:
            writer.put(make_spec().name, make_features(make_spec(), 9))
        assert verify(backend) == []

    def test_other_parameters_are_refused_with_a_readable_difference(self, backend: Backend) -> None:
        make_store(backend, [make_spec()], 2)
        with pytest.raises(StaleError, match="prompt: '' -> 'a room'"):
            make_store(backend, [make_spec()], 2, fingerprint={**FINGERPRINT, "prompt": "a room"})
        with pytest.raises(StaleError, match="pooling: 'adaptive' -> 'none'"):
            other = make_spec()
            object.__setattr__(other, "pooling", "none")
            make_store(backend, [other], 2)
        with pytest.raises(StaleError, match="scene0001 has different input frames"):
            FeatureStore.create(
                backend,
                source="toy",
                dataset="rooms",
                fingerprint=FINGERPRINT,
                clips=[ClipEntry("scene0001", "room0", "f" * 64)],
                arrays=[],
            )
        assert FeatureStore.open(backend).missing() == []

    def test_recorded_facts_are_cosmetic(self, backend: Backend) -> None:
        make_store(backend, [make_spec()], 1)
        store = FeatureStore.create(
            backend,
            source="toy",
            dataset="rooms",
            fingerprint=FINGERPRINT,
            recorded={"device": "cuda", "torch": "9.9"},
            clips=make_clips(1),
            arrays=[make_spec()],
        )
        assert store.header.recorded == {"device": "cpu"}

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_non_finite_values_are_refused_and_nothing_is_visible(self, backend: Backend, bad: float) -> None:
        spec = make_spec()
        store = make_store(backend, [spec], 1, written=[])
        features = make_features(spec, 0)
        features[2, 1, 3, 4] = bad
        says = "1 of 480 feature values are NaN or infinite"
        with pytest.raises(NonFiniteError, match=says), store.writer("scene0000") as writer:
            writer.put(spec.name, features)
        assert store.missing() == ["scene0000"]
        assert backend.names("commits") == []
        assert backend.names("features.zarr/" + spec.name) == ["zarr.json"]
        with store.writer("scene0000") as writer:  # the lease was given back
            writer.put(spec.name, make_features(spec, 0))

    def test_float16_overflow_is_refused(self, backend: Backend) -> None:
        spec = make_spec(dtype="float16")
        store = make_store(backend, [spec], 1, written=[])
        with (
            pytest.raises(NonFiniteError, match="values overflow float16") as caught,
            store.writer("scene0000") as writer,
        ):
            writer.put(spec.name, make_features(spec, 0) * 100)
        assert "bfloat16" in str(caught.value)

    def test_wrong_shapes_are_refused(self, backend: Backend) -> None:
        store = make_store(backend, [make_spec()], 1, written=[])
        with pytest.raises(StoreError, match="wrong shape"), store.writer("scene0000") as writer:
            writer.put(make_spec().name, torch.zeros(4, 3, 5, 9))
        with pytest.raises(StoreError, match="floating point"), store.writer("scene0000") as writer:
            writer.put(make_spec().name, torch.zeros(4, 3, 5, 8, dtype=torch.int32))
        with pytest.raises(StoreError, match="nothing was written"), store.writer("scene0000"):
            pass

    def test_an_error_in_the_block_commits_nothing(self, backend: Backend) -> None:
        store = make_store(backend, [make_spec("one"), make_spec("two")], 1, written=[])
        with pytest.raises(ZeroDivisionError), store.writer("scene0000") as writer:
            writer.put("one", make_features(make_spec("one"), 0))
            raise ZeroDivisionError
        assert FeatureStore.open(backend).missing() == ["scene0000"]
        assert backend.names("features.zarr/one") == ["zarr.json"]

    def test_quarantine(self, backend: Backend) -> None:
        store = make_store(backend, [make_spec()], 2, written=[])
        store.quarantine("scene0001", "decode error: frame 7")
        store.quarantine("scene0001", "decode error: frame 8")
        assert store.quarantined() == {"scene0001": "decode error: frame 8"}
        assert store.missing() == ["scene0000"]
        assert store.missing(quarantined=True) == ["scene0000", "scene0001"]
        assert store.coverage() == {make_spec().name: 0}
        with store.writer("scene0001") as writer:
            writer.put(make_spec().name, make_features(make_spec(), 1))
        assert FeatureStore.open(backend).quarantined() == {}

    def test_claims(self, backend: Backend) -> None:
        store, other = make_store(backend, [make_spec()], 2, written=[1]), FeatureStore.open(backend)
        assert store.claim("scene0001") is None  # done
        lease = store.claim("scene0000")
        assert lease is not None
        assert other.claim("scene0000") is None
        with pytest.raises(StoreError, match="is being written by process"):
            other.writer("scene0000")
        with store.writer("scene0000", lease) as writer:
            writer.put(make_spec().name, make_features(make_spec(), 0))
        assert other.claim("scene0000") is None  # done meanwhile
        assert backend.names("leases") == []

    def test_out_buffers(self, backend: Backend) -> None:
        spec = make_spec()
        store = make_store(backend, [spec, make_spec("wide", channels=16)], 2)
        items = [("scene0000", spec.name, [1]), ("scene0001", spec.name, [3])]
        exact = torch.empty(2, 1, 3, 5, 8, dtype=torch.bfloat16)
        assert store.read(items, out=exact) is exact
        flat = torch.empty(store.nbytes(items) + 64, dtype=torch.uint8)
        read = store.read(items, out=flat)
        assert isinstance(read, torch.Tensor)
        assert read.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()
        assert torch.equal(read, exact)
        mixed = [("scene0000", spec.name, [1]), ("scene0001", "wide", [3, 2])]
        out = torch.empty(store.nbytes(mixed), dtype=torch.uint8)
        assert torch.equal(
            store.read(mixed, out=out)[1], make_features(make_spec("wide", channels=16), 1).bfloat16()[[3, 2]]
        )
        for wrong in (torch.empty(3, dtype=torch.uint8), torch.empty(2, 1, 3, 5, 9), exact.float()):
            with pytest.raises(StoreError, match="does not fit"):
                store.read(items, out=wrong)
        assert store.read([]) == []

    def test_seal_keeps_everything(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        from cache.care.seal import seal

        spec, packed = make_spec(), make_spec("packed", compression="zstd")
        store = make_store(backend, [spec, packed], 4, written=[0, 2])
        assert seal(backend, store.board) == 2
        keys: list[str] = []
        read = backend.read

        def noted(key: str) -> bytes:
            keys.append(key)
            return read(key)

        with monkeypatch.context() as patch:
            patch.setattr(backend, "read", noted)
            sealed = FeatureStore.open(backend)
            for name in (spec.name, packed.name):
                assert sealed.index.shards(name) == store.index.shards(name)
        assert "manifest.parquet" in keys and not [key for key in keys if key.startswith("commits/")]
        assert sealed.statistics(spec.name, ["scene0002"])[0] == 60
        with sealed.writer("scene0001") as writer:
            writer.put(spec.name, make_features(spec, 1))
        again = FeatureStore.open(backend)
        assert again.committed(spec.name) == ["scene0000", "scene0001", "scene0002"]
        assert verify(backend) == []

    def test_complete_stores_are_sealed_once(self, backend: Backend) -> None:
        from cache.care.seal import seal_complete

        spec, late = make_spec(), make_spec("late")
        store = make_store(backend, [spec], 2, written=[0])
        assert not seal_complete(store)
        other = FeatureStore.open(backend)  # another job does the rest
        with other.writer("scene0001") as writer:
            writer.put(spec.name, make_features(spec, 1))
        assert seal_complete(store)
        assert not seal_complete(FeatureStore.open(backend))
        grown = make_store(backend, [spec, late], 2, written=[])
        assert grown.index.sealed and not seal_complete(grown)
        for clip in range(2):
            with grown.writer(grown.clips[clip]) as writer:
                writer.put(late.name, make_features(late, clip))
        assert not FeatureStore.open(backend).index.sealed
        assert seal_complete(grown)
        assert FeatureStore.open(backend).index.sealed
        assert verify(backend) == []

    @pytest.mark.parametrize(
        ("content", "error", "says"),
        [
            (b"", CorruptionError, "empty"),
            (b"{", CorruptionError, "not a readable record"),
            (b"[1]", CorruptionError, "not a record"),
            (b'{"schema": "featurecache/2", "new": 1}', VersionError, "another version"),
            (b'{"schema": "other/1"}', CorruptionError, "own digest"),
            (b"[" * 100_000, CorruptionError, "not a readable record"),
            (bytes(range(256)), CorruptionError, "not a readable record"),
        ],
    )
    @pytest.mark.parametrize("key", ["store.json", "commits/00000000.0000.json"])
    def test_bad_records(self, backend: Backend, key: str, content: bytes, error: type[Exception], says: str) -> None:
        make_store(backend, [make_spec()], 1)
        backend.replace(key, content)
        with pytest.raises(error, match=says):
            FeatureStore.open(backend).coverage()
        with pytest.raises(error, match=says):
            FeatureStore.open(backend).read([("scene0000", make_spec().name, [0])])

    @pytest.mark.parametrize(
        ("key", "content"),
        [
            ("clips.parquet", b""),
            ("clips.parquet", b"PAR1" + bytes(100) + b"PAR1"),
            (f"features.zarr/{make_spec().name}/zarr.json", b"{}"),
            (f"features.zarr/{make_spec().name}/c.0.0.0.0.0", b""),
            (f"features.zarr/{make_spec().name}/c.0.0.0.0.0", bytes(10_000)),
            ("manifest.parquet", b"no"),
        ],
    )
    def test_bad_files(self, backend: Backend, key: str, content: bytes) -> None:
        from cache.care.seal import seal

        seal(backend, make_store(backend, [make_spec()], 1).board)
        backend.replace(key, content)
        with pytest.raises(CorruptionError) as caught:
            FeatureStore.open(backend).read([("scene0000", make_spec().name, [0])])
        assert commands.repair(backend.where) in str(caught.value)
        assert [problem.key for problem in verify(backend)] == [key]

    def test_missing_shard_of_a_committed_clip(self, backend: Backend) -> None:
        store = make_store(backend, [make_spec()], 1)
        backend.delete(f"features.zarr/{make_spec().name}/c.0.0.0.0.0")
        with pytest.raises(CorruptionError, match="shard of committed clip scene0000 is missing"):
            store.read([("scene0000", make_spec().name, [0])])


class TestLocal(StoreContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return LocalBackend(tmp_path / "store")


class TestMemory(StoreContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()
